package segment

import (
	"runtime"
	"testing"
	"weak"

	"github.com/stretchr/testify/require"
)

// TestFreeListKeepsNothingThatWasTaken: a buffer that was taken from it, and is not taken back,
// becomes garbage.
func TestFreeListKeepsNothingThatWasTaken(t *testing.T) {
	var free freeList
	free.put(free.get(4<<10), 1<<20)
	b := free.get(4 << 10)
	taken := weak.Make(&b[:1][0])
	free.put(b, 0)
	runtime.GC()
	require.Nil(t, taken.Value())
	runtime.KeepAlive(&free)
}

// TestFreeListShrinksWithTheShare: a spool gives up what it kept for buffers while there were fewer
// spools.
func TestFreeListShrinksWithTheShare(t *testing.T) {
	budget := NewBudget(1 << 20)
	s := newSpool(t, Config{Budget: budget})
	for i := range 1_500 {
		require.NoError(t, s.Append(stream(i%100), int64(i), 5, line(i, 600)))
	}
	for _, a := range s.open { // as makeRoom does
		require.NoError(t, s.flush(a, false))
		s.release(a, budget.share()/4)
	}
	require.Greater(t, int64(s.free.bytes), budget.limit/5)
	require.LessOrEqual(t, int64(s.free.bytes), budget.limit/4)
	for range 7 {
		newSpool(t, Config{Budget: budget})
	}
	require.NoError(t, s.EnforceBudget())
	require.LessOrEqual(t, int64(s.free.bytes), budget.share()/4)
	require.Greater(t, int64(s.free.bytes), budget.share()/5)
	held := 0
	for k, buffers := range s.free.classes {
		held += len(buffers) << k
	}
	require.Equal(t, held, s.free.bytes)
}
