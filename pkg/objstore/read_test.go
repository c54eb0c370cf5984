package objstore

import (
	"context"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// stalling is a store whose first bodies give some bytes, a little at a time,
// and then nothing until their request ends.
type stalling struct {
	Store
	stalls int // bodies that do
	gets   int
}

func (s *stalling) Get(ctx context.Context, key string) (io.ReadCloser, Info, error) {
	r, info, err := s.Store.Get(ctx, key)
	if s.gets++; err != nil {
		return nil, info, err
	}
	return &stallingBody{r, ctx, s.gets <= s.stalls}, info, nil
}

type stallingBody struct {
	io.ReadCloser
	ctx    context.Context //nolint:containedctx // of the request
	stalls bool
}

func (b *stallingBody) Read(p []byte) (int, error) {
	time.Sleep(readStall / 2) // slow, and not silent
	n, err := b.ReadCloser.Read(p[:1])
	if err == nil || !b.stalls {
		return n, err
	}
	<-b.ctx.Done()
	return 0, &Error{Op: "get", Kind: ErrUnavailable, Err: b.ctx.Err()}
}

func TestReadGivesUpWhatFallsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory("b")
		_, err := m.Put(t.Context(), "k", strings.NewReader("12345"), PutOptions{})
		require.NoError(t, err)

		_, err = Read(t.Context(), &stalling{Store: m, stalls: 1}, "k", 10)
		require.ErrorIs(t, err, ErrUnavailable)
		require.ErrorContains(t, err, "silent")
		b, err := Read(t.Context(), &stalling{Store: m}, "k", 10)
		require.NoError(t, err)
		require.Equal(t, "12345", string(b), "slow is not silent")

		s := &stalling{Store: m, stalls: 2}
		b, err = Read(t.Context(), Patient(s), "k", 10)
		require.NoError(t, err)
		require.Equal(t, "12345", string(b))
		require.Equal(t, 3, s.gets)
	})
}
