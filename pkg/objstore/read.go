package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// ErrTooLarge says that an object has more bytes than whatever is read there:
// it is something else.
var ErrTooLarge = errors.New("object too large")

// Read returns the bytes of a small object; that it has more than most is
// ErrTooLarge.
func Read(ctx context.Context, store Store, key string, most int64) ([]byte, error) {
	r, _, err := store.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(r, most+1))
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, fmt.Errorf("read object %q: %w", key, err)
	}
	if int64(len(b)) > most {
		return nil, fmt.Errorf("object %q has more than %d bytes: %w", key, most, ErrTooLarge)
	}
	return b, nil
}
