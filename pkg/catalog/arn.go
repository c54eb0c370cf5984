package catalog

import (
	"fmt"
	"regexp"
	"strings"
)

var (
	roleARN     = regexp.MustCompile(`^arn:aws(-[a-z]+)*:iam::([0-9]{12}):role/([A-Za-z0-9_+=,.@/-]+)$`)
	assumedRole = regexp.MustCompile(`^arn:(aws[a-z-]*):sts::([0-9]{12}):assumed-role/([A-Za-z0-9_+=,.@-]+)/`)
	anyIAM      = regexp.MustCompile(`^arn:aws[a-z-]*:iam::([0-9]{12}):([a-z-]+)/?`)
	roleName    = regexp.MustCompile(`^(role/)?([A-Za-z0-9_+=,.@-]{1,64})$`)
	consoleRole = regexp.MustCompile(`/roles/(details/)?([A-Za-z0-9_+=,.@-]{1,64})`)
	accountID   = regexp.MustCompile(`^[0-9]{12}$`)
)

const arnForm = "arn:aws:iam::ACCOUNT_ID:role/ROLE_NAME"

// RoleAccount returns the account in a role's ARN, or "".
func RoleAccount(arn string) string {
	if m := roleARN.FindStringSubmatch(arn); m != nil {
		return m[2]
	}
	return ""
}

// checkRole returns what is wrong with a destination's role and the fix, or
// "".
func checkRole(arn string) (what, fix string) {
	if m := roleARN.FindStringSubmatch(arn); m != nil {
		if name := m[3]; !strings.HasPrefix(name, "/") && !strings.HasSuffix(name, "/") && !strings.Contains(name, "//") && len(arn) <= 2048 {
			return "", ""
		}
	}
	what, fix = fmt.Sprintf("%q is not the ARN of a role", arn), "write it like "+arnForm
	switch {
	case strings.TrimSpace(arn) != arn:
		return what, "remove the space around it"
	case strings.ContainsAny(arn, "*?$"):
		return fmt.Sprintf("%q holds a wildcard", arn), "name one role, like " + arnForm
	}
	if m := assumedRole.FindStringSubmatch(arn); m != nil {
		return fmt.Sprintf("%q is a session of a role", arn), fmt.Sprintf("write arn:%s:iam::%s:role/%s (with the role's path, if it has one)", m[1], m[2], m[3])
	}
	if m := anyIAM.FindStringSubmatch(arn); m != nil && m[2] != "role" {
		return fmt.Sprintf("%q is a %s, which cannot be assumed", arn, m[2]), "create a role and write it like arn:aws:iam::" + m[1] + ":role/ROLE_NAME"
	}
	if m := roleName.FindStringSubmatch(arn); m != nil {
		return fmt.Sprintf("%q is a role's name, not its ARN", arn), "write arn:aws:iam::ACCOUNT_ID:role/" + m[2]
	}
	if m := consoleRole.FindStringSubmatch(arn); m != nil && strings.HasPrefix(arn, "http") {
		return fmt.Sprintf("%q is a page of the console", arn), "write arn:aws:iam::ACCOUNT_ID:role/" + m[2]
	}
	return what, fix
}

// checkOwner returns what is wrong with an account number and the fix, or "".
func checkOwner(account string) (what, fix string) {
	if accountID.MatchString(account) {
		return "", ""
	}
	what = fmt.Sprintf("%q is not an AWS account", account)
	if m := anyIAM.FindStringSubmatch(account); m != nil {
		return what, fmt.Sprintf("write %q", m[1])
	}
	if digits := strings.NewReplacer("-", "", " ", "").Replace(account); accountID.MatchString(digits) {
		return what, fmt.Sprintf("write %q", digits)
	}
	return what, `write its 12 digits in quotes, like "123456789012"`
}
