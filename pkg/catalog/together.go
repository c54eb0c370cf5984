package catalog

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// checkTogether finds what only shows when all workspaces are seen at once:
// ids, write keys and places in buckets that are taken. Of two that collide
// the later one has the problem, so that what is new never harms what stands.
func checkTogether(workspaces []Workspace) []Problem {
	t := together{
		all:        workspaces,
		workspaces: map[string]bool{},
		sources:    map[string]string{},
		keys:       map[string]string{},
		places:     map[string][]place{},
	}
	for doc, w := range workspaces {
		t.add(doc, w)
	}
	for _, group := range t.places {
		t.collisions(group)
	}
	slices.SortStableFunc(t.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.doc, b.doc), strings.Compare(a.path, b.path))
	})
	return t.problems
}

type together struct {
	all        []Workspace
	workspaces map[string]bool
	sources    map[string]string // id -> workspace
	keys       map[string]string // hash -> source id
	places     map[string][]place
	problems   []Problem
}

// place is where in a bucket a destination's files go.
type place struct {
	doc, index int
	root       string // [prefix/]segment-logs/
}

func (t *together) add(doc int, w Workspace) {
	c := checker{doc: doc, w: w}
	if t.workspaces[w.ID] && w.ID != "" {
		c.add("", "workspace", "workspace", "another document has the same id", "keep one document for each workspace")
		t.problems = append(t.problems, c.problems...)
		return // it would collide with the other one in everything else
	}
	t.workspaces[w.ID] = true
	for i, s := range w.Sources {
		if owner, taken := t.sources[s.ID]; taken && s.ID != "" {
			c.add(sourceObject(i, s), sourcePath(i, "id"), "id", "it is taken by a source of workspace "+owner, "source ids are unique over all workspaces; generate one with: sealift catalog new")
		} else {
			t.sources[s.ID] = w.ID
		}
		t.addKeys(&c, i, s)
	}
	for i, d := range w.Destinations {
		if what, _ := checkBucket(d.Bucket); what != "" {
			continue // its own problem
		}
		name, prefix := SplitBucket(d.Bucket)
		root := "segment-logs/"
		if prefix != "" {
			root = prefix + "/" + root
		}
		at := server(d.Endpoint) + "/" + name
		t.places[at] = append(t.places[at], place{doc: doc, index: i, root: root})
	}
	t.problems = append(t.problems, c.problems...)
}

func (t *together) addKeys(c *checker, i int, s Source) {
	taken := func(hash, field string, k int) {
		if other, taken := t.keys[hash]; taken && other != s.ID {
			c.add(sourceObject(i, s), sourcePath(i, fmt.Sprintf("%s/%d", field, k)), fmt.Sprintf("%s[%d]", field, k),
				fmt.Sprintf("source %q has the same write key, so events could belong to either", other), "give each source its own; generate one with: sealift catalog new")
			return
		}
		t.keys[hash] = s.ID
	}
	for k, key := range s.WriteKeys {
		taken(HashKey(key), "write_keys", k)
	}
	for k, hash := range s.WriteKeyHashes {
		taken(hash, "write_key_hashes", k)
	}
}

// server names whose buckets an endpoint shows. All of AWS's endpoints, VPC
// endpoints too, show the same ones.
func server(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil || endpoint == "" {
		return "aws"
	}
	host := strings.ToLower(u.Hostname())
	if strings.HasSuffix(host, ".amazonaws.com") || strings.HasSuffix(host, ".amazonaws.com.cn") {
		return "aws"
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return host + ":" + port
}

// collisions looks at the places of one bucket. Sorted, a place comes after
// every place that it lies in, so one pass with a stack finds all pairs.
func (t *together) collisions(group []place) {
	slices.SortFunc(group, func(a, b place) int {
		return cmp.Or(strings.Compare(a.root, b.root), cmp.Compare(a.doc, b.doc), cmp.Compare(a.index, b.index))
	})
	var outer []place
	for _, p := range group {
		for len(outer) > 0 && !strings.HasPrefix(p.root, outer[len(outer)-1].root) {
			outer = outer[:len(outer)-1]
		}
		for _, o := range outer {
			t.collide(o, p)
		}
		outer = append(outer, p)
	}
}

// collide judges two places of which inner lies in outer or is the same.
func (t *together) collide(outer, inner place) {
	late, early := inner, outer
	if cmp.Or(cmp.Compare(outer.doc, inner.doc), cmp.Compare(outer.index, inner.index)) > 0 {
		late, early = outer, inner
	}
	other := destinationObject(early.index, t.destination(early)) + " of workspace " + t.all[early.doc].ID
	bad := func(what, fix string) {
		c := checker{doc: late.doc, w: t.all[late.doc]}
		c.add(destinationObject(late.index, t.destination(late)), destinationPath(late.index, "bucket"), "bucket", what, fix)
		t.problems = append(t.problems, c.problems...)
	}
	const elsewhere = "use another bucket or key prefix"
	od, id := t.destination(outer), t.destination(inner)
	switch same := outer.root == inner.root; {
	case outer.doc != inner.doc && same:
		bad(other+" delivers to the same place", elsewhere)
	case outer.doc != inner.doc:
		bad("it overlaps with the place of "+other, elsewhere)
	case same:
		// Different sources have different folders; what is disabled delivers nothing.
		i := slices.IndexFunc(id.Sources, func(s string) bool { return slices.Contains(od.Sources, s) })
		if i >= 0 && enabled(od) && enabled(id) {
			bad(fmt.Sprintf("source %q is delivered to the same place by %s", id.Sources[i], other), "remove the source from one of them, disable one, or use another key prefix")
		}
	default:
		// Only a source's own folder is taken: prefixes such as segment-logs/test
		// serve to try a role out before a migration.
		folder, _, _ := strings.Cut(strings.TrimPrefix(inner.root, outer.root), "/")
		if slices.Contains(od.Sources, folder) {
			bad(fmt.Sprintf("it overlaps with the folder of source %q of %s", folder, other), elsewhere)
		}
	}
}

func (t *together) destination(p place) Destination { return t.all[p.doc].Destinations[p.index] }

func enabled(d Destination) bool { return d.Enabled == nil || *d.Enabled }
