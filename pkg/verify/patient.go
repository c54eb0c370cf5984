package verify

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"time"

	"github.com/sealift/sealift/pkg/objstore"
)

// patient is a store whose reads are tried again when it is overloaded or out
// of reach: a walk of a million requests meets some of that. Nothing is
// written through it.
type patient struct{ objstore.Store }

const (
	patientTries   = 5
	patientTimeout = 30 * time.Second // of one request; bodies may take longer
)

func (p patient) Get(ctx context.Context, key string) (r io.ReadCloser, info objstore.Info, err error) {
	err = again(ctx, func() error { r, info, err = p.Store.Get(ctx, key); return err })
	return r, info, err
}

func (p patient) Head(ctx context.Context, key string) (info objstore.Info, err error) {
	err = again(ctx, func() error {
		ctx, cancel := context.WithTimeout(ctx, patientTimeout)
		defer cancel()
		info, err = p.Store.Head(ctx, key)
		return err
	})
	return info, err
}

func (p patient) List(ctx context.Context, prefix, after string, limit int) (infos []objstore.Info, err error) {
	err = again(ctx, func() error {
		ctx, cancel := context.WithTimeout(ctx, patientTimeout)
		defer cancel()
		infos, err = p.Store.List(ctx, prefix, after, limit)
		return err
	})
	return infos, err
}

func again(ctx context.Context, op func() error) error {
	wait := 200 * time.Millisecond
	for try := 1; ; try++ {
		err := op()
		if err == nil || !errors.Is(err, objstore.ErrUnavailable) || ctx.Err() != nil || try == patientTries {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait/2 + rand.N(wait)):
		}
		wait *= 2
	}
}
