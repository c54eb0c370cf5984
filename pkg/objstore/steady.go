package objstore

import (
	"context"
	"errors"
	"io"
	"time"
)

// A bound on the time of a whole request has large ones cut and begun anew, again and
// again, once enough of them share a line. So a request takes as long as it needs,
// provided that something moves.

// GetSteadily is Get of a store that may be slow: it is ErrUnavailable, or reading is,
// when the store falls silent for half a minute.
func GetSteadily(ctx context.Context, store Store, key string) (r io.ReadCloser, info Info, err error) {
	r, err = steady(ctx, func(ctx context.Context) (io.ReadCloser, error) {
		r, info, err = store.Get(ctx, key)
		return r, err
	})
	return r, info, err
}

// GetRangeSteadily is GetRange of a store that may be slow, as GetSteadily.
func GetRangeSteadily(ctx context.Context, store Store, key string, from, length int64) (io.ReadCloser, error) {
	return steady(ctx, func(ctx context.Context) (io.ReadCloser, error) {
		return store.GetRange(ctx, key, from, length)
	})
}

// steady opens a body whose store may not fall silent.
func steady(ctx context.Context, open func(context.Context) (io.ReadCloser, error)) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	silence := time.AfterFunc(readStall, func() { cancel(errSilent) })
	body, err := open(ctx)
	silence.Stop()
	if err != nil {
		cancel(nil)
		return nil, err
	}
	return &heard{ReadCloser: body, silence: silence, end: func() { cancel(nil) }}, nil
}

// heard is a body each read of which may take that long: what its reader does in between
// is no silence of the store.
type heard struct {
	io.ReadCloser
	silence *time.Timer // stopped, unless something is being read
	end     func()
}

// Read implements io.Reader.
func (h *heard) Read(p []byte) (int, error) {
	h.silence.Reset(readStall)
	defer h.silence.Stop()
	return h.ReadCloser.Read(p)
}

// Close implements io.Closer.
func (h *heard) Close() error {
	defer h.end()
	return h.ReadCloser.Close()
}

// errStuck is why PutSteadily gave a request up.
var errStuck = errors.New("the store takes nothing more of it")

// PutSteadily is Put to a store that may be slow: it is ErrUnavailable when nothing of the
// body was taken for that long, and what was taken before would have gone through a line of
// 4 Mbit/s since. For that may still lie in buffers on the way, or be written before it is
// answered.
func PutSteadily(ctx context.Context, store Store, stall time.Duration, key string, body io.ReadSeeker, opts PutOptions) (Info, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stuck := time.AfterFunc(stall, func() { cancel(errStuck) })
	defer stuck.Stop()
	return store.Put(ctx, key, &taken{ReadSeeker: body, stall: stall, stuck: stuck}, opts)
}

// taken is a body that puts off the end of its request with each part that is taken.
type taken struct {
	io.ReadSeeker
	stall time.Duration
	stuck *time.Timer
	bytes int64
}

// Read implements io.Reader.
func (t *taken) Read(p []byte) (int, error) {
	n, err := t.ReadSeeker.Read(p)
	t.bytes += int64(n)
	t.stuck.Reset(t.stall + time.Duration(t.bytes)*time.Second/500_000)
	return n, err
}
