package copier

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/destination"
)

// bench drives a scheduler and keeps book of what it asked for.
type bench struct {
	*scheduler
	t       *testing.T
	now     time.Time
	active  []*task
	ended   map[*task]effect
	broken  map[string]bool // breakers that are open
	arrived int
}

func newBench(t *testing.T, change func(*limits)) *bench {
	l := limits{concurrency: 4, perDestination: 2, queue: 3, breakTransient: 3, breakPermanent: 2, cooldown: 10 * time.Second, maxCooldown: time.Minute}
	if change != nil {
		change(&l)
	}
	p := retryPolicy{tiers: []time.Duration{time.Minute, 10 * time.Minute, time.Hour}, parkAfter: 24 * time.Hour}
	return &bench{scheduler: newScheduler(l, p), t: t, now: time.UnixMilli(1_800_000_000_000), ended: map[*task]effect{}, broken: map[string]bool{}}
}

func (b *bench) arrive(dest string) *task {
	b.arrived++
	t := &task{job: delivery.Job{Destination: dest, File: delivery.FileRef{Index: b.arrived}}}
	b.note(b.scheduler.arrived(t, b.now))
	return t
}

func (b *bench) finish(t *task, o outcome) {
	for i, a := range b.active {
		if a == t {
			b.active = append(b.active[:i:i], b.active[i+1:]...)
			b.note(b.finished(t, o, b.now))
			return
		}
	}
	require.Fail(b.t, "the task was not started")
}

func (b *bench) note(effects []effect) {
	for _, e := range effects {
		switch e.kind {
		case start:
			b.active = append(b.active, e.task)
			continue
		case opened, shut:
			require.NotEqual(b.t, b.broken[e.dest], e.kind == opened, "news")
			b.broken[e.dest] = e.kind == opened
			continue
		}
		_, twice := b.ended[e.task]
		require.False(b.t, twice, "a task ends once")
		b.ended[e.task] = e
	}
}

func (b *bench) activeOf(dest string) (n int) {
	for _, t := range b.active {
		if t.job.Destination == dest {
			n++
		}
	}
	return n
}

var (
	timeout   = outcome{kind: failed, verdict: destination.Verdict{Class: destination.Transient, Reason: "unavailable", Cause: "timeout"}}
	denied403 = outcome{kind: failed, verdict: destination.Verdict{Class: destination.Permanent, Reason: "put_denied", Cause: "denied"}}
	ok        = outcome{kind: done}
)

func TestOneDestinationCannotTakeAllCopies(t *testing.T) {
	b := newBench(t, nil)
	for range 3 {
		b.arrive("a")
	}
	require.Equal(t, 2, b.activeOf("a"), "its cap")
	b.arrive("b")
	b.arrive("c")
	require.Equal(t, 1, b.activeOf("b"))
	require.Equal(t, 1, b.activeOf("c"))
	d := b.arrive("d")
	require.Len(t, b.active, 4, "all copies taken")
	b.finish(b.active[2], ok) // of b
	require.Contains(t, b.active, d, "a is at its cap, so it is d's turn")
}

func TestAFullQueueOverflowsIntoTheFirstTier(t *testing.T) {
	b := newBench(t, nil)
	for range 2 + 3 {
		b.arrive("a")
	}
	require.Empty(t, b.ended)
	extra := b.arrive("a")
	e := b.ended[extra]
	require.Equal(t, requeue, e.kind)
	require.Equal(t, 0, e.tier)
	require.Zero(t, e.job.Attempt, "it did not fail")
	require.Equal(t, b.now.Add(time.Minute).UnixMilli(), e.job.NotBefore)
}

func TestTurnsAreFair(t *testing.T) {
	b := newBench(t, func(l *limits) { l.concurrency, l.perDestination, l.queue = 1, 1, 100 })
	for range 50 {
		b.arrive("a")
	}
	b.arrive("b")
	for turns := 0; b.activeOf("b") == 0; turns++ {
		require.Less(t, turns, 3, "b came last, and is not behind all of a")
		b.finish(b.active[0], ok)
	}
}

func TestBreakerOpensAndWhatWaitsMovesOn(t *testing.T) {
	b := newBench(t, nil)
	var tasks []*task
	for range 5 {
		tasks = append(tasks, b.arrive("a"))
	}
	b.finish(tasks[0], timeout)
	b.finish(tasks[1], timeout)
	require.Equal(t, requeue, b.ended[tasks[0]].kind)
	require.Equal(t, 1, b.ended[tasks[0]].job.Attempt)
	require.Empty(t, b.broken)
	b.finish(tasks[2], timeout) // the third: it opens
	require.True(t, b.broken["a"])
	require.Equal(t, "breaker_open", b.ended[tasks[4]].why, "it waited")
	require.Equal(t, "timeout", b.ended[tasks[4]].job.LastError)
	b.finish(tasks[3], timeout) // was under way
	require.Empty(t, b.active)

	late := b.arrive("a")
	require.Equal(t, "breaker_open", b.ended[late].why, "nothing is tried while it is open")

	b.now = b.now.Add(10 * time.Second)
	probe, second := b.arrive("a"), b.arrive("a")
	require.Equal(t, []*task{probe}, b.active, "one probe")
	b.finish(probe, timeout)
	require.Equal(t, "breaker_open", b.ended[second].why)
	b.now = b.now.Add(10 * time.Second)
	require.Equal(t, "breaker_open", b.ended[b.arrive("a")].why, "it stays open for twice as long")
	b.now = b.now.Add(10 * time.Second)
	probe, second = b.arrive("a"), b.arrive("a")
	require.Equal(t, []*task{probe}, b.active)
	b.finish(probe, ok)
	require.Equal(t, []*task{second}, b.active, "closed again")
	require.False(t, b.broken["a"])
	b.finish(second, ok)
	require.Empty(t, b.dests, "forgotten when idle and in good standing")
}

