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

// placeGroup is all places with the same root.
type placeGroup struct {
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
func (t *crossChecker) collisions(bucket []place) {
	slices.SortFunc(bucket, func(a, b place) int {
		return cmp.Or(strings.Compare(a.root, b.root), cmp.Compare(a.doc, b.doc), cmp.Compare(a.index, b.index))
	})
	var outer []*placeGroup
	pop := func() {
		t.checkAround(outer[len(outer)-1])
		outer = outer[:len(outer)-1]
	}
	for len(bucket) > 0 {
		n := slices.IndexFunc(bucket, func(p place) bool { return p.root != bucket[0].root })
		if n < 0 {
			n = len(bucket)
		}
		g := &placeGroup{root: bucket[0].root, places: bucket[:n], folders: map[folder]place{}}
		bucket = bucket[n:]
		for len(outer) > 0 && !strings.HasPrefix(g.root, outer[len(outer)-1].root) {
			pop()
		}
		t.checkSame(g)
		for _, o := range outer {
			t.checkInside(o, g)
		}
		outer = append(outer, g)
	}
	for len(outer) > 0 {
		pop()
	}
}

// checkSame checks places that are identical.
func (t *crossChecker) checkSame(g *placeGroup) {
	taken := map[folder]place{} // source folders used by enabled destinations
	for _, p := range g.places {
		if o := g.all.foreign(p.doc); o != nil {
			t.report(p, t.describe(*o)+" delivers to the same place", fixElsewhere)
		}
		g.all.add(p)
		d := t.destination(p)
		if !enabled(*d) { // it delivers nothing
			continue
		}
		reported := false
		for _, source := range d.Sources { // different sources have different folders
			at := folder{p.doc, source}
			o, there := taken[at]
			if !there {
				taken[at] = p
			} else if o != p && !reported {
				t.report(p, fmt.Sprintf("source %q is delivered to the same place by %s", source, t.describe(o)),
					"remove the source from one of them, disable one, or use another key prefix")
				reported = true
			}
		}
	}
}

// checkInside checks the places of inner, which lie inside those of outer.
func (t *crossChecker) checkInside(outer, inner *placeGroup) {
	sources := outer.sources(t)
	// Only a source's own folder is taken: other prefixes, such as segment-logs/sealift-check, are
	// used to try out a role before a migration.
	source, _, _ := strings.Cut(strings.TrimPrefix(inner.root, outer.root), "/")
	for _, p := range inner.places {
		outer.inner.add(p)
		if o := outer.all.foreign(p.doc); o != nil && o.before(p) {
			t.report(p, "it overlaps with the place of "+t.describe(*o), fixElsewhere)
		}
		at := folder{p.doc, source}
		o, there := sources[at]
		if !there {
			continue
		}
		if o.before(p) {
			t.report(p, fmt.Sprintf("it overlaps with the folder of source %q of %s", source, t.describe(o)), fixElsewhere)
		}
		if first, there := outer.folders[at]; !there || p.before(first) {
			outer.folders[at] = p
		}
	}
}

// checkAround checks the places of a group against the places inside them.
func (t *crossChecker) checkAround(g *placeGroup) {
	for _, p := range g.places {
		if g.inner.first == nil {
			return
		}
		if i := g.inner.foreign(p.doc); i != nil && i.before(p) {
			t.report(p, "it overlaps with the place of "+t.describe(*i), fixElsewhere)
		}
		for _, source := range t.destination(p).Sources {
			if i, there := g.folders[folder{p.doc, source}]; there && i.before(p) {
				t.report(p, fmt.Sprintf("%s delivers into the folder of source %q", t.describe(i), source), fixElsewhere)
				break
			}
		}
	}
}

// sources returns the earliest place of each source.
func (g *placeGroup) sources(t *crossChecker) map[folder]place {
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

const fixElsewhere = "use another bucket or key prefix"

func (t *crossChecker) report(p place, what, fix string) {
	c := checker{doc: p.doc, w: t.docs[p.doc]}
	c.add(t.object(p), destinationPath(p.index, "bucket"), "bucket", what, fix)
	t.problems = append(t.problems, c.problems...)
}

func (t *crossChecker) destination(p place) *Destination { return &t.docs[p.doc].Destinations[p.index] }

func (t *crossChecker) object(p place) string { return destinationObject(p.index, *t.destination(p)) }

func (t *crossChecker) describe(p place) string {
	return t.object(p) + " of workspace " + t.docs[p.doc].ID
}

func enabled(d Destination) bool { return d.Enabled == nil || *d.Enabled }
