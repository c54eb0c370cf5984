package iam

import (
	"fmt"
	"regexp"
	"strings"
)

var (
	actionForm    = regexp.MustCompile(`^(\*|[A-Za-z0-9-]+:[A-Za-z0-9*?]+)$`)
	sidForm       = regexp.MustCompile(`^[A-Za-z0-9]*$`) // of identity policies; those of resources may contain more
	accountForm   = regexp.MustCompile(`^\d{12}$`)
	principalForm = regexp.MustCompile(`^arn:aws[a-z-]*:(iam::\d{12}:(root|(user|role)/[\w+=,.@/-]+)|sts::\d{12}:assumed-role/[\w+=,.@-]+/[\w+=,.@-]+)$`)
	serviceForm   = regexp.MustCompile(`^[a-z0-9.-]+\.amazonaws\.com(\.cn)?$`)
)

// Validate returns an error if AWS would refuse to attach the document as one of this kind. The
// error is an ErrMalformed that names the place.
func (p *Policy) Validate(kind Kind) error {
	if err := p.check(); err != nil {
		return err
	}
	for i := range p.Statement {
		if err := p.Statement[i].validate(kind, fmt.Sprintf("Statement[%d]", i)); err != nil {
			return err
		}
	}
	return nil
}

// check checks what applies to every kind.
func (p *Policy) check() error {
	switch p.Version {
	case "", Version, oldVersion:
	default:
		return malformed("Version", "%q is none; want %s or %s", p.Version, Version, oldVersion)
	}
	if len(p.Statement) == 0 {
		return malformed("Statement", "a policy needs at least one")
	}
	sids := map[string]bool{}
	for i := range p.Statement {
		s, place := &p.Statement[i], fmt.Sprintf("Statement[%d]", i)
		if err := s.check(place); err != nil {
			return err
		}
		if s.Sid != "" && sids[s.Sid] {
			return malformed(place+".Sid", "%q is there twice", s.Sid)
		}
		sids[s.Sid] = true
	}
	return nil
}

func (s *Statement) check(place string) error {
	if s.Effect != Allow && s.Effect != Deny {
		return malformed(place+".Effect", "%q is neither Allow nor Deny", s.Effect)
	}
	if s.Principal != nil && s.NotPrincipal != nil {
		return malformed(place, "has both Principal and NotPrincipal")
	}
	for name, p := range map[string]*Principals{"Principal": s.Principal, "NotPrincipal": s.NotPrincipal} {
		if p != nil {
			if err := p.check(place + "." + name); err != nil {
				return err
			}
		}
	}
	if (s.Action == nil) == (s.NotAction == nil) {
		return malformed(place, "needs either Action or NotAction")
	}
	if s.Resource != nil && s.NotResource != nil {
		return malformed(place, "has both Resource and NotResource")
	}
	for _, e := range []struct {
		name   string
		values Strings
		valid  func(string) bool
	}{
		{"Action", s.Action, actionForm.MatchString}, {"NotAction", s.NotAction, actionForm.MatchString},
		{"Resource", s.Resource, resourceForm}, {"NotResource", s.NotResource, resourceForm},
	} {
		if e.values != nil && len(e.values) == 0 {
			return malformed(place+"."+e.name, "is empty")
		}
		for _, v := range e.values {
			if !e.valid(v) {
				return malformed(place+"."+e.name, "%q is none", v)
			}
		}
	}
	return s.Condition.check(place + ".Condition")
}

// resourceForm accepts ARNs: six parts, of which the third, the service, has no wildcards.
func resourceForm(s string) bool {
	if s == "*" {
		return true
	}
	parts := strings.SplitN(s, ":", 6)
	return len(parts) == 6 && parts[0] == "arn" && parts[1] != "" && parts[2] != "" && !strings.ContainsAny(parts[2], "*?$") && parts[5] != ""
}

func (p *Principals) check(place string) error {
	named := len(p.AWS) + len(p.Service) + len(p.Federated) + len(p.CanonicalUser)
	if p.Everyone == (named > 0) {
		return malformed(place, `needs either "*" or principals`)
	}
	for _, v := range p.AWS {
		if v != "*" && !accountForm.MatchString(v) && !principalForm.MatchString(v) {
			return malformed(place+".AWS", "%q is no account, user, role or session; only a lone * may stand for many", v)
		}
	}
	for _, v := range p.Service {
		if !serviceForm.MatchString(v) {
			return malformed(place+".Service", "%q is no service", v)
		}
	}
	return nil
}

// validate checks what depends on the kind.
func (s *Statement) validate(kind Kind, place string) error {
	hasPrincipal := s.Principal != nil || s.NotPrincipal != nil
	switch {
	case kind.namesPrincipals() && !hasPrincipal:
		return malformed(place, "a resource's policy needs a Principal")
	case !kind.namesPrincipals() && hasPrincipal:
		return malformed(place, "an identity's policy has no Principal")
	case s.NotPrincipal != nil && kind != Bucket:
		return malformed(place+".NotPrincipal", "is for buckets only")
	}
	hasResource := s.Resource != nil || s.NotResource != nil
	switch {
	case kind == Trust && hasResource:
		return malformed(place, "a role's trust policy has no Resource: it is the role")
	case kind != Trust && !hasResource:
		return malformed(place, "needs either Resource or NotResource")
	case !kind.namesPrincipals() && !sidForm.MatchString(s.Sid):
		return malformed(place+".Sid", "%q: want letters and digits only", s.Sid)
	}
	return nil
}
