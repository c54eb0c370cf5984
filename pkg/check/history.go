package check

import (
	"fmt"
	"iter"
	"maps"
	"slices"
)

// History remembers what a bucket's objects were, look after look, and says
// which of them changed or went: none may, ever. The zero value is ready.
type History struct {
	tags map[string]string
}

// Look compares a listing with all before it. An object's tag is anything that
// changes with its bytes, as an ETag does. The error is the listing's own.
func (h *History) Look(listing iter.Seq2[Object, error]) ([]Problem, error) {
	now := map[string]string{}
	var found []Problem
	for o, err := range listing {
		if err != nil {
			return nil, err
		}
		now[o.Key] = o.Tag
		if before, known := h.tags[o.Key]; known && before != o.Tag {
			found = append(found, Problem{Kind: Changed, Key: o.Key, Detail: fmt.Sprintf("was %s, is %s", before, o.Tag)})
		}
	}
	for _, key := range slices.Sorted(maps.Keys(h.tags)) {
		if _, there := now[key]; !there {
			found = append(found, Problem{Kind: Missing, Key: key, Detail: "was there, and is gone"})
		}
	}
	h.tags = now
	return found, nil
}
