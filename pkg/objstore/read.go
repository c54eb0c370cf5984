package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// ErrTooLarge says that an object has more bytes than whatever is read there:
// it is something else.
var ErrTooLarge = errors.New("object too large")

// readStall is how long a store may be silent, before an answer or within one,
// until Read gives it up.
const readStall = 30 * time.Second

// Read returns the bytes of a small object; that it has more than most is
// ErrTooLarge. A store that falls silent is ErrUnavailable, after half a minute.
// Of a Patient store all of it is tried again, not the answer's beginning alone.
func Read(ctx context.Context, store Store, key string, most int64) (b []byte, err error) {
	p, is := store.(patient)
	if !is {
		return read(ctx, store, key, most)
	}
	err = again(ctx, func() error { b, err = read(ctx, p.Store, key, most); return err })
	return b, err
}

func read(ctx context.Context, store Store, key string, most int64) ([]byte, error) {
	heardOf, cancel := context.WithCancel(ctx)
	defer cancel()
	silence := time.AfterFunc(readStall, cancel)
	defer silence.Stop()
	r, _, err := store.Get(heardOf, key)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(heard{r, silence}, most+1))
	if err != nil && heardOf.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("the store fell silent: %w", err)
	}
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, fmt.Errorf("read object %q: %w", key, err)
	}
	if int64(len(b)) > most {
		return nil, fmt.Errorf("object %q has more than %d bytes: %w", key, most, ErrTooLarge)
	}
	return b, nil
}

// heard puts the end of a silence off with every read that gave something.
type heard struct {
	io.Reader
	silence *time.Timer
}

func (h heard) Read(p []byte) (int, error) {
	n, err := h.Reader.Read(p)
	if n > 0 {
		h.silence.Reset(readStall)
	}
	return n, err
}
