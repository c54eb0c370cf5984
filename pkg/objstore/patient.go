package objstore

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/sealift/sealift/pkg/jitter"
)

// Patient returns the store with reads that are retried for some seconds while it is overloaded or
// unreachable: a walk of a million requests will meet some of that. Writes are not retried.
func Patient(store Store) Store {
	if _, is := store.(patient); is {
		return store
	}
	return patient{store}
}

type patient struct{ Store }

const (
	patientTries   = 5
	patientTimeout = 30 * time.Second // for one request; bodies may take longer
)

// Get implements Store.
func (p patient) Get(ctx context.Context, key string) (r io.ReadCloser, info Info, err error) {
	err = Again(ctx, func() error { r, info, err = p.Store.Get(ctx, key); return err })
	return r, info, err
}

// GetRange implements Store.
func (p patient) GetRange(ctx context.Context, key string, from, length int64) (r io.ReadCloser, err error) {
	err = Again(ctx, func() error { r, err = p.Store.GetRange(ctx, key, from, length); return err })
	return r, err
}

// Head implements Store.
func (p patient) Head(ctx context.Context, key string) (info Info, err error) {
	err = Again(ctx, func() error {
		ctx, cancel := context.WithTimeout(ctx, patientTimeout)
		defer cancel()
		info, err = p.Store.Head(ctx, key)
		return err
	})
	return info, err
}

// List implements Store.
func (p patient) List(ctx context.Context, prefix, after string, limit int) (infos []Info, err error) {
	err = Again(ctx, func() error {
		ctx, cancel := context.WithTimeout(ctx, patientTimeout)
		defer cancel()
		infos, err = p.Store.List(ctx, prefix, after, limit)
		return err
	})
	return infos, err
}

// Again repeats a read while it returns ErrUnavailable, for some seconds, as often as a Patient
// store does.
func Again(ctx context.Context, op func() error) error {
	backoff := jitter.Backoff{Min: 300 * time.Millisecond, Max: 3 * time.Second}
	for try := 1; ; try++ {
		err := op()
		if err == nil || !errors.Is(err, ErrUnavailable) || try == patientTries || backoff.Wait(ctx) != nil {
			return err
		}
	}
}
