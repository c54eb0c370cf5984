package iam

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrMalformed says that a document is not a policy of its kind: AWS's
// MalformedPolicyDocument (STS, KMS, IAM) or MalformedPolicy (S3).
var ErrMalformed = errors.New("malformed policy")

// malformed returns an ErrMalformed at a place such as Statement[0].Action.
func malformed(place, format string, args ...any) error {
	if place != "" {
		place = " at " + place
	}
	return fmt.Errorf("%w%s: %s", ErrMalformed, place, fmt.Sprintf(format, args...))
}

// Parse parses a document and validates it for its kind. Every error is an ErrMalformed that names
// the place.
func Parse(kind Kind, document []byte) (*Policy, error) {
	p := new(Policy)
	if err := p.UnmarshalJSON(document); err != nil {
		return nil, err
	}
	return p, p.Validate(kind)
}

// UnmarshalJSON implements json.Unmarshaler.
func (p *Policy) UnmarshalJSON(document []byte) error {
	if !json.Valid(document) {
		var v any
		return malformed("", "not JSON: %v", json.Unmarshal(document, &v))
	}
	*p = Policy{}
	err := parseObject(document, "", func(name, place string, v json.RawMessage) (err error) {
		switch name {
		case "Version":
			p.Version, err = parseString(v, place)
		case "Id":
			p.ID, err = parseString(v, place)
		case "Statement":
			p.Statement, err = parseStatements(v, place)
		default:
			err = malformed(place, "no such element of a policy")
		}
		return err
	})
	if err != nil {
		return err
	}
	return p.check()
}

// parseStatements parses a list of statements, or a single one.
func parseStatements(v json.RawMessage, place string) ([]Statement, error) {
	var all []json.RawMessage
	switch firstByte(v) {
	case '{':
		all = append(all, v)
	case '[':
		if err := json.Unmarshal(v, &all); err != nil {
			return nil, malformed(place, "%v", err)
		}
	default:
		return nil, malformed(place, "want a statement or a list of them")
	}
	out := make([]Statement, len(all))
	for i, raw := range all {
		if err := out[i].parse(raw, fmt.Sprintf("%s[%d]", place, i)); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (s *Statement) parse(v json.RawMessage, place string) error {
	return parseObject(v, place, func(name, place string, v json.RawMessage) (err error) {
		switch name {
		case "Sid":
			s.Sid, err = parseString(v, place)
		case "Effect":
			s.Effect, err = parseString(v, place)
		case "Principal":
			s.Principal, err = parsePrincipals(v, place)
		case "NotPrincipal":
			s.NotPrincipal, err = parsePrincipals(v, place)
		case "Action":
			s.Action, err = parseStrings(v, place)
		case "NotAction":
			s.NotAction, err = parseStrings(v, place)
		case "Resource":
			s.Resource, err = parseStrings(v, place)
		case "NotResource":
			s.NotResource, err = parseStrings(v, place)
		case "Condition":
			s.Condition, err = parseCondition(v, place)
		default:
			err = malformed(place, "no such element of a statement")
		}
		return err
	})
}

func parsePrincipals(v json.RawMessage, place string) (*Principals, error) {
	p := &Principals{}
	if firstByte(v) == '"' {
		if s, err := parseString(v, place); err != nil || s != "*" {
			return nil, malformed(place, `want "*" or an object such as {"AWS": "arn:aws:iam::123456789012:root"}`)
		}
		p.Everyone = true
		return p, nil
	}
	err := parseObject(v, place, func(name, place string, v json.RawMessage) (err error) {
		switch name {
		case "AWS":
			p.AWS, err = parseStrings(v, place)
		case "Service":
			p.Service, err = parseStrings(v, place)
		case "Federated":
			p.Federated, err = parseStrings(v, place)
		case "CanonicalUser":
			p.CanonicalUser, err = parseStrings(v, place)
		default:
			err = malformed(place, "no such kind of principal")
		}
		return err
	})
	return p, err
}

func parseCondition(v json.RawMessage, place string) (Condition, error) {
	out := Condition{}
	err := parseObject(v, place, func(operator, place string, v json.RawMessage) error {
		keys := map[string]Strings{}
		out[operator] = keys
		return parseObject(v, place, func(key, place string, v json.RawMessage) error {
			for k := range keys {
				if strings.EqualFold(k, key) {
					return malformed(place, "%s is the same key", k)
				}
			}
			values, err := parseScalars(v, place)
			keys[key] = values
			return err
		})
	})
	if len(out) == 0 {
		return nil, err // an empty condition is the same as none
	}
	return out, err
}

// parseObject calls member for each member of an object, in order, with its place.
func parseObject(v json.RawMessage, place string, member func(name, place string, v json.RawMessage) error) error {
	if firstByte(v) != '{' {
		return malformed(place, "want an object")
	}
	d := json.NewDecoder(bytes.NewReader(v))
	_, err := d.Token() // {
	var seen []string
	for err == nil && d.More() {
		var name json.Token
		if name, err = d.Token(); err != nil {
			break
		}
		s := name.(string) //nolint:forcetypeassert // the document is valid JSON
		where := strings.TrimPrefix(place+"."+s, ".")
		if slices.Contains(seen, s) {
			return malformed(where, "is there twice")
		}
		seen = append(seen, s)
		var raw json.RawMessage
		if err = d.Decode(&raw); err == nil {
			if err := member(s, where, raw); err != nil {
				return err
			}
		}
	}
	if err != nil {
		return malformed(place, "%v", err)
	}
	return nil
}

func firstByte(v json.RawMessage) byte {
	v = bytes.TrimLeft(v, " \t\r\n")
	if len(v) == 0 {
		return 0
	}
	return v[0]
}

func parseString(v json.RawMessage, place string) (string, error) {
	var s string
	if firstByte(v) != '"' || json.Unmarshal(v, &s) != nil {
		return "", malformed(place, "want a string")
	}
	return s, nil
}

// parseStrings parses a string or a list of strings.
func parseStrings(v json.RawMessage, place string) (Strings, error) {
	return parseList(v, place, func(v json.RawMessage, place string) (string, error) { return parseString(v, place) })
}

// parseScalars parses the values of a condition, which may also be numbers and booleans.
func parseScalars(v json.RawMessage, place string) (Strings, error) {
	return parseList(v, place, func(v json.RawMessage, place string) (string, error) {
		switch firstByte(v) {
		case '"':
			return parseString(v, place)
		case '{', '[', 'n':
			return "", malformed(place, "want a string, a number, true or false")
		}
		return string(bytes.TrimSpace(v)), nil
	})
}

func parseList(v json.RawMessage, place string, one func(json.RawMessage, string) (string, error)) (Strings, error) {
	if firstByte(v) != '[' {
		s, err := one(v, place)
		return Strings{s}, err
	}
	var all []json.RawMessage
	if err := json.Unmarshal(v, &all); err != nil {
		return nil, malformed(place, "%v", err)
	}
	if len(all) == 0 {
		return nil, malformed(place, "is empty")
	}
	out := make(Strings, len(all))
	for i, raw := range all {
		var err error
		if out[i], err = one(raw, fmt.Sprintf("%s[%d]", place, i)); err != nil {
			return nil, err
		}
	}
	return out, nil
}
