package iam

import (
	"fmt"
	"slices"
)

// Request is a request to be judged.
type Request struct {
	Caller Caller
	Action string // s3:PutObject
	// Resource is the ARN of the resource acted on.
	Resource string
	// Owner is the account that the resource belongs to.
	Owner string
	// Context provides the values for conditions and variables.
	Context Context
}

// Policies are the policies by which a request is judged.
type Policies struct {
	// Identity are the policies of the caller's user or role.
	Identity []*Policy
	// Session is the session policy with which a session was created; nil if there is none.
	Session *Policy
	// Resource is the policy of the resource acted on, nil if it has none. Kind is the kind of that
	// policy: Bucket, Trust or Key.
	Resource *Policy
	Kind     Kind
}

// Decision is the result of evaluating a request.
type Decision struct {
	Allowed bool
	// Explicit says that a statement denies the request. Otherwise, if it is not allowed, no
	// statement allows it.
	Explicit bool
	// By is the kind of policy that denies, or that lacks an Allow. If there are several, it is the
	// first in AWS's order.
	By Kind
}

// Evaluate judges a request. It is pure, and follows
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic_policy-eval-denyallow.html
// and reference_policies_evaluation-logic-cross-account.html. The documents must be valid.
//
// An explicit Deny wins. Within one account, either the caller's policies or the resource's must
// allow the request, but a role's trust policy and a key's policy must always consent. Between
// accounts, both sides must allow it. A session policy limits what the role's policies grant, and
// what a resource's policy grants to the role, but not what the policy of a resource in the same
// account grants to the session itself or to everyone.
func Evaluate(r Request, p Policies) Decision {
	if d, denied := r.explicitDeny(p); denied {
		return d
	}
	resourceMatch := matchNone
	if p.Resource != nil {
		resourceMatch = p.Resource.allowMatch(r, true)
	}
	identityAllows := slices.ContainsFunc(p.Identity, func(i *Policy) bool { return i.allowMatch(r, false) != matchNone })
	sessionAllows := p.Session == nil || p.Session.allowMatch(r, false) != matchNone
	sameAccount := r.Caller.Account == r.Owner
	noOwnPolicies := r.Caller.Account == "" // anonymous, or a service: it has no policies of its own
	if sameAccount && r.Caller.isRoot() {
		identityAllows = true // the root of an account may do everything in it
	}
	delegates := sameAccount && p.Kind == Bucket // consents to whatever the caller's policies allow
	switch {
	case !delegates && resourceMatch == matchNone:
		return notAllowedBy(p.Kind)
	case (sameAccount || noOwnPolicies) && resourceMatch == matchDirect:
		return Decision{Allowed: true}
	case sameAccount && resourceMatch == matchRole:
		identityAllows = true
	}
	switch {
	case !identityAllows && !sameAccount && resourceMatch == matchAccount:
		// As observed of AWS: consent to a whole account is not told from none.
		return notAllowedBy(p.Kind)
	case !identityAllows:
		return notAllowedBy(Identity)
	case !sessionAllows:
		return notAllowedBy(Session)
	}
	return Decision{Allowed: true}
}

func notAllowedBy(k Kind) Decision { return Decision{By: k} }

// explicitDeny looks for an explicit Deny.
func (r Request) explicitDeny(p Policies) (Decision, bool) {
	for _, i := range p.Identity {
		if i.denies(r, false) {
			return Decision{Explicit: true, By: Identity}, true
		}
	}
	if p.Session != nil && p.Session.denies(r, false) {
		return Decision{Explicit: true, By: Session}, true
	}
	if p.Resource != nil && p.Resource.denies(r, true) {
		return Decision{Explicit: true, By: p.Kind}, true
	}
	return Decision{}, false
}

// denies reports whether a statement denies the request. named says that the policy's statements
// name principals.
func (p *Policy) denies(r Request, named bool) bool {
	return slices.ContainsFunc(p.Statement, func(s Statement) bool {
		return s.Effect == Deny && s.match(r, named, p.Version == Version) != matchNone
	})
}

// allowMatch returns how the policy's Allows that apply to the request name the caller; of several
// the strongest.
func (p *Policy) allowMatch(r Request, named bool) principalMatch {
	best := matchNone
	for i := range p.Statement {
		if s := &p.Statement[i]; s.Effect == Allow {
			best = max(best, s.match(r, named, p.Version == Version))
		}
	}
	return best
}

// match returns how the statement names the caller, or matchNone if it does not apply to the
// request. A statement that applies in an identity's policy, which names nobody, counts as
// matchDirect.
func (s *Statement) match(r Request, named, variables bool) principalMatch {
	is := func(want string) bool { return matchAction(want, r.Action) }
	if s.Action != nil && !slices.ContainsFunc(s.Action, is) || slices.ContainsFunc(s.NotAction, is) {
		return matchNone
	}
	at := func(want string) bool {
		p, ok := compile(want, true, variables, r.Context)
		return ok && p.matchARN(r.Resource)
	}
	switch {
	case s.Resource != nil && !slices.ContainsFunc(s.Resource, at), slices.ContainsFunc(s.NotResource, at):
		return matchNone
	case !s.Condition.isMet(r.Context, variables):
		return matchNone
	case !named:
		return matchDirect
	case s.NotPrincipal != nil:
		if s.NotPrincipal.exempts(r.Caller) {
			return matchNone
		}
		return matchDirect
	}
	return s.Principal.match(r.Caller)
}

// Reason returns the end of AWS's message about a refusal: "because no identity-based policy allows
// the s3:PutObject action", "with an explicit deny in a session policy".
//
// https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
func (d Decision) Reason(action string) string {
	switch {
	case d.Allowed:
		return ""
	case !d.Explicit:
		return fmt.Sprintf("because no %s allows the %s action", d.By, action)
	case d.By == Trust:
		return "with an explicit deny in the role trust policy"
	case d.By == Identity:
		return "with an explicit deny in an identity-based policy"
	}
	return fmt.Sprintf("with an explicit deny in a %s", d.By)
}
