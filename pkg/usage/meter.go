package usage

import (
	"context"
	"io"
	"sync/atomic"

	"github.com/sealift/sealift/pkg/objstore"
)

// Meter counts requests to a Metered store. It is safe for concurrent use.
type Meter struct{ reads, writes atomic.Int64 }

// Counts returns what was counted so far.
func (m *Meter) Counts() Counts {
	return Counts{StagingReads: m.reads.Load(), StagingWrites: m.writes.Load()}
}

type meterKey struct{}

// WithMeter returns a context whose requests to a Metered store m counts.
func WithMeter(ctx context.Context, m *Meter) context.Context {
	return context.WithValue(ctx, meterKey{}, m)
}

// Metered returns the staging bucket as one that counts requests in the Meter of
// their contexts. Deletes are free.
func Metered(store objstore.Store) objstore.Store { return metered{store} }

type metered struct{ objstore.Store }

func count(ctx context.Context, write bool) {
	m, ok := ctx.Value(meterKey{}).(*Meter)
	switch {
	case !ok:
	case write:
		m.writes.Add(1)
	default:
		m.reads.Add(1)
	}
}

// Put implements objstore.Store.
func (m metered) Put(ctx context.Context, key string, body io.ReadSeeker, opts objstore.PutOptions) (objstore.Info, error) {
	count(ctx, true)
	return m.Store.Put(ctx, key, body, opts)
}

// Get implements objstore.Store.
func (m metered) Get(ctx context.Context, key string) (io.ReadCloser, objstore.Info, error) {
	count(ctx, false)
	return m.Store.Get(ctx, key)
}

// Head implements objstore.Store.
func (m metered) Head(ctx context.Context, key string) (objstore.Info, error) {
	count(ctx, false)
	return m.Store.Head(ctx, key)
}

// List implements objstore.Store.
func (m metered) List(ctx context.Context, prefix, startAfter string, limit int) ([]objstore.Info, error) {
	count(ctx, true)
	return m.Store.List(ctx, prefix, startAfter, limit)
}
