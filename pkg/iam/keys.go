package iam

import (
	"maps"
	"slices"
	"strings"
)

// ConditionKeys returns the condition keys that the policy uses, in conditions and variables, in
// lower case and sorted. They tell which values a request's Context has to provide.
func (p *Policy) ConditionKeys() []string {
	keys := map[string]bool{}
	add := func(values Strings) {
		if p.Version != Version {
			return
		}
		for _, v := range values {
			for i := range len(v) {
				if m := variable.FindStringSubmatch(v[i:]); m != nil && strings.Contains(m[1], ":") {
					keys[strings.ToLower(m[1])] = true
				}
			}
		}
	}
	for _, s := range p.Statement {
		add(s.Resource)
		add(s.NotResource)
		for _, c := range s.Condition {
			for key, values := range c {
				keys[strings.ToLower(key)] = true
				add(values)
			}
		}
	}
	return slices.Sorted(maps.Keys(keys))
}
