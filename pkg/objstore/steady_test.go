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

// slowStore is a store that reads one byte of a body after each pause, and takes the time answer to
// answer. After most bytes, unless that is negative, nothing moves any more.
type slowStore struct {
	*Memory
	pause, answer time.Duration
	most          int
}

func (r slowStore) Put(ctx context.Context, key string, body io.ReadSeeker, opts PutOptions) (Info, error) {
	wait := func(d time.Duration) error {
		select {
		case <-ctx.Done():
			return &Error{Op: "put", Kind: ErrUnavailable, Err: context.Cause(ctx)}
		case <-time.After(d):
			return nil
		}
	}
	for n := 0; ; n++ {
		pause := r.pause
		if n == r.most {
			pause = 1000 * time.Hour
		}
		if err := wait(pause); err != nil {
			return Info{}, err
		}
		if _, err := body.Read(make([]byte, 1)); err != nil {
			break
		}
	}
	if err := wait(r.answer); err != nil {
		return Info{}, err
	}
	_, err := body.Seek(0, io.SeekStart)
	if err != nil {
		return Info{}, err
	}
	return r.Memory.Put(ctx, key, body, opts)
}

// TestPutContinuesWhileBytesMove: there is no limit on the whole PUT, with which a slow line
// would have it sent again forever.
func TestPutContinuesWhileBytesMove(t *testing.T) {
	const stall = time.Minute
	for hazard, c := range map[string]struct {
		store slowStore
		takes time.Duration
		fails bool
	}{
		"quick":           {slowStore{most: -1}, 0, false},
		"slow":            {slowStore{pause: 59 * time.Second, most: -1}, 1001 * 59 * time.Second, false},
		"silent":          {slowStore{most: 0}, stall, true},
		"silent_half_way": {slowStore{pause: time.Second, most: 500}, 500*time.Second + stall + time.Millisecond, true},
		"slow_to_answer":  {slowStore{answer: 59 * time.Second, most: -1}, 59 * time.Second, false},
		"without_answer":  {slowStore{answer: time.Hour, most: -1}, stall + 2*time.Millisecond, true}, // the time for what was read is added
	} {
		t.Run(hazard, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c.store.Memory = NewMemory("b")
				begun := time.Now()
				_, err := PutSteadily(t.Context(), c.store, stall, "k", strings.NewReader(strings.Repeat("x", 1000)), PutOptions{})
				require.Equal(t, c.takes, time.Since(begun))
				if !c.fails {
					require.NoError(t, err)
					return
				}
				require.ErrorIs(t, err, ErrUnavailable)
				require.ErrorIs(t, err, errStuck)
				require.NotErrorIs(t, err, context.Canceled)
			})
		})
	}
}

// TestBytesReadMayStillBeInFlight: bytes that were read have time to arrive, because they may be
// in buffers on the way.
func TestBytesReadMayStillBeInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		_, err := PutSteadily(t.Context(), silentAfterAll{}, time.Minute, "k", strings.NewReader(strings.Repeat("x", 10_000_000)), PutOptions{})
		require.ErrorIs(t, err, ErrUnavailable)
		require.Equal(t, 80*time.Second, time.Since(begun), "4 Mbit/s are 500 kB/s")
	})
}

// silentAfterAll reads everything and never answers.
type silentAfterAll struct{ Store }

func (silentAfterAll) Put(ctx context.Context, _ string, body io.ReadSeeker, _ PutOptions) (Info, error) {
	_, _ = io.Copy(io.Discard, body)
	<-ctx.Done()
	return Info{}, &Error{Op: "put", Kind: ErrUnavailable, Err: context.Cause(ctx)}
}

// TestPausingReaderIsNotSilence: a reader that pauses, perhaps because of a slow disk, is not
// taken for a silent store.
func TestPausingReaderIsNotSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory("b")
		_, err := m.Put(t.Context(), "k", strings.NewReader("12345"), PutOptions{})
		require.NoError(t, err)
		r, info, err := GetSteadily(t.Context(), &stallingStore{Store: m}, "k")
		require.NoError(t, err)
		require.EqualValues(t, 5, info.Size)
		time.Sleep(2 * readStall)
		b := make([]byte, 1)
		_, err = r.Read(b)
		require.NoError(t, err)
		time.Sleep(2 * readStall)
		rest, err := io.ReadAll(r)
		require.NoError(t, err)
		require.Equal(t, "2345", string(rest))
		require.NoError(t, r.Close())

		r, _, err = GetSteadily(t.Context(), &stallingStore{Store: m, stalls: 1}, "k")
		require.NoError(t, err)
		_, err = io.ReadAll(r)
		require.ErrorIs(t, err, ErrUnavailable)
		require.ErrorContains(t, err, "the store fell silent for 30s")
		require.NoError(t, r.Close())
	})
}
