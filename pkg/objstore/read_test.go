package objstore

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/secret"
)

// stallingStore is a store whose first bodies return some bytes, slowly, and then nothing until
// their requests end.
type stallingStore struct {
	Store
	stalls int // how many bodies stall
	gets   int
}

func (s *stallingStore) Get(ctx context.Context, key string) (io.ReadCloser, Info, error) {
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
	time.Sleep(readStall / 2) // slow, but not silent
	if b.ctx.Err() != nil {
		return 0, context.Cause(b.ctx)
	}
	n, err := b.ReadCloser.Read(p[:1])
	if err == nil || !b.stalls {
		return n, err
	}
	<-b.ctx.Done()
	return 0, &Error{Op: "get", Kind: ErrUnavailable, Err: context.Cause(b.ctx)}
}

func TestReadGivesUpOnSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory("b")
		_, err := m.Put(t.Context(), "k", strings.NewReader("12345"), PutOptions{})
		require.NoError(t, err)

		_, err = Read(t.Context(), &stallingStore{Store: m, stalls: 1}, "k", 10)
		require.ErrorIs(t, err, ErrUnavailable)
		require.ErrorContains(t, err, "the store fell silent for 30s")
		b, err := Read(t.Context(), &stallingStore{Store: m}, "k", 10)
		require.NoError(t, err)
		require.Equal(t, "12345", string(b), "slow is not silent")

		s := &stallingStore{Store: m, stalls: 2}
		b, err = Read(t.Context(), WithReadRetries(s), "k", 10)
		require.NoError(t, err)
		require.Equal(t, "12345", string(b))
		require.Equal(t, 3, s.gets)
	})
}

func TestSilentStoreIsNotCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go func() { _, _ = io.Copy(io.Discard, theirs) }()
			return ours, nil
		}}}
		s := NewS3(S3Config{
			Bucket: "b", Region: "eu-west-1", Endpoint: "http://store.test", PathStyle: true, HTTPClient: client,
			Credentials: func(context.Context) (Credentials, error) {
				return Credentials{AccessKeyID: "a", SecretAccessKey: secret.New("s")}, nil
			},
		})
		_, err := Read(t.Context(), s, "k", 10)
		require.ErrorIs(t, err, ErrUnavailable)
		require.ErrorContains(t, err, "the store fell silent for 30s")
		require.NotErrorIs(t, err, context.Canceled)
		client.CloseIdleConnections()
	})
}
