// Package objstoretest has stores for tests in which something happens before, or during, requests.
//
// It complements the faults of objstore.Memory, which are decided under that store's lock and so may
// neither block nor use the store. It changes no answer.
package objstoretest

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/sleep"
)

// Before is a store that calls Do ahead of each request: "put", "get", "range", "head", "list" (of
// which key is the prefix) or "delete". An error of Do is the answer, and the request has no effect.
// Do may block, and is called concurrently.
type Before struct {
	objstore.Store
	Do func(ctx context.Context, op, key string) error
}

// Put implements objstore.Store.
func (b Before) Put(ctx context.Context, key string, body io.ReadSeeker, opts objstore.PutOptions) (objstore.Info, error) {
	if err := b.Do(ctx, "put", key); err != nil {
		return objstore.Info{}, err
	}
	return b.Store.Put(ctx, key, body, opts)
}

// Get implements objstore.Store.
func (b Before) Get(ctx context.Context, key string) (io.ReadCloser, objstore.Info, error) {
	if err := b.Do(ctx, "get", key); err != nil {
		return nil, objstore.Info{}, err
	}
	return b.Store.Get(ctx, key)
}

// GetRange implements objstore.Store.
func (b Before) GetRange(ctx context.Context, key string, from, length int64) (io.ReadCloser, error) {
	if err := b.Do(ctx, "range", key); err != nil {
		return nil, err
	}
	return b.Store.GetRange(ctx, key, from, length)
}

// Head implements objstore.Store.
func (b Before) Head(ctx context.Context, key string) (objstore.Info, error) {
	if err := b.Do(ctx, "head", key); err != nil {
		return objstore.Info{}, err
	}
	return b.Store.Head(ctx, key)
}

// List implements objstore.Store.
func (b Before) List(ctx context.Context, prefix, after string, limit int) ([]objstore.Info, error) {
	if err := b.Do(ctx, "list", prefix); err != nil {
		return nil, err
	}
	return b.Store.List(ctx, prefix, after, limit)
}

// Delete implements objstore.Store.
func (b Before) Delete(ctx context.Context, key string) error {
	if err := b.Do(ctx, "delete", key); err != nil {
		return err
	}
	return b.Store.Delete(ctx, key)
}

// Slow returns a store of which these requests take longer by d.
func Slow(s objstore.Store, d time.Duration, ops ...string) Before {
	return Before{Store: s, Do: func(ctx context.Context, op, _ string) error {
		if slices.Contains(ops, op) {
			return sleep.For(ctx, d)
		}
		return nil
	}}
}

// SlowUpload is a store that takes a byte every ten seconds.
type SlowUpload struct {
	objstore.Store
	Puts int
}

// Put implements objstore.Store.
func (s *SlowUpload) Put(ctx context.Context, key string, body io.ReadSeeker, opts objstore.PutOptions) (objstore.Info, error) {
	s.Puts++
	for one := make([]byte, 1); ; {
		select {
		case <-ctx.Done():
			return objstore.Info{}, objstore.ErrUnavailable
		case <-time.After(10 * time.Second):
		}
		if _, err := body.Read(one); errors.Is(err, io.EOF) {
			break
		}
	}
	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return objstore.Info{}, err
	}
	return s.Store.Put(ctx, key, body, opts)
}
