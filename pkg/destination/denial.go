package destination

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/policy"
)

// denial is what the text of a refusal says. AWS gives details only to callers from the bucket's
// own account or organization, so for most roles but seldom for classic destinations. All others
// read only "Access Denied".
//
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/troubleshoot-403-errors.html,
// https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
type denial struct {
	action   string // like s3:PutObject
	policy   string // kind of policy that denies, like "session policy"; "" if not told
	explicit bool   // an explicit Deny, rather than no policy allowing it
	key      string // ARN of the KMS key
}

var (
	deniedAction = regexp.MustCompile(`(?:perform:?|allows the|allow the) ([a-z0-9]+:[A-Za-z]+)`)
	noneAllows   = regexp.MustCompile(`because no ([A-Za-z -]+?) allows?\b`)
	oneDenies    = regexp.MustCompile(`explicit deny in (?:an?|the) ([A-Za-z -]*(?:policy|boundary))`)
	kmsKey       = regexp.MustCompile(`arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key/[A-Za-z0-9-]+`)
)

func readDenial(message string) denial {
	d := denial{key: kmsKey.FindString(message), explicit: strings.Contains(message, "explicit deny")}
	if m := deniedAction.FindStringSubmatch(message); m != nil {
		d.action = m[1]
	}
	if m := oneDenies.FindStringSubmatch(message); m != nil {
		d.policy = m[1]
	} else if m := noneAllows.FindStringSubmatch(message); m != nil {
		d.policy = m[1]
	} else if strings.Contains(message, "no resource-based policies allow access") { // how KMS answers callers from other accounts
		d.policy = kindResource
	}
	return d
}

// judgeDenied explains a 403 of the PUT as far as the answer allows.
func judgeDenied(e *objstore.Error, t catalog.Target, ownARN string) Verdict {
	d := readDenial(e.Message)
	v := permanent("put_denied", fmt.Sprintf("s3:PutObject into bucket %q is denied (%d %s: %s)", t.BucketName, e.Status, e.Code, e.Message), "")
	if d.explicit {
		v.Reason = "put_denied_explicitly"
	}
	switch {
	case d.explicit:
		v.Fix.Do = denyFix(d, t)
		return v
	case d.policy != "":
		v.Fix.Do, v.Statements = allowFix(d, t, ownARN)
		return v
	}
	// The answer says nothing: name the most likely fix, and what finds out more.
	v.Fix.Do, v.Statements = allowFix(denial{action: d.action, policy: grantingKind(t)}, t, ownARN)
	if t.Owner != "" {
		v.Fix.Do += fmt.Sprintf("; check that the bucket belongs to account %s (expected_bucket_owner)", t.Owner)
	}
	v.Fix.Do += fmt.Sprintf("; should the bucket's policy deny other encryption: %s; `sealift destinations check %s` finds out which", encryptionHint(t), t.ID)
	return v
}

// Kinds of policies, as AWS names them.
const (
	kindIdentity = "identity-based policy"
	kindResource = "resource-based policy"
	kindSession  = "session policy"
	kindEndpoint = "VPC endpoint policy"
)

// grantingKind returns the kind of policy that has to allow the PUTs of a destination.
func grantingKind(t catalog.Target) string {
	if t.RoleARN != "" {
		return kindIdentity
	}
	return kindResource
}

// denyLocation says where a Deny is.
func denyLocation(d denial, t catalog.Target) string {
	switch d.policy {
	case kindResource:
		return fmt.Sprintf("the Deny in the policy of bucket %q", t.BucketName)
	case kindIdentity:
		return "the Deny in a policy of " + principal(t)
	case "":
		return "the Deny in some policy"
	}
	return "the Deny in a " + d.policy
}

// denyFix is the fix for an explicit Deny.
func denyFix(d denial, t catalog.Target) string {
	where := "find " + denyLocation(d, t) + " that applies: "
	switch d.policy {
	case kindSession:
		return "Sealift's own session policy denies it, which it never should: report it"
	case "", kindResource, kindIdentity:
		return fmt.Sprintf("%s%s; else except %s from it; `sealift destinations check %s` finds out which", where, encryptionHint(t), principal(t), t.ID)
	case kindEndpoint:
		return where + "let the endpoint's policy permit s3:PutObject on " + policy.ObjectARN(t, "*")
	}
	return where + "whoever administers it must except " + principal(t) + " and " + policy.ObjectARN(t, "*")
}

// encryptionHint says what the destination's setting asks for, and the fix if a Deny demands
// something else.
func encryptionHint(t catalog.Target) string {
	if t.SSE {
		return "files ask for AES256 (server_side_encryption: true), so if it demands aws:kms, set server_side_encryption: false"
	}
	return "files name no encryption and get the bucket's default (server_side_encryption: false), so if it demands AES256, set server_side_encryption: true, " +
		"and if it demands the header aws:kms, let it pass what names none"
}

// allowFix is the fix if no policy allows the request.
func allowFix(d denial, t catalog.Target, ownARN string) (string, []Statement) {
	actions := putActions(t)
	if d.action != "" && d.action != "s3:PutObject" {
		actions = []string{d.action}
	}
	allow := strings.Join(actions, " and ") + " on " + policy.ObjectARN(t, "*")
	switch d.policy {
	case kindResource:
		return fmt.Sprintf("let the policy of bucket %q allow %s to %s", t.BucketName, allow, principal(t)),
			bucketStatements(t, ownARN)
	case kindIdentity:
		return fmt.Sprintf("let %s allow %s to %s", identityPolicy(t), allow, principal(t)),
			identityStatements(t, ownARN)
	case kindSession:
		if strings.HasPrefix(d.action, "kms:") {
			return "the object is to be encrypted with a KMS key although AES256 is asked for: set server_side_encryption: false", nil
		}
		return fmt.Sprintf("Sealift narrowed the session to %s, and the request is for something else: report it", policy.ObjectARN(t, "*")), nil
	}
	return fmt.Sprintf("let the %s allow %s to %s", d.policy, allow, principal(t)), nil
}

func putActions(t catalog.Target) []string {
	if t.ACL != "" {
		return []string{"s3:PutObject", "s3:PutObjectAcl"}
	}
	return []string{"s3:PutObject"}
}

func identityPolicy(t catalog.Target) string {
	if t.RoleARN != "" {
		return "the role's policy"
	}
	return "the IAM policy of Sealift's principal"
}

func principal(t catalog.Target) string {
	if t.RoleARN != "" {
		return "the role " + t.RoleARN
	}
	return "Sealift's principal"
}
