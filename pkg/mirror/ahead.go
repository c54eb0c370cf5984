package mirror

import (
	"context"
	"iter"
	"sync"
)

// readAhead runs produce for up to n items concurrently, each up to buffer values ahead of the
// consumer, and yields all values in the order of the items. It ends with the first error.
func readAhead[I, V any](ctx context.Context, n, buffer int, items iter.Seq2[I, error], produce func(context.Context, I) iter.Seq2[V, error]) iter.Seq2[V, error] {
	type made struct {
		value V
		err   error
	}
	return func(yield func(V, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var running sync.WaitGroup
		defer running.Wait()
		defer cancel()
		lanes := make(chan chan made, n-1) // plus the one that is being emptied
		running.Go(func() {
			defer close(lanes)
			for item, err := range items {
				lane := make(chan made, buffer)
				select {
				case lanes <- lane:
				case <-ctx.Done():
					return
				}
				if err != nil {
					lane <- made{err: err}
					close(lane)
					return
				}
				running.Go(func() {
					defer close(lane)
					for v, err := range produce(ctx, item) {
						select {
						case lane <- made{v, err}:
						case <-ctx.Done():
							return
						}
					}
				})
			}
		})
		for lane := range lanes {
			for m := range lane {
				if !yield(m.value, m.err) || m.err != nil {
					return
				}
			}
			if err := ctx.Err(); err != nil { // then the lane may have ended anywhere
				var none V
				yield(none, err)
				return
			}
		}
	}
}
