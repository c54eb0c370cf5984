package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/delivery"
)

func TestReplayRange(t *testing.T) {
	r, err := replayRange("3:1000-1999")
	require.NoError(t, err)
	require.Equal(t, delivery.Range{Partition: 3, First: 1000, Last: 1999}, r)
	for _, text := range []string{"", "3", "3:1", "3:2-1", "3:-1-2", "3:1-2x", "03:1-2", "3:1-2-3", "-3:1-2"} {
		_, err := replayRange(text)
		require.ErrorContains(t, err, "PARTITION:FIRST-LAST", text)
	}
}

func TestReplayRate(t *testing.T) {
	for text, want := range map[string][2]float64{"": {}, "50": {50, 0}, "0.5/s": {0.5, 0}, "20MB": {0, 20e6}, "1MiB/s": {0, 1 << 20}} {
		files, bytes, err := replayRate(text)
		require.NoError(t, err, text)
		require.Equal(t, want, [2]float64{files, float64(bytes)}, text)
	}
	for _, text := range []string{"0", "-1", "NaN", "inf", "MB", "1 lightyear/s"} {
		_, _, err := replayRate(text)
		require.ErrorContains(t, err, "write files a second", text)
	}
}
