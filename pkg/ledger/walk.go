package ledger

import (
	"context"
	"errors"
	"iter"
	"sync"
)

// Entries reads the entries from first to last, both included, in order, with
// up to atOnce requests ahead of the caller. An entry that is missing or
// corrupt is yielded as nil with its error, ErrNotFound or ErrCorrupt, and the
// next one follows; any other error is the last to be yielded.
func (c *Chain) Entries(ctx context.Context, first, last int64, atOnce int) iter.Seq2[*Entry, error] {
	type answer struct {
		e   *Entry
		err error
	}
	return func(yield func(*Entry, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()
		asked := make(chan chan answer, max(1, atOnce)-1)
		wg.Go(func() {
			defer close(asked)
			for seq := first; seq <= last; seq++ {
				one := make(chan answer, 1)
				select {
				case asked <- one:
				case <-ctx.Done():
					return
				}
				wg.Go(func() {
					e, err := c.Entry(ctx, seq)
					one <- answer{e, err}
				})
			}
		})
		for one := range asked {
			a := <-one
			if !yield(a.e, a.err) {
				return
			}
			if a.err != nil && !errors.Is(a.err, ErrNotFound) && !errors.Is(a.err, ErrCorrupt) {
				return
			}
		}
		if err := ctx.Err(); err != nil {
			yield(nil, err)
		}
	}
}
