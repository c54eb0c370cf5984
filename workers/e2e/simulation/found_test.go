package simulation

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// foundSeeds failed once. Without steps, all steps of the seed are taken.
var foundSeeds = []struct {
	bug   string
	seed  uint64
	steps []int
}{
	{bug: "an unfit line below the filter was counted in no entry", seed: 111,
		steps: []int{8, 9, 10, 11, 12, 13, 49, 51, 57, 61, 62, 138, 155, 164, 275}},
	{bug: "a job was acknowledged with the task that had just enqueued it anew", seed: 25,
		steps: []int{195, 256, 304, 538, 553}},
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
