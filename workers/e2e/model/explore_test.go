package model

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// steps counts up by one or two, to ten. With trap, seven only leads to itself.
type steps struct{ trap bool }

func (steps) initial() int           { return 0 }
func (steps) broken(s *int) property { return []property{0, dup}[*s/9%2] }
func (steps) finished(s *int) bool   { return *s == 10 }

func (m steps) next(s int, do func(step, int)) {
	if m.trap && s == 7 {
		do(step{format: "stay"}, 7)
		return
	}
	for _, by := range []int{1, 2} {
		if s+by <= 10 {
			do(step{format: "from %d by %d", a: s, b: by, fault: by == 2 && s == 7}, s+by)
		}
	}
}

func TestExploreFindsTheShortestTrace(t *testing.T) {
	r := explore(steps{}, dup, 100)
	require.Equal(t, dup, r.broken)
	require.Len(t, r.trace, 5)
	require.Equal(t, "from 0 by 1", r.trace[0])
	require.False(t, r.exhaustive)
}

func TestExploreSkipsModelsNotSelected(t *testing.T) {
	r := explore(steps{}, loss, 100)
	require.True(t, r.exhaustive)
	require.Equal(t, 11, r.states)
}

func TestCappedRunIsNotAProof(t *testing.T) {
	require.False(t, explore(steps{}, loss, 10).exhaustive)
	require.True(t, explore(steps{}, loss, 11).exhaustive)
}

func TestExploreFindsDeadEnds(t *testing.T) {
	trace, _ := stuck(steps{}, 100)
	require.Nil(t, trace)
	trace, _ = stuck(steps{trap: true}, 100)
	require.Len(t, trace, 4) // up to seven
	_, r := stuck(steps{}, 10)
	require.False(t, r.exhaustive)
}
