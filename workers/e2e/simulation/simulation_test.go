package simulation

import (
	"flag"
	"fmt"
	"hash/fnv"
	"maps"
	"os"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/jitter"
)

var (
	flagSeeds  = flag.Int("sim.seeds", 0, "how many seeds to run; 0: 1,000, fewer with the race detector")
	flagSeed   = flag.Uint64("sim.seed", 0, "run only this seed, and print everything that happens")
	flagFor    = flag.Duration("sim.for", 0, "run new seeds for this long")
	flagShrink = flag.Duration("sim.shrink", 30*time.Second, "how long to search for the smallest set of decisions that fails")
	flagFrom   = flag.Uint64("sim.from", 1, "the first seed")
)

func TestMain(m *testing.M) {
	runtime.GOMAXPROCS(1) // goroutines that wake up together run in the order in which they went to sleep
	// By the bubble's clock instead of chance.
	jitter.SetForTesting(func(d time.Duration) time.Duration {
		h := fnv.New64a()
		_, _ = fmt.Fprint(h, time.Now().UnixNano(), d)
		return time.Duration(h.Sum64() % uint64(d))
	})
	os.Exit(m.Run())
}

// result is the outcome of a run.
type result struct {
	err   error
	hash  uint64
	trace []string
	steps int
	stats stats
}

// simulate runs a plan. With keepTrace the result includes everything that happened.
func simulate(t *testing.T, p plan, keepTrace bool, change func(*world)) (r result) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2026, 11, 22, 23, 58, 30, 0, time.UTC))) // midnight comes soon
		dir, err := os.MkdirTemp(tempDir(), "sealift-sim-")                      //nolint:usetesting // in memory, where that is to be had
		require.NoError(t, err)
		w := &world{scenario: newScenario(p.seed), plan: p, dir: dir}
		if keepTrace {
			w.trace = &r.trace
		}
		if change != nil {
			change(w)
		}
		r.err = w.run()
		r.hash, r.steps, r.stats = w.hash, w.step, w.stats
		r.stats.Records = w.workload.records()
	})
	return r
}

// tempDir is a directory in memory, if there is one.
func tempDir() string {
	const shm = "/dev/shm"
	if info, err := os.Stat(shm); err == nil && info.IsDir() {
		return shm
	}
	return ""
}

func TestSimulation(t *testing.T) {
	if *flagSeed != 0 {
		r := simulate(t, plan{seed: *flagSeed}, true, nil)
		for _, line := range r.trace {
			t.Log(line)
		}
		require.NoError(t, r.err)
		return
	}
	n := *flagSeeds
	if n == 0 {
		n = 1000
		if raceEnabled {
			n = 40
		}
	}
	begun := time.Now()
	var total totals
	for seed := *flagFrom; time.Since(begun) < *flagFor || *flagFor == 0 && seed < *flagFrom+uint64(n); seed++ {
		r := simulate(t, plan{seed: seed}, false, nil)
		total.add(r)
		if r.err != nil {
			t.Log(total.String())
			t.Fatal(failure(t, seed, nil))
		}
	}
	t.Logf("%v, %.1f seeds a second", &total, float64(total.seeds)/time.Since(begun).Seconds())
	for _, kind := range slices.Sorted(maps.Keys(total.faults)) {
		t.Logf("%8d %s", total.faults[kind], kind)
	}
}

// totals add up many runs.
type totals struct {
	seeds, ops, steps, records int
	faults                     map[string]int
	states                     map[uint64]struct{}
}

func (t *totals) add(r result) {
	if t.faults == nil {
		t.faults, t.states = map[string]int{}, map[uint64]struct{}{}
	}
	t.seeds++
	t.ops += r.stats.Ops
	t.steps += r.steps
	t.records += r.stats.Records
	for kind, n := range r.stats.Faults {
		t.faults[kind] += n
	}
	for s := range r.stats.States {
		t.states[s] = struct{}{}
	}
}

func (t *totals) String() string {
	faults := 0
	for _, n := range t.faults {
		faults += n
	}
	return fmt.Sprintf("%d seeds, %d records, %d steps, %d requests, %d faults, %d distinct states", t.seeds, t.records, t.steps, t.ops, faults, len(t.states))
}
