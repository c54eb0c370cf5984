package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// ErrTooLarge says that an object has more bytes than anything that belongs at its key: it must be
// something else.
var ErrTooLarge = errors.New("object too large")

// readStall is how long a store may be silent, before or within an answer, until Read gives up.
const readStall = 30 * time.Second

// errSilent is why Read aborted a request. It is not context.Canceled, which would mean that the
// reader gave up.
var errSilent = fmt.Errorf("the store fell silent for %s", readStall)

// Exists reports whether the object exists.
func Exists(ctx context.Context, store Store, key string) (bool, error) {
	_, err := store.Head(ctx, key)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Read returns the bytes of a small object. It returns ErrTooLarge if there are more than maxBytes,
// and ErrUnavailable if the store is silent for half a minute. With a store of WithReadRetries the
// whole read is retried, not only the request for it.
func Read(ctx context.Context, store Store, key string, maxBytes int64) ([]byte, error) {
	b, _, err := ReadInfo(ctx, store, key, maxBytes)
	return b, err
}

// ReadInfo is like Read, and also returns what Get says about the object.
func ReadInfo(ctx context.Context, store Store, key string, maxBytes int64) (b []byte, info Info, err error) {
	p, is := store.(readRetrier)
	if !is {
		return read(ctx, store, key, maxBytes)
	}
	err = RetryRead(ctx, func() error { b, info, err = read(ctx, p.Store, key, maxBytes); return err })
	return b, info, err
}

func read(ctx context.Context, store Store, key string, maxBytes int64) ([]byte, Info, error) {
	r, info, err := GetSteadily(ctx, store, key)
	if err != nil {
		return nil, Info{}, err
	}
	b, err := io.ReadAll(io.LimitReader(r, maxBytes+1))
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, Info{}, fmt.Errorf("read object %q: %w", key, err)
	}
	if int64(len(b)) > maxBytes {
		return nil, Info{}, fmt.Errorf("object %q has more than %d bytes: %w", key, maxBytes, ErrTooLarge)
	}
	return b, info, nil
}
