package iam

import (
	"regexp"
	"strings"
)

// pattern is a value of a policy after its variables were replaced: bytes, and wildcards. The value
// of a variable cannot add wildcards.
type pattern []symbol

type symbol struct {
	char byte
	any  bool // *: any number of characters
	one  bool // ?: one character
}

// variable matches ${key} or ${key, 'default'}, or one of the escapes ${*}, ${?} and ${$}.
var variable = regexp.MustCompile(`^\$\{\s*([^},]+?)\s*(?:,\s*'([^']*)'\s*)?\}`)

// compile parses a value of a policy. It returns false if the value has a variable for which the
// request has no value; then it matches nothing.
//
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html.
func compile(s string, wild, variables bool, ctx Context) (pattern, bool) {
	out := make(pattern, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case variables && c == '$' && variable.MatchString(s[i:]):
			m := variable.FindStringSubmatch(s[i:])
			value, ok := m[1], true
			if len(value) != 1 || !strings.Contains("*?$", value) {
				if value, ok = ctx.variable(m[1]); !ok && strings.Contains(m[0], ",") {
					value, ok = m[2], true
				}
			}
			if !ok {
				return nil, false
			}
			for j := range len(value) {
				out = append(out, symbol{char: value[j]})
			}
			i += len(m[0]) - 1
		case wild && c == '*':
			out = append(out, symbol{any: true})
		case wild && c == '?':
			out = append(out, symbol{one: true})
		default:
			out = append(out, symbol{char: c})
		}
	}
	return out, true
}

// literal returns the text of a pattern without wildcards.
func (p pattern) literal() string {
	var b strings.Builder
	for _, s := range p {
		b.WriteByte(s.char)
	}
	return b.String()
}

// match reports whether the pattern matches the whole of s. Its time is at most proportional to the
// product of their lengths.
func (p pattern) match(s string) bool {
	i, j := 0, 0
	star, back := -1, 0 // the last *, and the end of what it matches so far
	for i < len(s) {
		switch {
		case j < len(p) && p[j].any:
			star, back = j, i
			j++
		case j < len(p) && p[j].one:
			i += firstRuneLen(s[i:])
			j++
		case j < len(p) && p[j].char == s[i]:
			i++
			j++
		case star >= 0:
			back++ // one byte is enough: * also matches the rest of a character
			i, j = back, star+1
		default:
			return false
		}
	}
	for j < len(p) && p[j].any {
		j++
	}
	return j == len(p)
}

// firstRuneLen returns the length of the first character in bytes.
func firstRuneLen(s string) int {
	for i := range s {
		if i > 0 {
			return i
		}
	}
	return len(s)
}

// matchARN compares the six parts of an ARN one by one: no wildcard matches a colon, except in the
// last part.
func (p pattern) matchARN(arn string) bool {
	if len(p) == 1 && p[0].any {
		return true
	}
	for range 5 {
		i := 0
		for i < len(p) && p[i].char != ':' {
			i++
		}
		part, rest, ok := strings.Cut(arn, ":")
		if !ok || i == len(p) || !p[:i].match(part) {
			return false
		}
		p, arn = p[i+1:], rest
	}
	return p.match(arn)
}

// matchAction compares actions, ignoring case.
func matchAction(want, action string) bool {
	p, ok := compile(strings.ToLower(want), true, false, nil)
	return ok && p.match(strings.ToLower(action))
}
