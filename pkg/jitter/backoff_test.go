package jitter

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestBackoff(t *testing.T) {
	for range 100 {
		b := Backoff{Min: 100 * time.Millisecond, Max: 500 * time.Millisecond}
		for range 2 {
			for _, most := range []int{100, 200, 400, 500, 500, 500} {
				got := b.Next()
				require.GreaterOrEqual(t, got, time.Duration(most)*time.Millisecond/2)
				require.Less(t, got, time.Duration(most)*time.Millisecond)
			}
			b.Reset()
		}
	}
}

func TestWaitsOfABackoffDiffer(t *testing.T) {
	a, b := Backoff{Min: time.Hour, Max: time.Hour}, Backoff{Min: time.Hour, Max: time.Hour}
	require.NotEqual(t, a.Next(), b.Next())
}

func TestBackoffWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defer SetForTesting(func(time.Duration) time.Duration { return 0 })()
		b := Backoff{Min: 2 * time.Second, Max: time.Minute}
		began := time.Now()
		require.NoError(t, b.Wait(t.Context()))
		require.NoError(t, b.Wait(t.Context()))
		require.Equal(t, 3*time.Second, time.Since(began))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, b.Wait(ctx), context.DeadlineExceeded)
		require.Equal(t, 4*time.Second, time.Since(began))
	})
}
