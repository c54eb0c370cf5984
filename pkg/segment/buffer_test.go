package segment

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestBufferHoldsWhatIsWritten, whatever the sizes of lines, and counts its memory.
func TestBufferHoldsWhatIsWritten(t *testing.T) {
	var (
		free freeList
		b    buffer
		want []byte
		held int
		rng  = rand.New(rand.NewPCG(1, 2))
	)
	for life := range 20 {
		for range 1 + rng.IntN(100) {
			line := bytes.Repeat([]byte{byte('a' + rng.IntN(26))}, rng.IntN(3000))
			held += b.writeLine(&free, line)
			want = append(append(want, line...), '\n')
			require.Equal(t, len(want), b.len)
			require.Equal(t, b.cap, held)
			require.LessOrEqual(t, b.len, b.cap)
		}
		from := rng.IntN(len(want))
		require.Equal(t, "x"+string(want[from:]), string(b.appendTo([]byte("x"), from)))
		require.Equal(t, string(want), string(b.appendTo(nil, 0)))
		if want = want[:0]; life%2 == 0 {
			b.release(&free, 1<<20)
			held = 0
		} else {
			b.reset()
		}
		require.Equal(t, held, b.cap)
		require.Zero(t, b.len)
	}
}

// TestBufferTakesLittleMoreThanItHolds: half as much again, and its first piece.
func TestBufferTakesLittleMoreThanItHolds(t *testing.T) {
	var (
		free freeList
		b    buffer
	)
	line := make([]byte, 999)
	for range 200 {
		b.writeLine(&free, line)
		require.LessOrEqual(t, b.cap, b.len*3/2+2048)
	}
}

func TestBufferDoesNotAllocateOnceItHasItsSize(t *testing.T) {
	var (
		free freeList
		b    buffer
	)
	line := make([]byte, 1000)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		for range 100 {
			b.writeLine(&free, line)
		}
		b.reset()
	}))
}
