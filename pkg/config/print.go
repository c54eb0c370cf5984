package config

import (
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
)

// Print writes the effective configuration as YAML that Load can read, with a comment that gives
// the origin of each value that is set. Secrets are masked, and Load refuses them as such.
func (c Config) Print(w io.Writer) error {
	var b strings.Builder
	var open []string // the sections being written
	for _, k := range keys() {
		parts := strings.Split(k.path, ".")
		sections, name := parts[:len(parts)-1], parts[len(parts)-1]
		for i, s := range sections {
			if i >= len(open) || open[i] != s {
				open = append(open[:min(i, len(open))], s)
				fmt.Fprintf(&b, "%s%s:\n", strings.Repeat("  ", i), s)
			}
		}
		open = open[:len(sections)]
		items, list := k.printed(&c)
		for i := range items {
			items[i] = quote(items[i])
		}
		value := strings.Join(items, ", ")
		if list {
			value = "[" + value + "]"
		}
		fmt.Fprintf(&b, "%s%s: %s", strings.Repeat("  ", len(sections)), name, value)
		if from := c.origins[k.path]; from != "" {
			fmt.Fprintf(&b, " # %s", strings.ReplaceAll(from, "\n", " "))
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// MarshalJSON returns the effective configuration by key, each with its value (a text or a list of
// texts) and its origin. Secrets are masked.
func (c Config) MarshalJSON() ([]byte, error) {
	type entry struct {
		Value  any    `json:"value"`
		Origin string `json:"origin"`
		Env    string `json:"env"`
	}
	out := map[string]entry{}
	for _, k := range keys() {
		items, list := k.printed(&c)
		e := entry{Value: items, Origin: c.Origin(k.path), Env: k.env()}
		if !list {
			e.Value = items[0]
		} else if items == nil {
			e.Value = []string{}
		}
		out[k.path] = e
	}
	return json.Marshal(out)
}

// Origin returns where the value of a key came from: "default", a file and line, a variable's name,
// or "flag".
func (c Config) Origin(key string) string {
	if from := c.origins[key]; from != "" {
		return from
	}
	return "default"
}

var plain = regexp.MustCompile(`^-?[A-Za-z0-9./_][A-Za-z0-9./_+-]*(:[A-Za-z0-9./_+-]+)*$`)

// quote makes text a YAML scalar.
func quote(text string) string {
	if plain.MatchString(text) && text != "null" && text != "~" {
		return text
	}
	return strconv.QuoteToGraphic(text)
}
