package catalog

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/sealift/sealift/pkg/strictyaml"
)

// Parse reads the documents of a YAML file, one workspace each, checks each against the JSON
// Schema, and validates them together. Its error is an *Error with every problem and its line, or
// says where the YAML is malformed. Write keys are returned as written; see Stored.
func (o Operator) Parse(yaml []byte) ([]Workspace, error) {
	docs, err := strictyaml.Parse(yaml)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	r := reporter{docs: docs, reported: map[string]bool{}, broken: map[string]bool{}}
	var workspaces []Workspace
	var later []Problem // what the schema says about values; the checks below explain it better
	for i, d := range docs {
		tree := toAny(d)
		for _, v := range checkSchema(tree) {
			p := problemOf(i, d, v)
			if !v.structural {
				later = append(later, p)
				continue
			}
			r.report(p)
			r.broken[fmt.Sprintf("%d/%s", i, v.path)] = v.wrongType
			tree = removeAt(tree, strings.Split(v.path, "/"))
		}
		workspaces = append(workspaces, fromAny(tree))
	}
	var invalid *Error
	if errors.As(o.Validate(workspaces), &invalid) {
		r.report(invalid.Problems...)
	}
	r.report(later...)
	if len(r.problems) > 0 {
		slices.SortStableFunc(r.problems, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
		return nil, asError(r.problems)
	}
	return workspaces, nil
}

// Parse is Operator.Parse for an unknown operator.
func Parse(yaml []byte) ([]Workspace, error) { return Operator{}.Parse(yaml) }

// reporter keeps the first problem of each place, and none below a value of the wrong type.
type reporter struct {
	docs     []*strictyaml.Node
	reported map[string]bool // document and path
	broken   map[string]bool
	problems []Problem
}

func (r *reporter) report(problems ...Problem) {
	for _, p := range problems {
		at := fmt.Sprintf("%d/%s", p.doc, p.path)
		if r.reported[at] || r.belowBroken(p) {
			continue
		}
		r.reported[at] = true
		p.Line = lineOf(r.docs[p.doc], p.path)
		r.problems = append(r.problems, p)
	}
}

func (r *reporter) belowBroken(p Problem) bool {
	parts := strings.Split(p.path, "/")
	for i := range parts {
		if r.broken[fmt.Sprintf("%d/%s", p.doc, strings.Join(parts[:i], "/"))] {
			return true
		}
	}
	return false
}

// problemOf turns a violation of the schema into a problem of document i.
func problemOf(i int, d *strictyaml.Node, v violation) Problem {
	p := Problem{Workspace: "#" + strconv.Itoa(i+1), What: v.what, Fix: v.fix, doc: i, path: v.path}
	if id := d.Get("workspace"); id != nil && id.Kind == strictyaml.String && id.Text != "" {
		p.Workspace = id.Text
	}
	parts := strings.Split(v.path, "/")
	field := parts
	if n, err := strconv.Atoi(partAt(parts, 1)); err == nil {
		field = parts[2:]
		item := findNode(d, parts[:2])
		switch parts[0] {
		case "sources":
			p.Object = sourceObject(n, Source{ID: textOf(item, "id")})
		case "destinations":
			p.Object = destinationObject(n, Destination{Name: textOf(item, "name")})
		}
	}
	p.Field = partAt(field, 0)
	if k := partAt(field, 1); k != "" {
		p.Field += "[" + k + "]"
	}
	key := strings.HasPrefix(p.Field, "write_key") // its value must never be shown
	if key && !v.structural {
		p.What = "it is malformed"
	}
	if n := findNode(d, parts); v.wrongType && n != nil && strings.HasPrefix(p.What, "it must be text") && (n.Kind == strictyaml.Number || n.Kind == strictyaml.Bool) && p.Fix == "" {
		p.Fix = "write it in quotes"
		if !key {
			p.Fix += fmt.Sprintf(": %q", n.Text)
		}
	}
	return p
}

func partAt(parts []string, i int) string {
	if i < len(parts) {
		return parts[i]
	}
	return ""
}

func textOf(n *strictyaml.Node, key string) string {
	if n == nil || n.Get(key) == nil {
		return ""
	}
	return n.Get(key).Text
}

// findNode returns the node at a path, or nil.
func findNode(n *strictyaml.Node, parts []string) *strictyaml.Node {
	for _, p := range parts {
		if p == "" {
			continue
		}
		if i, err := strconv.Atoi(p); err == nil && n.Kind == strictyaml.Sequence && i >= 0 && i < len(n.List) {
			n = n.List[i]
		} else if n = n.Get(p); n == nil {
			return nil
		}
	}
	return n
}

// lineOf returns the line of the node at path, or of the nearest node above it.
func lineOf(n *strictyaml.Node, path string) int {
	parts := strings.Split(path, "/")
	for ; len(parts) > 0; parts = parts[:len(parts)-1] {
		if found := findNode(n, parts); found != nil {
			return found.Line
		}
	}
	return n.Line
}

// toAny converts the tree to the form that encoding/json would return. Keys without a value are
// left out.
func toAny(n *strictyaml.Node) any {
	switch n.Kind {
	case strictyaml.String:
		return n.Text
	case strictyaml.Bool:
		return strings.EqualFold(n.Text, "true")
	case strictyaml.Number:
		return number(n.Text)
	case strictyaml.Sequence:
		list := []any{}
		for _, item := range n.List {
			list = append(list, toAny(item))
		}
		return list
	case strictyaml.Mapping:
		m := map[string]any{}
		for _, p := range n.Keys {
			if p.Value.Kind != strictyaml.Null {
				m[p.Key] = toAny(p.Value)
			}
		}
		return m
	}
	return nil
}

// number reads a whole number in decimal, which is all that the catalog's keys accept. Anything
// else becomes a value that the schema refuses.
func number(text string) float64 {
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0.5
	}
	return float64(max(-math.MaxInt32, min(n, math.MaxInt32)))
}

// removeAt removes a value of the wrong type, so that the rest can be read. In a list it leaves
// nil, so that indexes keep their meaning.
func removeAt(tree any, parts []string) any {
	switch t := tree.(type) {
	case map[string]any:
		if child, ok := t[parts[0]]; ok && len(parts) > 1 {
			t[parts[0]] = removeAt(child, parts[1:])
			return t
		}
		delete(t, parts[0])
		return t
	case []any:
		if i, err := strconv.Atoi(parts[0]); err == nil && i >= 0 && i < len(t) {
			if len(parts) > 1 {
				t[i] = removeAt(t[i], parts[1:])
			} else {
				t[i] = nil
			}
			return t
		}
	}
	return nil // the document itself
}

// fromAny converts a tree whose types the schema has checked.
func fromAny(tree any) Workspace {
	var w Workspace
	b, err := json.Marshal(tree)
	if err == nil {
		err = json.Unmarshal(b, &w)
	}
	if err != nil {
		panic(fmt.Sprintf("catalog: read a document that matches the schema: %v", err)) // cannot happen, as a fuzz test confirms
	}
	return w
}
