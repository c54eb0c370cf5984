package iam

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// operator is a condition operator, without its qualifiers.
type operator struct {
	negated bool
	// compare reports whether a request's value matches the policy's value. For a negated operator,
	// a match means that the condition is not met.
	compare func(have string, want pattern) bool
	// valid reports whether a value in a policy has the right form.
	valid func(want string) bool
	// wildcards says that * and ? are wildcards.
	wildcards bool
}

// operators are the condition operators by name, see
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html.
// Null is handled separately, because it is about the key, not its values.
var operators = map[string]operator{
	"StringEquals":              {compare: equal},
	"StringNotEquals":           {compare: equal, negated: true},
	"StringEqualsIgnoreCase":    {compare: equalFold},
	"StringNotEqualsIgnoreCase": {compare: equalFold, negated: true},
	"StringLike":                {compare: like, wildcards: true},
	"StringNotLike":             {compare: like, wildcards: true, negated: true},
	"ArnEquals":                 {compare: arnLike, wildcards: true, valid: arnForm},
	"ArnNotEquals":              {compare: arnLike, wildcards: true, valid: arnForm, negated: true},
	"ArnLike":                   {compare: arnLike, wildcards: true, valid: arnForm},
	"ArnNotLike":                {compare: arnLike, wildcards: true, valid: arnForm, negated: true},
	"Bool":                      {compare: equalFold, valid: boolForm},
	"NumericEquals":             {compare: numeric(func(c int) bool { return c == 0 }), valid: numberForm},
	"NumericNotEquals":          {compare: numeric(func(c int) bool { return c == 0 }), valid: numberForm, negated: true},
	"NumericLessThan":           {compare: numeric(func(c int) bool { return c < 0 }), valid: numberForm},
	"NumericLessThanEquals":     {compare: numeric(func(c int) bool { return c <= 0 }), valid: numberForm},
	"NumericGreaterThan":        {compare: numeric(func(c int) bool { return c > 0 }), valid: numberForm},
	"NumericGreaterThanEquals":  {compare: numeric(func(c int) bool { return c >= 0 }), valid: numberForm},
	"DateEquals":                {compare: date(func(c int) bool { return c == 0 }), valid: dateForm},
	"DateNotEquals":             {compare: date(func(c int) bool { return c == 0 }), valid: dateForm, negated: true},
	"DateLessThan":              {compare: date(func(c int) bool { return c < 0 }), valid: dateForm},
	"DateLessThanEquals":        {compare: date(func(c int) bool { return c <= 0 }), valid: dateForm},
	"DateGreaterThan":           {compare: date(func(c int) bool { return c > 0 }), valid: dateForm},
	"DateGreaterThanEquals":     {compare: date(func(c int) bool { return c >= 0 }), valid: dateForm},
	"IpAddress":                 {compare: inNetwork, valid: networkForm},
	"NotIpAddress":              {compare: inNetwork, valid: networkForm, negated: true},
}

// qualifiedOperator is an operator with its qualifiers, as named in a policy.
type qualifiedOperator struct {
	operator
	null     bool // Null
	ifExists bool
	all, any bool // ForAllValues:, ForAnyValue:
}

func parseOperator(name string) (qualifiedOperator, bool) {
	if name == "Null" {
		return qualifiedOperator{null: true, operator: operator{valid: boolForm}}, true
	}
	var t qualifiedOperator
	if rest, ok := strings.CutPrefix(name, "ForAllValues:"); ok {
		name, t.all = rest, true
	} else if rest, ok := strings.CutPrefix(name, "ForAnyValue:"); ok {
		name, t.any = rest, true
	}
	name, t.ifExists = strings.CutSuffix(name, "IfExists")
	var known bool
	t.operator, known = operators[name]
	return t, known
}

