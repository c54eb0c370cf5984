package meter

import (
	"context"
	"io"
	"sync/atomic"

	"github.com/sealift/sealift/pkg/objstore"
)

// Counter counts requests to a Store. It is safe for concurrent use.
type Counter struct{ reads, writes atomic.Int64 }

// Counts returns what was counted so far.
func (c *Counter) Counts() Counts {
	return Counts{StagingReads: c.reads.Load(), StagingWrites: c.writes.Load()}
}

type counterKey struct{}

// WithCounter returns a context whose requests to a Store are counted by c.
func WithCounter(ctx context.Context, c *Counter) context.Context {
	return context.WithValue(ctx, counterKey{}, c)
}

// CountingStore wraps the staging bucket so that requests are counted in the Counter of their
// context. Deletes are free.
func CountingStore(store objstore.Store) objstore.Store { return countingStore{store} }

type countingStore struct{ objstore.Store }

func countRequest(ctx context.Context, write bool) {
	c, ok := ctx.Value(counterKey{}).(*Counter)
	switch {
	case !ok:
	case write:
		c.writes.Add(1)
	default:
		c.reads.Add(1)
	}
}

// Put implements objstore.Store.
func (m countingStore) Put(ctx context.Context, key string, body io.ReadSeeker, opts objstore.PutOptions) (objstore.Info, error) {
	countRequest(ctx, true)
	return m.Store.Put(ctx, key, body, opts)
}

// Get implements objstore.Store.
func (m countingStore) Get(ctx context.Context, key string) (io.ReadCloser, objstore.Info, error) {
	countRequest(ctx, false)
	return m.Store.Get(ctx, key)
}

// GetRange implements objstore.Store.
func (m countingStore) GetRange(ctx context.Context, key string, from, length int64) (io.ReadCloser, error) {
	countRequest(ctx, false)
	return m.Store.GetRange(ctx, key, from, length)
}

// Head implements objstore.Store.
func (m countingStore) Head(ctx context.Context, key string) (objstore.Info, error) {
	countRequest(ctx, false)
	return m.Store.Head(ctx, key)
}

// List implements objstore.Store.
func (m countingStore) List(ctx context.Context, prefix, startAfter string, limit int) ([]objstore.Info, error) {
	countRequest(ctx, true)
	return m.Store.List(ctx, prefix, startAfter, limit)
}
