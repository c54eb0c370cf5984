package policy

import (
	"fmt"
	"strings"

	"github.com/sealift/sealift/pkg/shell"
)

// mergeFunction is the part of the script that adds statements to a policy that already has others.
const mergeFunction = `
# merge POLICY ADDITION prints the policy with the addition's statements, which
# replace those of the same Sid; so running this again changes nothing.
merge() {
  python3 -c '
import json, sys
now, addition = map(json.loads, sys.argv[1:])
old = now.get("Statement", [])
old = [old] if isinstance(old, dict) else old
sids = [s["Sid"] for s in addition["Statement"]]
now.setdefault("Version", addition["Version"])
now["Statement"] = [s for s in old if s.get("Sid") not in sids] + addition["Statement"]
print(json.dumps(now))
' "$1" "$2"
}
`

// script returns the set as a shell script that calls the AWS CLI and can be run again. It adds to
// the policies of roles, buckets and keys, and never removes what others have put there.
func (s Set) script() string {
	name, path := s.roleName()
	var b strings.Builder
	fmt.Fprintf(&b, "#!/bin/sh\n# Sealift's destination %s. Run it with credentials of the account that owns what it changes.\nset -eu\n", s.Target.ID)
	if s.document(Trust) != nil || s.document(Bucket) != nil || s.document(KMS) != nil {
		b.WriteString(mergeFunction)
	}
	for _, d := range s.Documents {
		fmt.Fprintf(&b, "\n# %s\n%s=%s\n", s.comment(d.Kind), d.Kind, shell.Quote(indentedJSON(d.Policy, "")))
		switch d.Kind {
		case Trust:
			create := ""
			if path != "/" {
				create = " --path " + shell.Quote(path)
			}
			fmt.Fprintf(&b, `if now=$(aws iam get-role --role-name %[1]s --query Role.AssumeRolePolicyDocument --output json 2>/dev/null); then
  aws iam update-assume-role-policy --role-name %[1]s --policy-document "$(merge "$now" "$trust")"
else
  aws iam create-role --role-name %[1]s%[2]s --assume-role-policy-document "$trust" >/dev/null
fi
`, shell.Quote(name), create)
		case Role:
			fmt.Fprintf(&b, "aws iam put-role-policy --role-name %s --policy-name %s --policy-document \"$role\"\n", shell.Quote(name), shell.Quote(s.inlinePolicyName()))
		case Bucket:
			fmt.Fprintf(&b, `if ! now=$(aws s3api get-bucket-policy --bucket %[1]s --query Policy --output text 2>&1); then
  case $now in *NoSuchBucketPolicy*) now='{}' ;; *) echo "$now" >&2 && exit 1 ;; esac
fi
aws s3api put-bucket-policy --bucket %[1]s --policy "$(merge "$now" "$bucket")"
`, shell.Quote(s.Target.BucketName))
		case KMS:
			key := "--key-id " + shell.Quote(s.Options.KMSKey) + " --policy-name default --region " + shell.Quote(strings.Split(s.Options.KMSKey, ":")[3])
			fmt.Fprintf(&b, "now=$(aws kms get-key-policy %[1]s --query Policy --output text)\naws kms put-key-policy %[1]s --policy \"$(merge \"$now\" \"$kms\")\"\n", key)
		}
	}
	return b.String()
}
