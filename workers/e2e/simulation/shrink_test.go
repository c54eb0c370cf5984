package simulation

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// shrink returns a plan that fails in the same way as p with as few deviating steps as can be found
// in time, by delta debugging over the steps. r is the result of p.
func shrink(t *testing.T, p plan, r result, change func(*world), within time.Duration) (plan, result) {
	deadline := time.Now().Add(within)
	steps := make([]int, 0, r.steps)
	for i := range r.steps {
		if p.keep == nil || p.keep[i] {
			steps = append(steps, i)
		}
	}
	fails := func(steps []int) (plan, result, bool) {
		q := plan{seed: p.seed, keep: map[int]bool{}}
		for _, s := range steps {
			q.keep[s] = true
		}
		got := simulate(t, q, true, change)
		return q, got, got.err != nil && kindOf(got.err) == kindOf(r.err)
	}
	for size := (len(steps) + 1) / 2; size >= 1; {
		smaller := false
		for at := 0; at < len(steps) && time.Now().Before(deadline); {
			without := slices.Concat(steps[:at], steps[min(at+size, len(steps)):])
			if q, got, bad := fails(without); bad {
				// Steps beyond the end of a shorter run are of no use.
				steps = slices.DeleteFunc(without, func(s int) bool { return s >= got.steps })
				p, r, smaller = q, got, true
			} else {
				at += size
			}
		}
		if time.Now().After(deadline) {
			break
		}
		if size > 1 || !smaller {
			if size == 1 {
				break
			}
			size = (size + 1) / 2
		}
	}
	return p, r
}

// kindOf returns what distinguishes failures: the promise or rule that was violated.
func kindOf(err error) string {
	words := strings.Fields(err.Error())
	return strings.Join(words[:min(3, len(words))], " ")
}

// failure describes a failing seed: how to repeat it, and the least that has to happen.
func failure(t *testing.T, seed uint64, change func(*world)) string {
	p := plan{seed: seed}
	first := simulate(t, p, true, change)
	if first.err == nil {
		return "it did not fail again: it depends on what Go's select takes first"
	}
	begun := time.Now()
	p, r := shrink(t, p, first, change, *flagShrink)
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: %v\n", seed, first.err)
	fmt.Fprintf(&b, "again, with all that happens: go test ./workers/e2e/simulation -run TestSimulation -sim.seed %d\n", seed)
	fmt.Fprintf(&b, "with the fewest decisions, found in %v: seed %d, steps %v\n",
		time.Since(begun).Round(time.Second), seed, slices.Sorted(maps.Keys(p.keep)))
	fmt.Fprintf(&b, "fails with %v after:\n", r.err)
	for _, line := range r.trace {
		b.WriteString(line + "\n")
	}
	return b.String()
}
