package ledger

import (
	"context"
	"errors"
	"iter"
	"sync"
)

// Entries reads the entries from first to last, both included, as Spans does.
func (c *Chain) Entries(ctx context.Context, first, last int64, atOnce int) iter.Seq2[*Entry, error] {
	return Spans(ctx, []Span{{c, first, last}}, atOnce)
}

// Span is a part of a chain, from First to Last, both included.
type Span struct {
	Chain       *Chain
	First, Last int64
}

// Spans reads the entries of several spans, in order. It keeps up to atOnce requests ahead of the
// caller, across spans. For an entry that is missing or corrupt it yields nil with ErrNotFound or
// ErrCorrupt, and continues with the next one. Any other error is yielded last.
func Spans(ctx context.Context, spans []Span, atOnce int) iter.Seq2[*Entry, error] {
	type answer struct {
		e   *Entry
		err error
	}
	return func(yield func(*Entry, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()
		pending := make(chan chan answer, max(1, atOnce)-1)
		wg.Go(func() {
			defer close(pending)
			for _, s := range spans {
				for seq := s.First; seq <= s.Last; seq++ {
					ch := make(chan answer, 1)
					select {
					case pending <- ch:
					case <-ctx.Done():
						return
					}
					wg.Go(func() {
						e, err := s.Chain.Entry(ctx, seq)
						ch <- answer{e, err}
					})
				}
			}
		})
		for ch := range pending {
			a := <-ch
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