func (c Condition) check(place string) error {
	for name, keys := range c {
		t, known := parseOperator(name)
		if !known {
			return malformed(place+"."+name, "no such operator")
		}
		if len(keys) == 0 {
			return malformed(place+"."+name, "names no key")
		}
		for key, values := range keys {
			where := place + "." + name + "." + key
			if service, rest, ok := strings.Cut(key, ":"); !ok || service == "" || rest == "" {
				return malformed(where, "a key looks like aws:SourceIp")
			}
			if len(values) == 0 {
				return malformed(where, "has no values")
			}
			for _, v := range values {
				if t.valid != nil && !strings.Contains(v, "${") && !t.valid(v) {
					return malformed(where, "%q does not suit the operator", v)
				}
			}
		}
	}
	return nil
}

// isMet reports whether every operator and key of the condition is met.
func (c Condition) isMet(ctx Context, variables bool) bool {
	for name, keys := range c {
		t, known := parseOperator(name)
		if !known {
			return false // check has refused such documents
		}
		for key, wants := range keys {
			if !t.isMet(ctx.values(key), wants, ctx, variables) {
				return false
			}
		}
	}
	return true
}

// isMet reports whether the values of one key meet the condition. The policy's values are
// alternatives; with a negated operator none of them may match.
func (t qualifiedOperator) isMet(have, wants []string, ctx Context, variables bool) bool {
	if t.null {
		return slices.ContainsFunc(wants, func(w string) bool { return strings.EqualFold(w, strconv.FormatBool(len(have) == 0)) })
	}
	if len(have) == 0 {
		// A missing key never matches, which satisfies negated operators. ForAllValues is true for
		// an empty set, ForAnyValue is not.
		return t.ifExists || t.all || t.negated && !t.any
	}
	fits := func(h string) bool {
		found := slices.ContainsFunc(wants, func(w string) bool {
			p, ok := compile(w, t.wildcards, variables, ctx)
			return ok && t.compare(h, p)
		})
		return found != t.negated
	}
	if t.all || t.negated && !t.any {
		return !slices.ContainsFunc(have, func(h string) bool { return !fits(h) })
	}
	return slices.ContainsFunc(have, fits)
}

func equal(have string, want pattern) bool     { return have == want.literal() }
func equalFold(have string, want pattern) bool { return strings.EqualFold(have, want.literal()) }
func like(have string, want pattern) bool      { return want.match(have) }
func arnLike(have string, want pattern) bool   { return want.matchARN(have) }

func numeric(holds func(int) bool) func(string, pattern) bool {
	return func(have string, want pattern) bool {
		h, herr := strconv.ParseFloat(have, 64)
		w, werr := strconv.ParseFloat(want.literal(), 64)
		return herr == nil && werr == nil && holds(compareFloat(h, w))
	}
}

func compareFloat(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func date(holds func(int) bool) func(string, pattern) bool {
	return func(have string, want pattern) bool {
		h, hok := parseDate(have)
		w, wok := parseDate(want.literal())
		return hok && wok && holds(h.Compare(w))
	}
}

// parseDate parses the W3C's profile of ISO 8601, and unix seconds.
func parseDate(s string) (time.Time, bool) {
	if seconds, err := strconv.ParseInt(s, 10, 64); err == nil {
		return time.Unix(seconds, 0), true
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04Z07:00", "2006-01-02", "2006-01"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

func inNetwork(have string, want pattern) bool {
	address, err := netip.ParseAddr(have)
	network, ok := parseNetwork(want.literal())
	return err == nil && ok && network.Contains(address.Unmap())
}

func parseNetwork(s string) (netip.Prefix, bool) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p, true
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, a.BitLen()), true
}

func boolForm(s string) bool    { return strings.EqualFold(s, "true") || strings.EqualFold(s, "false") }
func numberForm(s string) bool  { _, err := strconv.ParseFloat(s, 64); return err == nil }
func dateForm(s string) bool    { _, ok := parseDate(s); return ok }
func networkForm(s string) bool { _, ok := parseNetwork(s); return ok }
func arnForm(s string) bool {
	return s == "*" || strings.Count(s, ":") >= 5 && strings.HasPrefix(s, "arn:")
}
