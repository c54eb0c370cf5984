package deflate

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSizeOfACode: whether a block fits is decided by the size of its code, so the size must be
// right also for lines of many megabytes, in which a frequency has more bits than it is sorted by.
func TestSizeOfACode(t *testing.T) {
	for name, freq := range map[string]map[int]uint32{
		"unused":        {},
		"only_first":    {0: 7},
		"only_another":  {endOfBlock: 7},
		"rare_and_many": {1: 1, 2: 95, 3: 96, 4: 97, 5: 5_000},
		"too_many_bits": {1: 1<<23 + 1_000, 2: 200_000, 3: 200_000, endOfBlock: 1},
	} {
		t.Run(name, func(t *testing.T) {
			var c code
			c.freq[9] = 1
			c.build(len(c.freq), maxBits) // leaves something behind
			clear(c.freq[:])
			for symbol, f := range freq {
				c.freq[symbol] = f
			}
			size, want, room := c.build(len(c.freq), maxBits), 0, 1<<maxBits
			for i, n := range c.bits {
				if n == 0 {
					require.Zero(t, c.freq[i])
					continue
				}
				want += int(c.freq[i]) * int(n)
				room -= 1 << (maxBits - n)
			}
			require.Equal(t, want, size)
			require.Zero(t, room, "the code is not complete")
		})
	}
}
