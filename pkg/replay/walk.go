package replay

import (
	"context"
	"iter"
	"maps"
	"slices"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
)

// walkAtOnce is how many entries are read at once.
const walkAtOnce = 16

// found are the files of one entry that an order covers.
type found struct {
	*ledger.Entry
	files []foundFile
}

// foundFile is a file and where it goes.
type foundFile struct {
	index        int
	destinations []string
}

// walk yields the entries that the order covers any file of, partition by
// partition and entry by entry; it ends after the first error.
func walk(ctx context.Context, staging objstore.Store, o *delivery.Order, c *catalog.Snapshot) iter.Seq2[found, error] {
	return func(yield func(found, error) bool) {
		for _, p := range slices.Sorted(maps.Keys(o.Heads)) {
			if len(o.Offsets) > 0 && !slices.ContainsFunc(o.Offsets, func(r delivery.Range) bool { return r.Partition == p }) {
				continue
			}
			chain := ledger.NewChain(staging, ledger.Log{Topic: o.Topic, Incarnation: o.Incarnation, Partition: p})
			for e, err := range chain.Entries(ctx, 0, o.Heads[p], walkAtOnce) {
				if err != nil {
					yield(found{}, err)
					return
				}
				if f := covered(o, e, c); len(f.files) > 0 && !yield(f, nil) {
					return
				}
			}
		}
	}
}

// covered returns what of the entry the order covers. Of what it names by
// destination alone, it is about the files that may go there.
func covered(o *delivery.Order, e *ledger.Entry, c *catalog.Snapshot) found {
	out := found{Entry: e}
	for i := range e.Files {
		f := &e.Files[i]
		if !o.Selects(e, f) {
			continue
		}
		to := f.Owed
		if len(o.Destinations) > 0 {
			to = slices.DeleteFunc(slices.Clone(o.Destinations), func(d string) bool { return Permit(c, f, d) != nil })
		}
		if len(to) > 0 {
			out.files = append(out.files, foundFile{index: i, destinations: to})
		}
	}
	return out
}
