package jitter

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWaitsAreSpreadBelowTheBound(t *testing.T) {
	seen := map[bool]int{}
	for range 1000 {
		d := N(time.Second)
		require.GreaterOrEqual(t, d, time.Duration(0))
		require.Less(t, d, time.Second)
		seen[d < time.Second/2]++
	}
	require.Greater(t, seen[true], 300)
	require.Greater(t, seen[false], 300)
}

func TestSetForTesting(t *testing.T) {
	restore := SetForTesting(func(d time.Duration) time.Duration { return d / 2 })
	require.Equal(t, time.Second, N(2*time.Second))
	restore()
	one, another := N(time.Hour), N(time.Hour)
	require.NotEqual(t, one, another)
}