func TestProbeThatProvesNothingIsFollowedByAnother(t *testing.T) {
	for _, o := range []outcome{{kind: moot}, {kind: busy}, {kind: dropped}, {kind: failed, verdict: destination.Verdict{Scope: destination.OfFile}}} {
		b := newBench(t, func(l *limits) { l.breakTransient = 1 })
		b.finish(b.arrive("a"), timeout)
		b.now = b.now.Add(10 * time.Second)
		first, second := b.arrive("a"), b.arrive("a")
		b.finish(first, o)
		require.Equal(t, []*task{second}, b.active)
		require.NotZero(t, b.dests["a"].cooldown, "not proven to work")
	}
}

func TestFailuresOfFilesAreNotHeldAgainstTheDestination(t *testing.T) {
	b := newBench(t, nil)
	for range 10 {
		b.finish(b.arrive("a"), outcome{kind: failed, verdict: destination.Verdict{Class: destination.Permanent, Scope: destination.OfFile}})
	}
	require.Empty(t, b.dests)
}

func TestFailingDestinationsShareHalfOfTheCopies(t *testing.T) {
	b := newBench(t, func(l *limits) { l.breakTransient, l.queue = 100, 100 })
	for i := range 10 {
		b.finish(b.arrive(fmt.Sprint("bad", i)), timeout)
	}
	for range 2 {
		for i := range 10 {
			b.arrive(fmt.Sprint("bad", i))
		}
	}
	require.Len(t, b.active, 2, "half of four")
	b.arrive("good")
	b.arrive("good")
	require.Equal(t, 2, b.activeOf("good"))
}

func TestParking(t *testing.T) {
	b := newBench(t, func(l *limits) { l.breakPermanent, l.breakTransient = 100, 100 })
	again := func(job delivery.Job, o outcome) effect {
		t1 := &task{job: job}
		b.note(b.scheduler.arrived(t1, b.now))
		b.finish(t1, o)
		return b.ended[t1]
	}
	// Permanent: the slowest tier, then parked.
	e := again(delivery.Job{Destination: "a"}, denied403)
	require.Equal(t, []any{requeue, 2, 1}, []any{e.kind, e.tier, e.job.Attempt})
	e = again(e.job, denied403)
	require.Equal(t, []any{requeue, 2, 2}, []any{e.kind, e.tier, e.job.Attempt})
	hasty := again(e.job, denied403)
	require.Equal(t, requeue, hasty.kind, "not before it waited in the slowest tier")
	b.now = b.now.Add(time.Hour)
	e = again(e.job, denied403)
	require.Equal(t, park, e.kind)
	require.Equal(t, "denied", e.job.LastError)

	// Transient: through the tiers, parked by age.
	e = effect{job: delivery.Job{Destination: "a"}}
	var tiers []int
	for e.kind != park {
		e = again(e.job, timeout)
		tiers = append(tiers, e.tier)
		b.now = time.UnixMilli(max(e.job.NotBefore, b.now.UnixMilli()))
	}
	require.Equal(t, []int{0, 1, 2, 2}, tiers[:4])
	require.InDelta(t, 26, len(tiers), 1, "hourly for a day")
	require.GreaterOrEqual(t, b.now.UnixMilli()-e.job.FirstTry, (24 * time.Hour).Milliseconds())

	// Hopeless: at once.
	require.Equal(t, park, again(delivery.Job{Destination: "a"}, outcome{kind: failed, verdict: destination.Verdict{Class: destination.Hopeless, Scope: destination.OfFile}}).kind)
}

// Whatever happens in whatever order, the books balance: caps hold, every
// task ends exactly once, and nothing is forgotten in a queue.
func TestSchedulerUnderRandomEvents(t *testing.T) {
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		b := newBench(t, func(l *limits) { l.breakTransient, l.breakPermanent = 1+rnd.IntN(3), 1+rnd.IntN(2) })
		outcomes := []outcome{ok, ok, {kind: moot}, {kind: busy}, {kind: dropped}, timeout, denied403, {kind: failed, verdict: destination.Verdict{Class: destination.Hopeless, Scope: destination.OfFile}}}
		for range 400 {
			switch {
			case rnd.IntN(2) == 0:
				b.arrive(fmt.Sprint("d", rnd.IntN(5)))
			case len(b.active) > 0:
				b.finish(b.active[rnd.IntN(len(b.active))], outcomes[rnd.IntN(len(outcomes))])
			}
			if rnd.IntN(5) == 0 {
				b.now = b.now.Add(time.Duration(rnd.IntN(20)) * time.Second)
			}
			require.LessOrEqual(t, len(b.active), b.concurrency)
			require.Equal(t, len(b.active), b.running)
			waiting, suspects := 0, 0
			for id, d := range b.dests {
				require.Equal(t, b.activeOf(id), d.running)
				require.LessOrEqual(t, d.running, b.perDestination)
				require.LessOrEqual(t, len(d.waiting), b.queue)
				waiting += len(d.waiting)
				if d.suspect {
					suspects += d.running
				}
			}
			require.Equal(t, suspects, b.suspects)
			require.Equal(t, b.arrived, len(b.active)+waiting+len(b.ended))
		}
		for len(b.active) > 0 {
			b.finish(b.active[0], ok)
		}
		require.Len(t, b.ended, b.arrived, "seed %d: all ended", seed)
		for _, d := range b.dests {
			require.NotZero(t, d.failures, "only those in bad standing are remembered")
		}
		require.Empty(t, b.ring)
	}
}
