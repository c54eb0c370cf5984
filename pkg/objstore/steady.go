package objstore

import (
	"context"
	"errors"
	"io"
	"time"
)

// A time limit for a whole request would, once enough large requests share a line, abort and
// restart them again and again. So a request may take as long as it needs, provided that it makes
// progress.

// GetSteadily is Get for a store that may be slow. It, or reading the body, fails with
// ErrUnavailable when the store is silent for half a minute.
func GetSteadily(ctx context.Context, store Store, key string) (r io.ReadCloser, info Info, err error) {
	r, err = watchSilence(ctx, func(ctx context.Context) (io.ReadCloser, error) {
		r, info, err = store.Get(ctx, key)
		return r, err
	})
	return r, info, err
}

// GetRangeSteadily is to GetRange what GetSteadily is to Get.
func GetRangeSteadily(ctx context.Context, store Store, key string, from, length int64) (io.ReadCloser, error) {
	return watchSilence(ctx, func(ctx context.Context) (io.ReadCloser, error) {
		return store.GetRange(ctx, key, from, length)
	})
}

// watchSilence opens a body and watches that its store does not fall silent.
func watchSilence(ctx context.Context, open func(context.Context) (io.ReadCloser, error)) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	silence := time.AfterFunc(readStall, func() { cancel(errSilent) })
	body, err := open(ctx)
	silence.Stop()
	if err != nil {
		cancel(nil)
		return nil, err
	}
	return &silenceWatchedBody{ReadCloser: body, silence: silence, end: func() { cancel(nil) }}, nil
}

// silenceWatchedBody is a body of which each read may take up to readStall. What its reader does
// between reads does not count as silence of the store.
type silenceWatchedBody struct {
	io.ReadCloser
	silence *time.Timer // running only during a read
	end     func()
}

// Read implements io.Reader.
func (h *silenceWatchedBody) Read(p []byte) (int, error) {
	h.silence.Reset(readStall)
	defer h.silence.Stop()
	return h.ReadCloser.Read(p)
}

// Close implements io.Closer.
func (h *silenceWatchedBody) Close() error {
	defer h.end()
	return h.ReadCloser.Close()
}

// errStuck is why PutSteadily aborted a request.
var errStuck = errors.New("the store takes nothing more of it")

// PutSteadily is Put for a store that may be slow. It fails with ErrUnavailable when nothing of the
// body was read for the duration stall plus the time that everything read so far takes on a line of
// 4 Mbit/s: those bytes may still be in buffers on the way, or be written before the store answers.
func PutSteadily(ctx context.Context, store Store, stall time.Duration, key string, body io.ReadSeeker, opts PutOptions) (Info, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stuck := time.AfterFunc(stall, func() { cancel(errStuck) })
	defer stuck.Stop()
	return store.Put(ctx, key, &stallWatchedBody{ReadSeeker: body, stall: stall, stuck: stuck}, opts)
}

// stallWatchedBody is a body that postpones the end of its request whenever a part of it is read.
type stallWatchedBody struct {
	io.ReadSeeker
	stall time.Duration
	stuck *time.Timer
	bytes int64
}

// Read implements io.Reader.
func (t *stallWatchedBody) Read(p []byte) (int, error) {
	n, err := t.ReadSeeker.Read(p)
	t.bytes += int64(n)
	t.stuck.Reset(t.stall + time.Duration(t.bytes)*time.Second/500_000)
	return n, err
}
