package policy

import (
	"fmt"
	"regexp"
	"strings"
)

// terraform returns the set as resources of Terraform's AWS provider.
func (s Set) terraform() string {
	label := "sealift_" + strings.ReplaceAll(s.Target.Name, "-", "_")
	name, path := s.roleName()
	var b strings.Builder
	fmt.Fprintf(&b, "# Sealift's destination %s.\n", s.Target.ID)
	for _, d := range s.Documents {
		fmt.Fprintf(&b, "\n# %s\n", s.comment(d.Kind))
		document := hcl(indentedJSON(d.Policy, "  "))
		switch d.Kind {
		case Trust:
			fmt.Fprintf(&b, "resource \"aws_iam_role\" %q {\n  name = %s\n", label, hcl(quoted(name)))
			if path != "/" {
				fmt.Fprintf(&b, "  path = %s\n", hcl(quoted(path)))
			}
			fmt.Fprintf(&b, "  assume_role_policy = jsonencode(%s)\n}\n", document)
		case Role:
			role := hcl(quoted(name))
			if s.document(Trust) != nil {
				role = "aws_iam_role." + label + ".name"
			}
			fmt.Fprintf(&b, "resource \"aws_iam_role_policy\" %q {\n  name = %s\n  role = %s\n  policy = jsonencode(%s)\n}\n", label, hcl(quoted(s.inlinePolicyName())), role, document)
		case Bucket:
			b.WriteString("# A bucket has one policy: if it has one already, add these statements to that instead.\n")
			fmt.Fprintf(&b, "resource \"aws_s3_bucket_policy\" %q {\n  bucket = %s\n  policy = jsonencode(%s)\n}\n", label, hcl(quoted(s.Target.BucketName)), document)
		case KMS:
			b.WriteString("# A key's policy stands where the key does: add this statement to it.\n")
			fmt.Fprintf(&b, "output \"%s_key_statement\" {\n  value = jsonencode(%s)\n}\n", label, hcl(indentedJSON(d.Policy.Statement[0], "  ")))
		}
	}
	return b.String()
}

// hcl turns JSON into an expression of HCL. HCL can read JSON as it is, except for templates in
// strings. Spaces are added where terraform fmt would.
func hcl(json string) string {
	return jsonKey.ReplaceAllString(strings.NewReplacer("${", "$${", "%{", "%%{").Replace(json), `$1 :`)
}

var jsonKey = regexp.MustCompile(`(?m)^( *"[^"\\]*"):`)

// quoted returns a JSON string, which is also valid in YAML and, after hcl, in HCL.
func quoted(s string) string { return indentedJSON(s, "") }
