package iam

import "strings"

// Context contains what a request provides for conditions and variables: values by key, in any
// case. A key that is not in it is absent.
type Context map[string][]string

// values returns the values of a key, or nil if it is absent.
func (c Context) values(key string) []string {
	if v, ok := c[key]; ok {
		return v
	}
	for k, v := range c {
		if strings.EqualFold(k, key) {
			return v
		}
	}
	return nil
}

// variable returns the value of a key that has exactly one.
func (c Context) variable(key string) (string, bool) {
	v := c.values(key)
	if len(v) != 1 {
		return "", false
	}
	return v[0], true
}
