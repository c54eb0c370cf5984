package iam

import (
	"slices"
	"strings"
)

// Caller is the caller of a request. The zero Caller is anonymous.
type Caller struct {
	Account string // twelve digits
	// ARN is that of the account's root, a user, or a session:
	// arn:aws:sts::123456789012:assumed-role/name/session.
	ARN string
	// Role is the ARN of a session's role; "" for others.
	Role string
	// Service is the name of an AWS service that calls on its own behalf; "" for others.
	Service string
}

func (c Caller) isRoot() bool { return strings.HasSuffix(c.ARN, ":root") }

// principalMatch is how an element names a caller; later ones are stronger.
type principalMatch int

const (
	matchNone principalMatch = iota
	matchAccount
	matchRole
	matchDirect
)

// match returns how the principals name a caller.
//
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html and,
// for the effect of the different ways of naming,
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic_policy-eval-denyallow.html.
func (p *Principals) match(c Caller) principalMatch {
	switch {
	case p.Everyone:
		return matchDirect
	case c.Service != "":
		if slices.Contains(p.Service, c.Service) {
			return matchDirect
		}
		return matchNone
	}
	found := matchNone
	for _, v := range p.AWS {
		switch {
		case v == "*", c.ARN != "" && v == c.ARN:
			return matchDirect
		case c.Role != "" && v == c.Role:
			found = matchRole
		case c.Account != "" && (v == c.Account || strings.HasSuffix(v, "::"+c.Account+":root")):
			found = max(found, matchAccount)
		}
	}
	if found == matchAccount && c.isRoot() {
		return matchDirect
	}
	return found
}

// exempts reports whether NotPrincipal exempts a caller. For that it must name everything that the
// caller is, including a session's role and account.
func (p *Principals) exempts(c Caller) bool {
	if p.Everyone || slices.Contains(p.AWS, "*") || c.Service != "" {
		return p.match(c) != matchNone
	}
	account := slices.ContainsFunc(p.AWS, func(v string) bool {
		return c.Account != "" && (v == c.Account || strings.HasSuffix(v, "::"+c.Account+":root"))
	})
	return account && (c.isRoot() || slices.Contains(p.AWS, c.ARN)) && (c.Role == "" || slices.Contains(p.AWS, c.Role))
}
