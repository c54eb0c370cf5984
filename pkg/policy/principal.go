package policy

import (
	"fmt"
	"regexp"
)

var (
	principalARN = regexp.MustCompile(`^arn:aws[a-z-]*:iam::\d{12}:(root|(user|role)/[A-Za-z0-9_+=,.@/-]+)$`)
	sessionARN   = regexp.MustCompile(`^arn:(aws[a-z-]*):sts::(\d{12}):assumed-role/([A-Za-z0-9_+=,.@-]+)/[A-Za-z0-9_+=,.@-]+$`)
)

// Principal identifies Sealift in the customer's policies.
type Principal struct {
	ARN string
	// Session is the ARN that ARN was derived from, if that was a session of a role. A session's
	// ARN does not contain the role's path, so ARN is correct only for a role without one.
	Session string
}

// ParsePrincipal parses the ARN of a user, a role or an account's root, as returned by
// sts:GetCallerIdentity or written by people. For a session of a role it returns the role.
func ParsePrincipal(arn string) (Principal, error) {
	if m := sessionARN.FindStringSubmatch(arn); m != nil {
		return Principal{ARN: "arn:" + m[1] + ":iam::" + m[2] + ":role/" + m[3], Session: arn}, nil
	}
	if !principalARN.MatchString(arn) {
		return Principal{}, fmt.Errorf("principal %q is not the ARN of a user or role; write it like arn:aws:iam::123456789012:role/sealift", arn)
	}
	return Principal{ARN: arn}, nil
}
