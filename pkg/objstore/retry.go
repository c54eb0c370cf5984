package objstore

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/sealift/sealift/pkg/jitter"
)

// WithReadRetries returns the store with reads that are retried for some seconds while it is
// overloaded or unreachable: a walk of a million requests will meet some of that. Writes are not
// retried.
func WithReadRetries(store Store) Store {
	if _, is := store.(readRetrier); is {
		return store
	}
	return readRetrier{store}
}

type readRetrier struct{ Store }

const (
	maxReadTries   = 5
	readTryTimeout = 30 * time.Second // for one request; bodies may take longer
)

// Get implements Store.
func (p readRetrier) Get(ctx context.Context, key string) (r io.ReadCloser, info Info, err error) {
	err = RetryRead(ctx, func() error { r, info, err = p.Store.Get(ctx, key); return err })
	return r, info, err
}

// GetRange implements Store.
func (p readRetrier) GetRange(ctx context.Context, key string, from, length int64) (r io.ReadCloser, err error) {
	err = RetryRead(ctx, func() error { r, err = p.Store.GetRange(ctx, key, from, length); return err })
	return r, err
}

// Head implements Store.
func (p readRetrier) Head(ctx context.Context, key string) (info Info, err error) {
	err = RetryRead(ctx, func() error {
		ctx, cancel := context.WithTimeout(ctx, readTryTimeout)
		defer cancel()
		info, err = p.Store.Head(ctx, key)
		return err
	})
	return info, err
}

// List implements Store.
func (p readRetrier) List(ctx context.Context, prefix, after string, limit int) (infos []Info, err error) {
	err = RetryRead(ctx, func() error {
		ctx, cancel := context.WithTimeout(ctx, readTryTimeout)
		defer cancel()
		infos, err = p.Store.List(ctx, prefix, after, limit)
		return err
	})
	return infos, err
}

// RetryRead repeats a read while it returns ErrUnavailable, for some seconds, as often as a
// store of WithReadRetries does.
func RetryRead(ctx context.Context, op func() error) error {
	backoff := jitter.Backoff{Min: 300 * time.Millisecond, Max: 3 * time.Second}
	for try := 1; ; try++ {
		err := op()
		if err == nil || !errors.Is(err, ErrUnavailable) || try == maxReadTries || backoff.Wait(ctx) != nil {
			return err
		}
	}
}
