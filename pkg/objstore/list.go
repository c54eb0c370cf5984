package objstore

import (
	"context"
	"iter"
)

// pageSize is how many objects All requests at a time.
const pageSize = 1000

// lister is what All needs: a Store or a Reader.
type lister interface {
	List(ctx context.Context, prefix, startAfter string, limit int) ([]Info, error)
}

// All lists every object with the prefix, in byte order of the keys. It requests pages as it is
// ranged over, so objects may be deleted in the meantime. It ends after the first error, which is
// the store's.
func All(ctx context.Context, store lister, prefix string) iter.Seq2[Info, error] {
	return AllAfter(ctx, store, prefix, "")
}

// AllAfter is like All, for the keys after the given one.
func AllAfter(ctx context.Context, store lister, prefix, after string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		for after := after; ; {
			infos, err := store.List(ctx, prefix, after, pageSize)
			if err != nil {
				yield(Info{}, err)
				return
			}
			for _, info := range infos {
				if !yield(info, nil) {
					return
				}
				after = info.Key
			}
			if len(infos) < pageSize {
				return
			}
		}
	}
}
