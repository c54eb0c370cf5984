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

// errSilent is why Read gave a request up. It is no context.Canceled, which says
// that the reader has.
var errSilent = fmt.Errorf("the store fell silent for %s", readStall)

// Exists reports whether there is an object.
func Exists(ctx context.Context, store Store, key string) (bool, error) {
	_, err := store.Head(ctx, key)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Read returns the bytes of a small object; that it has more than most is
// ErrTooLarge. A store that falls silent is ErrUnavailable, after half a minute.
// Of a Patient store all of it is tried again, not the answer's beginning alone.
func Read(ctx context.Context, store Store, key string, most int64) ([]byte, error) {
	b, _, err := ReadInfo(ctx, store, key, most)
	return b, err
}

// ReadInfo is Read that tells what Get does of the object as well.
func ReadInfo(ctx context.Context, store Store, key string, most int64) (b []byte, info Info, err error) {
	p, is := store.(patient)
	if !is {
		return read(ctx, store, key, most)
	}
	err = Again(ctx, func() error { b, info, err = read(ctx, p.Store, key, most); return err })
	return b, info, err
}

func read(ctx context.Context, store Store, key string, most int64) ([]byte, Info, error) {
	r, info, err := GetSteadily(ctx, store, key)
	if err != nil {
		return nil, Info{}, err
	}
	b, err := io.ReadAll(io.LimitReader(r, most+1))
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, Info{}, fmt.Errorf("read object %q: %w", key, err)
	}
	if int64(len(b)) > most {
		return nil, Info{}, fmt.Errorf("object %q has more than %d bytes: %w", key, most, ErrTooLarge)
	}
	return b, info, nil
}
