package catalog

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// place is where in a bucket a destination's files go.
type place struct {
	doc, index int
	root       string // [prefix/]segment-logs/
}

// before reports whether p's destination comes before q's. The earlier one wins.
func (p place) before(q place) bool {
	return cmp.Or(cmp.Compare(p.doc, q.doc), cmp.Compare(p.index, q.index)) < 0
}

// group is all places with the same root.
type group struct {
	root   string
	places []place // the earlier one first
	all    earliest
	inner  earliest // of the places inside this one
	// folders holds, for sources' folders in this place, the earliest place inside each.
	folders  map[folder]place
	bySource map[folder]place // see sources
}

// folder is a source's folder, for the destinations of one workspace.
type folder struct {
	doc    int
	source string
}

// earliest keeps the earliest place, and the earliest one of another document. That suffices to
// find, for every place, the earliest one that is foreign to it.
type earliest struct{ first, other *place }

func (e *earliest) add(p place) {
	switch {
	case e.first == nil:
		e.first = &p
	case p.doc == e.first.doc:
		if p.before(*e.first) {
			e.first = &p
		}
	case p.before(*e.first):
		e.first, e.other = &p, e.first
	case e.other == nil || p.before(*e.other):
		e.other = &p
	}
}

// foreign returns the earliest place of another document, or nil.
func (e *earliest) foreign(doc int) *place {
	if e.first != nil && e.first.doc == doc {
		return e.other
	}
	return e.first
}

// collisions finds the collisions among the places of one bucket. When they are sorted, a place
// comes after every place that contains it, so one pass with a stack finds all pairs. A place is
// compared only with the earliest one that it could collide with, not with all: a bucket may have
// 10,000 destinations, and comparing all pairs would take a minute.
func (t *together) collisions(bucket []place) {
	slices.SortFunc(bucket, func(a, b place) int {
		return cmp.Or(strings.Compare(a.root, b.root), cmp.Compare(a.doc, b.doc), cmp.Compare(a.index, b.index))
	})
	var outer []*group
	pop := func() {
		t.around(outer[len(outer)-1])
		outer = outer[:len(outer)-1]
	}
	for len(bucket) > 0 {
		n := slices.IndexFunc(bucket, func(p place) bool { return p.root != bucket[0].root })
		if n < 0 {
			n = len(bucket)
		}
		g := &group{root: bucket[0].root, places: bucket[:n], folders: map[folder]place{}}
		bucket = bucket[n:]
		for len(outer) > 0 && !strings.HasPrefix(g.root, outer[len(outer)-1].root) {
			pop()
		}
		t.same(g)
		for _, o := range outer {
			t.inside(o, g)
		}
		outer = append(outer, g)
	}
	for len(outer) > 0 {
		pop()
	}
}

// same checks places that are identical.
func (t *together) same(g *group) {
	taken := map[folder]place{} // source folders used by enabled destinations
	for _, p := range g.places {
		if o := g.all.foreign(p.doc); o != nil {
			t.bad(p, t.name(*o)+" delivers to the same place", elsewhere)
		}
		g.all.add(p)
		d := t.destination(p)
		if !enabled(*d) { // it delivers nothing
			continue
		}
		told := false
		for _, source := range d.Sources { // different sources have different folders
			at := folder{p.doc, source}
			o, there := taken[at]
			if !there {
				taken[at] = p
			} else if o != p && !told {
				t.bad(p, fmt.Sprintf("source %q is delivered to the same place by %s", source, t.name(o)),
					"remove the source from one of them, disable one, or use another key prefix")
				told = true
			}
		}
	}
}

// inside checks the places of inner, which lie inside those of outer.
func (t *together) inside(outer, inner *group) {
	sources := outer.sources(t)
	// Only a source's own folder is taken: other prefixes, such as segment-logs/sealift-check, are
	// used to try out a role before a migration.
	source, _, _ := strings.Cut(strings.TrimPrefix(inner.root, outer.root), "/")
	for _, p := range inner.places {
		outer.inner.add(p)
		if o := outer.all.foreign(p.doc); o != nil && o.before(p) {
			t.bad(p, "it overlaps with the place of "+t.name(*o), elsewhere)
		}
		at := folder{p.doc, source}
		o, there := sources[at]
		if !there {
			continue
		}
		if o.before(p) {
			t.bad(p, fmt.Sprintf("it overlaps with the folder of source %q of %s", source, t.name(o)), elsewhere)
		}
		if first, there := outer.folders[at]; !there || p.before(first) {
			outer.folders[at] = p
		}
	}
}

// around checks the places of a group against the places inside them.
func (t *together) around(g *group) {
	for _, p := range g.places {
		if g.inner.first == nil {
			return
		}
		if i := g.inner.foreign(p.doc); i != nil && i.before(p) {
			t.bad(p, "it overlaps with the place of "+t.name(*i), elsewhere)
		}
		for _, source := range t.destination(p).Sources {
			if i, there := g.folders[folder{p.doc, source}]; there && i.before(p) {
				t.bad(p, fmt.Sprintf("%s delivers into the folder of source %q", t.name(i), source), elsewhere)
				break
			}
		}
	}
}

// sources returns the earliest place of each source.
func (g *group) sources(t *together) map[folder]place {
	if g.bySource == nil {
		g.bySource = map[folder]place{}
		for _, p := range g.places {
			for _, source := range t.destination(p).Sources {
				at := folder{p.doc, source}
				if _, there := g.bySource[at]; !there {
					g.bySource[at] = p
				}
			}
		}
	}
	return g.bySource
}

const elsewhere = "use another bucket or key prefix"

func (t *together) bad(p place, what, fix string) {
	c := checker{doc: p.doc, w: t.all[p.doc]}
	c.add(t.object(p), destinationPath(p.index, "bucket"), "bucket", what, fix)
	t.problems = append(t.problems, c.problems...)
}

func (t *together) destination(p place) *Destination { return &t.all[p.doc].Destinations[p.index] }

func (t *together) object(p place) string { return destinationObject(p.index, *t.destination(p)) }

func (t *together) name(p place) string { return t.object(p) + " of workspace " + t.all[p.doc].ID }

func enabled(d Destination) bool { return d.Enabled == nil || *d.Enabled }
