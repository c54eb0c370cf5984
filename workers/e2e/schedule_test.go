package e2e

import (
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// span is how long a fault may last.
type span struct{ least, most time.Duration }

func seconds(least, most float64) span {
	return span{time.Duration(least * float64(time.Second)), time.Duration(most * float64(time.Second))}
}

// act is one fault of a schedule.
type act struct {
	fault int           // index of its kind
	calm  time.Duration // time without a fault before it
	hold  time.Duration // how long it lasts
	pick  uint64        // random: whom it hits, and other choices
}

// makeSchedule makes a schedule of n acts from a seed: all kinds in a random order, and when each
// has had its turn, again in another order, so that none is left out.
func makeSchedule(seed uint64, lane string, kinds []span, n int) []act {
	h := fnv.New64a()
	_, _ = h.Write([]byte(lane))
	r := rand.New(rand.NewPCG(seed, h.Sum64()))
	acts := make([]act, 0, n)
	for len(acts) < n {
		for _, kind := range r.Perm(len(kinds)) {
			k := kinds[kind]
			acts = append(acts, act{
				fault: kind,
				calm:  time.Second + time.Duration(r.Int64N(int64(3*time.Second))),
				hold:  k.least + time.Duration(r.Float64()*float64(k.most-k.least)),
				pick:  r.Uint64(),
			})
		}
	}
	return acts[:n]
}

func TestScheduleFollowsFromTheSeed(t *testing.T) {
	kinds := []span{seconds(0, 1), seconds(2, 3), seconds(0, 0)}
	one := makeSchedule(7, "redis", kinds, 7)
	require.Equal(t, one, makeSchedule(7, "redis", kinds, 7))
	require.NotEqual(t, one, makeSchedule(8, "redis", kinds, 7))
	require.NotEqual(t, one, makeSchedule(7, "kafka", kinds, 7))
	for from := 0; from < 6; from += 3 { // every kind in every round
		var round []int
		for _, a := range one[from : from+3] {
			require.GreaterOrEqual(t, a.hold, kinds[a.fault].least)
			require.LessOrEqual(t, a.hold, kinds[a.fault].most)
			round = append(round, a.fault)
		}
		slices.Sort(round)
		require.Equal(t, []int{0, 1, 2}, round)
	}
}
