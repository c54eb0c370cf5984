package catalog

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ChangeKind says what happened to an object.
type ChangeKind string

// Kinds of changes.
const (
	Added   ChangeKind = "added"
	Removed ChangeKind = "removed"
	Changed ChangeKind = "changed"
)

// Change is one difference between two catalogs.
type Change struct {
	Kind      ChangeKind `json:"kind"`
	Workspace string     `json:"workspace"`
	Object    string     `json:"object,omitempty"` // `source "x"`, `destination "x"`; empty: the workspace
	Field     string     `json:"field,omitempty"`  // of a changed object
	Old       string     `json:"old,omitempty"`
	New       string     `json:"new,omitempty"`
}

// String returns the change as one line: "+" added, "-" removed, "~" changed.
func (c Change) String() string {
	s := map[ChangeKind]string{Added: "+", Removed: "-", Changed: "~"}[c.Kind] + " workspace " + c.Workspace
	if c.Object != "" {
		s += " " + c.Object
	}
	if c.Field != "" {
		s += fmt.Sprintf(" %s: %s -> %s", c.Field, orNone(c.Old), orNone(c.New))
	}
	return s
}

// Destination returns the id of the destination that is the change's object; ok is false if something
// else is.
func (c Change) Destination() (id string, ok bool) {
	quoted, ok := strings.CutPrefix(c.Object, "destination ")
	name, err := strconv.Unquote(quoted)
	return c.Workspace + "/" + name, ok && err == nil
}

func orNone(s string) string {
	if s == "" {
		return "(none)"
	}
	return s
}

// Diff returns the changes from old to new, with workspaces sorted by id. The order of objects, and
// whether keys are hashed, makes no difference. Of a write key it shows only the first digits of
// its hash.
func Diff(old, new []Workspace) []Change {
	before, after := byID(old), byID(new)
	var ids []string
	for id := range before {
		ids = append(ids, id)
	}
	for id := range after {
		if _, known := before[id]; !known {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	var out []Change
	for _, id := range ids {
		a, had := before[id]
		b, has := after[id]
		if had != has {
			out = append(out, Change{Kind: kindOf(has), Workspace: id})
		}
		out = append(out, diffObjects(id, objects(a), objects(b))...)
	}
	return out
}

func kindOf(added bool) ChangeKind {
	if added {
		return Added
	}
	return Removed
}

func byID(workspaces []Workspace) map[string]Workspace {
	m := map[string]Workspace{}
	for _, w := range workspaces {
		m[w.ID] = Stored(w)
	}
	return m
}

// object is a source or destination as a list of fields.
type object struct {
	name   string
	fields []field
}

type field struct{ name, value string }

func objects(w Workspace) []object {
	var out []object
	for i, s := range w.Sources {
		var hashes []string
		for _, h := range s.WriteKeyHashes {
			hashes = append(hashes, h[:min(8, len(h))])
		}
		out = append(out, object{name: sourceObject(i, s), fields: []field{
			{"name", s.Name}, {"write_key_hashes", strings.Join(hashes, ",")}, {"spread", strconv.Itoa(max(1, s.Spread))},
		}})
	}
	for i, d := range w.Destinations {
		out = append(out, object{name: destinationObject(i, d), fields: []field{
			{"sources", strings.Join(d.Sources, ",")},
			{"bucket", d.Bucket},
			{"region", d.Region},
			{"role_arn", d.RoleARN},
			{"server_side_encryption", boolOrTrue(d.ServerSideEncryption)},
			{"acl", d.ACL},
			{"expected_bucket_owner", d.ExpectedBucketOwner},
			{"endpoint", d.Endpoint},
			{"fips", strconv.FormatBool(d.FIPS)},
			{"dual_stack", strconv.FormatBool(d.DualStack)},
			{"path_style", boolOrEmpty(d.PathStyle)},
			{"enabled", boolOrTrue(d.Enabled)},
		}})
	}
	return out
}

// boolOrEmpty formats a boolean whose default depends on other fields.
func boolOrEmpty(b *bool) string {
	if b == nil {
		return ""
	}
	return strconv.FormatBool(*b)
}

// boolOrTrue formats a boolean whose default is true.
func boolOrTrue(b *bool) string { return strconv.FormatBool(b == nil || *b) }

func diffObjects(workspace string, before, after []object) []Change {
	var out []Change
	now := map[string]object{}
	for _, b := range after {
		now[b.name] = b
	}
	had := map[string]bool{}
	for _, a := range before {
		had[a.name] = true
		b, has := now[a.name]
		if !has {
			out = append(out, Change{Kind: Removed, Workspace: workspace, Object: a.name})
			continue
		}
		for k, f := range a.fields {
			if v := b.fields[k].value; v != f.value {
				out = append(out, Change{Kind: Changed, Workspace: workspace, Object: a.name, Field: f.name, Old: f.value, New: v})
			}
		}
	}
	for _, b := range after {
		if !had[b.name] {
			out = append(out, Change{Kind: Added, Workspace: workspace, Object: b.name})
		}
	}
	return out
}
