package simulation

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// foundSeeds once failed. Without steps all of the seed's are taken.
var foundSeeds = []struct {
	bug   string
	seed  uint64
	steps []int
}{
	{bug: "an unfit line below the filter was counted in no entry", seed: 61},
	{bug: "a job was acknowledged with the task that had just enqueued it anew", seed: 23,
		steps: []int{10, 26, 27, 29, 30, 31, 39, 40, 41, 48, 49, 50, 52, 60, 61, 64, 65, 74, 84, 88}},
}

func TestFoundSeeds(t *testing.T) {
	for _, f := range foundSeeds {
		p := plan{seed: f.seed}
		if f.steps != nil {
			p.keep = map[int]bool{}
			for _, s := range f.steps {
				p.keep[s] = true
			}
		}
		require.NoError(t, simulate(t, p, false, nil).err, "%s: seed %d", f.bug, f.seed)
	}
}
