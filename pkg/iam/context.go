package iam

import "strings"

// Context is what a request says for conditions and variables: values by key,
// whose case does not matter. A key that is not there is absent.
type Context map[string][]string

// values returns the values of a key, nil if it is absent.
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

// variable is the value of a key that has exactly one.
func (c Context) variable(key string) (string, bool) {
	v := c.values(key)
	if len(v) != 1 {
		return "", false
	}
	return v[0], true
}
