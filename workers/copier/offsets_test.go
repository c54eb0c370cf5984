package copier

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOffsetsCommitTheContiguousPrefix(t *testing.T) {
	o := newOffsets(-1)
	require.EqualValues(t, -1, o.committable())
	for _, n := range []int64{10, 11, 15} { // 12 to 14 do not exist
		o.start(n)
	}
	require.EqualValues(t, 10, o.committable())
	o.finish(11)
	o.finish(15)
	require.EqualValues(t, 10, o.committable())
	o.finish(10)
	require.EqualValues(t, 16, o.committable())
	o.finish(10) // for the second time
	o.finish(99) // never taken
	require.EqualValues(t, 16, o.committable())
}

// Invariant: I12. The committable offset never passes an unfinished job, in whatever order jobs
// finish.
func TestOffsetsNeverPassAnUnfinishedJob(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	o, open := newOffsets(-1), map[int64]bool{}
	for n := range int64(2000) {
		o.start(n)
		open[n] = true
		for k := range open {
			if rnd.IntN(20) == 0 {
				o.finish(k)
				delete(open, k)
			}
		}
		for k := range open {
			require.LessOrEqual(t, o.committable(), k)
		}
	}
}

func TestOffsetsBoundTheWindow(t *testing.T) {
	o := newOffsets(-1)
	for n := range int64(maxAhead) {
		require.False(t, o.full())
		o.start(n)
	}
	require.True(t, o.full())
	o.finish(5)
	require.True(t, o.full(), "offset 0 is not finished")
	o.finish(0)
	<-o.moved
	require.False(t, o.full())
}
