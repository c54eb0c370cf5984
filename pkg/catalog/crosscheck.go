package catalog

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// checkAcrossWorkspaces finds problems that show only when all workspaces are known: ids, write
// keys and places in buckets that are already taken. Of two that collide the later one has the
// problem, so that additions never harm what exists.
func checkAcrossWorkspaces(workspaces []Workspace, operator Operator) []Problem {
	t := crossChecker{
		operator:     operator,
		docs:         workspaces,
		workspaceIDs: map[string]bool{},
		sources:      map[string]string{},
		keys:         map[string]string{},
		places:       map[string][]place{},
	}
	for doc, w := range workspaces {
		t.add(doc, w)
	}
	for _, bucket := range t.places {
		t.collisions(bucket)
	}
	slices.SortFunc(t.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.doc, b.doc), strings.Compare(a.path, b.path), strings.Compare(a.What, b.What))
	})
	return slices.Compact(t.problems) // the same pair may collide in several views
}

type crossChecker struct {
	operator     Operator
	docs         []Workspace
	workspaceIDs map[string]bool
	sources      map[string]string  // id -> workspace
	keys         map[string]string  // hash -> source id
	places       map[string][]place // by bucket; a destination has one in each of its views
	problems     []Problem
}

func (t *crossChecker) add(doc int, w Workspace) {
	c := checker{doc: doc, w: w}
	if t.workspaceIDs[w.ID] && w.ID != "" {
		c.add("", "workspace", "workspace", "another document has the same id", "keep one document for each workspace")
		t.problems = append(t.problems, c.problems...)
		return // it would collide with the other document in everything else
	}
	t.workspaceIDs[w.ID] = true
	for i, s := range w.Sources {
		if owner, taken := t.sources[s.ID]; taken && s.ID != "" {
			c.add(sourceObject(i, s), sourcePath(i, "id"), "id", "it is taken by a source of workspace "+owner, "if this is the same customer, keep the workspace's id, which must not change; otherwise generate a source id with: sealift catalog new")
		} else {
			t.sources[s.ID] = w.ID
		}
		t.addKeys(&c, i, s)
	}
	for i, d := range w.Destinations {
		if what, _ := checkBucket(d.Bucket); what != "" {
			continue // this is reported as a problem of its own
		}
		if t.operator.isStaging(d) {
			c.add(destinationObject(i, d), destinationPath(i, "bucket"), "bucket", "it is the operator's staging bucket", "use another bucket")
		}
		_, prefix := SplitBucket(d.Bucket)
		root := "segment-logs/"
		if prefix != "" {
			root = prefix + "/" + root
		}
		for at, folder := range t.operator.views(d) {
			t.places[at] = append(t.places[at], place{doc: doc, index: i, root: folder + root})
		}
	}
	t.problems = append(t.problems, c.problems...)
}

func (t *crossChecker) addKeys(c *checker, i int, s Source) {
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
