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

// bench drives a scheduler and records the effects that it returns.
type bench struct {
	*scheduler
	t           *testing.T
	now         time.Time
	active      []*task
	ended       map[*task]effect
	broken      map[string]bool // open breakers
	slow        []string        // destinations that became slow, in order
	stuckOn     map[*task]bool  // nothing has moved in these
	beingParked int             // jobs being parked
	arrived     int
}

func newBench(t *testing.T, change func(*limits)) *bench {
	l := limits{concurrency: 4, perDestination: 2, maxStored: 8, maxWaiting: 9, maxWaitingSuspects: 5, maxParking: 2,
		breakTransient: 3, breakPermanent: 2, cooldown: 10 * time.Second, maxCooldown: time.Minute}
	if change != nil {
		change(&l)
	}
	p := retryPolicy{tiers: []time.Duration{time.Minute, 10 * time.Minute, time.Hour}, parkAfter: 24 * time.Hour}
	return &bench{scheduler: newScheduler(l, p), t: t, now: time.UnixMilli(1_800_000_000_000), ended: map[*task]effect{}, broken: map[string]bool{}, stuckOn: map[*task]bool{}}
}

func (b *bench) arrive(dest string) *task {
	b.arrived++
	t := &task{job: delivery.Job{Destination: dest, File: delivery.FileRef{Index: b.arrived}}}
	b.apply(b.scheduler.onArrived(t, b.now))
	return t
}

func (b *bench) finish(t *task, o outcome) {
	if o.kind == outcomeDone {
		b.apply(b.onStored(t, b.now))
	}
	for i, a := range b.active {
		if a == t {
			b.active = append(b.active[:i:i], b.active[i+1:]...)
			delete(b.stuckOn, t)
			b.apply(b.onFinished(t, o, b.now))
			return
		}
	}
	require.Fail(b.t, "the task was not started")
}

func (b *bench) apply(effects []effect) {
	for _, e := range effects {
		switch e.kind {
		case effectStart:
			b.active = append(b.active, e.task)
			continue
		case effectYield:
			b.finish(e.task, outcome{kind: outcomeBusy})
			continue
		case effectBreakerOpened, effectBreakerClosed:
			require.NotEqual(b.t, b.broken[e.dest], e.kind == effectBreakerOpened, "the breaker was already in that state")
			b.broken[e.dest] = e.kind == effectBreakerOpened
			continue
		case effectForgotten:
			require.True(b.t, b.broken[e.dest])
			b.broken[e.dest] = false
			continue
		case effectSlowed:
			b.slow = append(b.slow, e.dest)
			continue
		case effectPark:
			b.beingParked++
		}
		_, twice := b.ended[e.task]
		require.False(b.t, twice, "a task ended twice")
		b.ended[e.task] = e
	}
}

// hang notes that nothing moves in a started task, for so long that it counts as late.
func (b *bench) hang(t *task) {
	b.apply(b.onIdle(t))
	b.stuckOn[t] = t.state != stateStored
	b.apply(b.onStuck(t, b.now))
}

func (b *bench) hasEnded(t *task) bool { _, hasEnded := b.ended[t]; return hasEnded }

func (b *bench) activeOf(dest string) (n int) {
	for _, t := range b.active {
		if t.job.Destination == dest {
			n++
		}
	}
	return n
}

var (
	timeout   = outcome{kind: outcomeFailed, verdict: destination.Verdict{Class: destination.Transient, Reason: "unavailable", Cause: "timeout"}}
	denied403 = outcome{kind: outcomeFailed, verdict: destination.Verdict{Class: destination.Permanent, Reason: "put_denied", Cause: "denied"}}
	ok        = outcome{kind: outcomeDone}
)

// proveWorking lets the destination deliver one file, so that it is known to work. It returns the
// destination's next task, which keeps it from being forgotten.
func (b *bench) proveWorking(dest string) *task {
	first, next := b.arrive(dest), b.arrive(dest)
	b.finish(first, ok)
	return next
}

func TestOneDestinationCannotTakeAllCopies(t *testing.T) {
	b := newBench(t, nil)
	for range 4 {
		b.arrive("a")
	}
	require.Equal(t, 1, b.activeOf("a"), "more than one copy before it is known to work")
	b.finish(b.active[0], ok)
	require.Equal(t, 2, b.activeOf("a"), "want perDestination copies")
	b.arrive("b")
	b.arrive("c")
	require.Equal(t, 1, b.activeOf("b"))
	require.Equal(t, 1, b.activeOf("c"))
	d := b.arrive("d")
	require.Len(t, b.active, 4, "all slots are taken")
	b.finish(b.active[2], ok) // of b
	require.Contains(t, b.active, d, "a is at its limit, so it is d's turn")
}

func TestAFullQueueOverflowsIntoTheFirstTier(t *testing.T) {
	b := newBench(t, func(l *limits) { l.maxWaiting = 15 })
	for range 1 + 5 {
		b.arrive("a")
	}
	require.Empty(t, b.ended)
	extra := b.arrive("a")
	e := b.ended[extra]
	require.Equal(t, effectRequeue, e.kind)
	require.Equal(t, 0, e.tier)
	require.Zero(t, e.job.Attempt, "it did not fail")
	require.Equal(t, b.now.Add(time.Minute).UnixMilli(), e.job.NotBefore)
}

// However many destinations have a backlog, there is room for a destination that has none.
func TestDestinationWithoutBacklogIsAlwaysAdmitted(t *testing.T) {
	b := newBench(t, func(l *limits) { l.maxWaiting = 1000 })
	for i := range 50 {
		for range 1000 {
			b.arrive(fmt.Sprint("d", i))
		}
		fresh := b.arrive(fmt.Sprint("fresh", i))
		require.False(t, b.hasEnded(fresh), "after %d others", i)
	}
	require.Less(t, b.sound.tally[stateWaiting], 1000+50*(1+2*b.perDestination))
}

func TestDestinationsTakeTurns(t *testing.T) {
	b := newBench(t, func(l *limits) { l.concurrency, l.perDestination, l.maxWaiting = 1, 1, 100 })
	for range 50 {
		b.arrive("a")
	}
	b.arrive("b")
	for turns := 0; b.activeOf("b") == 0; turns++ {
		require.Less(t, turns, 3, "b waits behind all of a")
		b.finish(b.active[0], ok)
	}
}

// Jobs of neighbouring files arrive from one partition after the other. The files are copied next to
// each other all the same, so that their stretch of a pack is read once. But no file waits for those
// that arrive much later.
func TestFilesThatArriveTogetherAreCopiedInTheirOrder(t *testing.T) {
	b := newBench(t, func(l *limits) { l.concurrency, l.perDestination, l.maxWaiting = 1, 1, 100 })
	b.arrive("a")
	arrive := func(seq int64, indexes ...int) {
		for _, i := range indexes {
			b.apply(b.onArrived(&task{job: delivery.Job{Destination: "a", File: delivery.FileRef{Seq: seq, Index: i}}}, b.now))
		}
	}
	arrive(8, 1, 4, 7)
	arrive(7, 2)
	arrive(8, 0, 3, 6)
	b.now = b.now.Add(arrivalPeriod)
	arrive(8, 5, 2)
	arrive(6, 9)
	var order []string
	for b.finish(b.active[0], ok); len(b.active) > 0; b.finish(b.active[0], ok) {
		f := b.active[0].job.File
		order = append(order, fmt.Sprintf("%d/%d", f.Seq, f.Index))
	}
	require.Equal(t, []string{"7/2", "8/0", "8/1", "8/3", "8/4", "8/6", "8/7", "6/9", "8/2", "8/5"}, order)
}

func TestOpenBreakerRequeuesWaitingTasks(t *testing.T) {
	b := newBench(t, func(l *limits) { l.maxWaitingSuspects = 9 })
	tasks := []*task{b.proveWorking("a")}
	for range 4 {
		tasks = append(tasks, b.arrive("a"))
	}
	b.finish(tasks[0], timeout)
	require.Equal(t, effectRequeue, b.ended[tasks[0]].kind)
	require.Equal(t, 1, b.ended[tasks[0]].job.Attempt)
	b.finish(tasks[1], timeout)
	require.Equal(t, []*task{tasks[2]}, b.active, "one copy at a time after a failure")
	require.Empty(t, b.broken)
	b.finish(tasks[2], timeout) // the third failure opens the breaker
	require.True(t, b.broken["a"])
	require.Equal(t, "breaker_open", b.ended[tasks[4]].why, "a waiting task was not requeued")
	require.Equal(t, "timeout", b.ended[tasks[4]].job.LastError)
	require.Empty(t, b.active)

	late := b.arrive("a")
	require.Equal(t, "breaker_open", b.ended[late].why, "nothing is tried while it is open")
	require.Equal(t, [2]int{0, 1}, [2]int{b.ended[late].job.Attempt, b.ended[late].job.Spared})

	b.now = b.now.Add(10 * time.Second)
	probe, second := b.arrive("a"), b.arrive("a")
	require.Equal(t, []*task{probe}, b.active, "want exactly one probe")
	b.finish(probe, timeout)
	require.Equal(t, "breaker_open", b.ended[second].why)
	b.now = b.now.Add(10 * time.Second)
	require.Equal(t, "breaker_open", b.ended[b.arrive("a")].why, "it stays open for twice as long")
	b.now = b.now.Add(10 * time.Second)
	probe, second = b.arrive("a"), b.arrive("a")
	require.Equal(t, []*task{probe}, b.active)
	b.finish(probe, ok)
	require.Equal(t, []*task{second}, b.active, "the breaker did not close")
	require.False(t, b.broken["a"])
	b.finish(second, ok)
	require.Contains(t, b.dests, "a", "forgotten while a suspect")
	for range deliveriesToBecomeSound - 2 {
		b.finish(b.arrive("a"), ok)
	}
	require.Empty(t, b.dests, "an idle sound destination is still kept")
}

// Of a destination that is removed while its breaker is open, or whose files other copiers deliver
// once it works, no delivery closes the breaker. It must not be shown as failing for ever.
func TestBreakerIsForgottenWhenNoJobsAreLeft(t *testing.T) {
	b := newBench(t, func(l *limits) { l.breakTransient = 1 })
	b.finish(b.arrive("a"), timeout)
	slowest := b.retry.tiers[len(b.retry.tiers)-1]
	b.now = b.now.Add(slowest + b.cooldown + time.Minute) // its jobs may still be waiting in a tier
	b.apply(b.forgetIdle(b.now))
	require.True(t, b.broken["a"])
	b.now = b.now.Add(slowest)
	b.apply(b.forgetIdle(b.now))
	require.False(t, b.broken["a"])
	require.Empty(t, b.dests)
}

// Copies that were under way when the breaker opened do not make it open for longer if they fail,
// and close it if one of them arrives.
func TestCopiesRunningWhenTheBreakerOpens(t *testing.T) {
	b := newBench(t, func(l *limits) { l.perDestination = 4 })
	tasks := []*task{b.proveWorking("a")}
	for range 3 {
		tasks = append(tasks, b.arrive("a"))
	}
	require.Equal(t, 4, b.activeOf("a"))
	b.finish(tasks[0], denied403)
	b.finish(tasks[1], denied403)
	require.True(t, b.broken["a"])
	b.finish(tasks[2], denied403)
	require.Equal(t, 10*time.Second, b.dests["a"].cooldown)
	b.finish(tasks[3], ok)
	require.False(t, b.broken["a"])
}

func TestInconclusiveProbeIsFollowedByAnother(t *testing.T) {
	for _, o := range []outcome{{kind: outcomeMoot}, {kind: outcomeBusy}, {kind: outcomeDropped}, {kind: outcomeFailed, verdict: destination.Verdict{Scope: destination.ScopeFile}}} {
		b := newBench(t, func(l *limits) { l.breakTransient = 1 })
		b.finish(b.arrive("a"), timeout)
		b.now = b.now.Add(10 * time.Second)
		first, second := b.arrive("a"), b.arrive("a")
		b.finish(first, o)
		require.Equal(t, []*task{second}, b.active)
		require.NotZero(t, b.dests["a"].cooldown, "the breaker closed without a delivery")
	}
}

func TestFileFailuresDoNotOpenTheBreaker(t *testing.T) {
	b := newBench(t, nil)
	for range 10 {
		b.finish(b.arrive("a"), outcome{kind: outcomeFailed, verdict: destination.Verdict{Class: destination.Permanent, Scope: destination.ScopeFile}})
	}
	require.Empty(t, b.dests)
}

func TestParkingIsBounded(t *testing.T) {
	b := newBench(t, nil)
	gone := outcome{kind: outcomeFailed, verdict: destination.Verdict{Class: destination.Hopeless, Scope: destination.ScopeFile}}
	for range 2 {
		b.finish(b.arrive("a"), gone)
	}
	third := b.arrive("a")
	b.finish(third, gone)
	require.Equal(t, "parking_full", b.ended[third].why)
	require.Zero(t, b.ended[third].job.Attempt)
	b.onParked()
	fourth := b.arrive("a")
	b.finish(fourth, gone)
	require.Equal(t, effectPark, b.ended[fourth].kind)
}

func TestWhenJobsAreParked(t *testing.T) {
	b := newBench(t, func(l *limits) { l.breakPermanent, l.breakTransient, l.maxParking = 100, 100, 100 })
	again := func(job delivery.Job, o outcome) effect {
		t1 := &task{job: job}
		b.apply(b.scheduler.onArrived(t1, b.now))
		b.finish(t1, o)
		return b.ended[t1]
	}
	// Permanent: the slowest tier, then parked.
	e := again(delivery.Job{Destination: "a"}, denied403)
	require.Equal(t, []any{effectRequeue, 2, 1}, []any{e.kind, e.tier, e.job.Attempt})
	e = again(e.job, denied403)
	require.Equal(t, []any{effectRequeue, 2, 2}, []any{e.kind, e.tier, e.job.Attempt})
	hasty := again(e.job, denied403)
	require.Equal(t, effectRequeue, hasty.kind, "parked before it waited in the slowest tier")
	b.now = b.now.Add(time.Hour)
	e = again(e.job, denied403)
	require.Equal(t, effectPark, e.kind)
	require.Equal(t, "denied", e.job.LastError)

	// Permanent after transient failures: only refusals count, because a store that recovers may
	// refuse once by mistake.
	e = effect{job: delivery.Job{Destination: "a"}}
	for range permanentTries {
		e = again(e.job, timeout)
		b.now = b.now.Add(time.Hour)
	}
	for n := range permanentTries {
		e = again(e.job, denied403)
		require.Equal(t, n == permanentTries-1, e.kind == effectPark, "refusal %d", n+1)
		b.now = b.now.Add(time.Hour)
	}

	// Transient: through the tiers, then parked because of its age.
	e = effect{job: delivery.Job{Destination: "a"}}
	var tiers []int
	for e.kind != effectPark {
		e = again(e.job, timeout)
		tiers = append(tiers, e.tier)
		b.now = time.UnixMilli(max(e.job.NotBefore, b.now.UnixMilli()))
	}
	require.Equal(t, []int{0, 1, 2, 2}, tiers[:4])
	_, tier, _ := b.retry.afterFailure(delivery.Job{Attempt: 1}, timeout.verdict, false, b.now)
	require.Equal(t, 1, tier, "a job that is spared a try does not wait as if it had failed")
	require.InDelta(t, 26, len(tiers), 1, "want hourly tries for a day")
	require.GreaterOrEqual(t, b.now.UnixMilli()-e.job.FirstTry, (24 * time.Hour).Milliseconds())

	// First tried by a host whose clock was a year ahead: the age counts from now on.
	e = again(delivery.Job{Destination: "a", FirstTry: b.now.AddDate(1, 0, 0).UnixMilli()}, timeout)
	b.now = b.now.Add(24 * time.Hour)
	require.Equal(t, effectPark, again(e.job, timeout).kind)

	// Hopeless: parked at once.
	require.Equal(t, effectPark, again(delivery.Job{Destination: "a"}, outcome{kind: outcomeFailed, verdict: destination.Verdict{Class: destination.Hopeless, Scope: destination.ScopeFile}}).kind)
}

// Whatever happens in whatever order, also if four in ten destinations hang: the tallies are right,
// the bounds hold, every task ends exactly once, and no destination with waiting work is passed
// over while its pool has a free slot.
func TestSchedulerUnderRandomEvents(t *testing.T) {
	for seed := range uint64(120) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		size, events := 8, 400
		switch {
		case seed >= 115:
			size, events = 1000, 10_000
		case seed >= 100:
			size, events = 60, 1000
		}
		b := newBench(t, func(l *limits) {
			l.breakTransient, l.breakPermanent = 1+rnd.IntN(3), 1+rnd.IntN(2)
			l.maxWaiting, l.maxWaitingSuspects = 1+rnd.IntN(20), 1+rnd.IntN(8)
			if size == 1000 { // the real limits
				l.concurrency, l.perDestination, l.maxWaiting, l.maxWaitingSuspects = 16, 4, maxBacklog, maxSuspectBacklog
			}
		})
		outcomes := []outcome{ok, ok, {kind: outcomeMoot}, {kind: outcomeBusy}, {kind: outcomeDropped}, timeout, denied403,
			{kind: outcomeFailed, verdict: destination.Verdict{Class: destination.Hopeless, Scope: destination.ScopeFile}}}
		act := func(picked *task) {
			e := rnd.IntN(7)
			if d := picked.job.Destination; size > 8 && d[len(d)-1]%3 == 0 && e > 0 { // these destinations hang in most cases
				b.hang(picked)
				return
			}
			switch e {
			case 0, 1, 2:
				b.finish(picked, outcomes[rnd.IntN(len(outcomes))])
			case 3:
				b.apply(b.onIdle(picked))
			case 4:
				b.apply(b.onStored(picked, b.now))
			case 5:
				b.hang(picked)
			case 6:
				b.apply(b.onLate(picked, b.now))
			}
		}
		for n := range events {
			if len(b.active) == 0 || rnd.IntN(11) < 4 {
				b.arrive(fmt.Sprint("d", rnd.IntN(size)))
			} else {
				act(b.active[rnd.IntN(len(b.active))])
			}
			if b.beingParked > 0 && rnd.IntN(2) == 0 {
				b.beingParked--
				b.onParked()
			}
			if rnd.IntN(5) == 0 {
				b.now = b.now.Add(time.Duration(rnd.IntN(20)) * time.Second)
			}
			if n%(1+size/20) == 0 {
				b.checkInvariants()
			}
		}
		for len(b.active) > 0 {
			b.finish(b.active[0], ok)
		}
		b.checkInvariants()
		require.Len(t, b.ended, b.arrived, "seed %d: not every task ended", seed)
		for _, d := range b.dests {
			require.True(t, d.pool == &b.suspects || d.failures > 0, "a sound destination without failures is still kept")
		}
	}
}

// checkInvariants checks what must always be true.
func (b *bench) checkInvariants() {
	require.LessOrEqual(b.t, b.sending(), 3*b.concurrency)
	hang := 0
	for t, still := range b.stuckOn {
		if still && t.state != stateStored {
			hang++
		}
	}
	require.LessOrEqual(b.t, hang, b.suspects.maxSending, "hanging copies take more than the suspects' share")
	require.Equal(b.t, len(b.active), b.running())
	require.Equal(b.t, b.beingParked, b.parking)
	require.LessOrEqual(b.t, b.parking, b.scheduler.maxParking)
	waiting, suspected := 0, 0
	books := map[*pool]*tally{&b.sound: {}, &b.suspects: {}}
	for id, d := range b.dests {
		book := tally{}
		for _, t := range d.waiting {
			require.Equal(b.t, stateWaiting, t.state)
			book.count(stateGone, t.state)
		}
		for _, t := range b.active {
			if t.job.Destination == id {
				book.count(stateGone, t.state)
			}
		}
		require.Equal(b.t, book, d.tally)
		books[d.pool].add(book, 1)
		waiting += len(d.waiting)
		if d.pool == &b.suspects {
			suspected++
		}
		require.Equal(b.t, b.activeOf(id), d.running())
		require.LessOrEqual(b.t, d.sending(), b.perDestination)
		most := b.perDestination
		if !d.provenToWork {
			most = 1
		}
		mayStart := len(d.waiting) > 0 && d.sending() < most
		require.Equal(b.t, mayStart, d.turn != nil)
		if mayStart {
			require.True(b.t, !d.pool.hasFreeSlot() || b.sending()-hang >= 2*b.concurrency, "passed over, while %d hang and %d move", hang, b.sending()-hang)
		}
	}
	for p, book := range books {
		require.Equal(b.t, *book, p.tally)
	}
	excess := max(0, b.suspects.tally[stateWaiting]-b.maxWaitingSuspects)
	require.LessOrEqual(b.t, b.sound.tally[stateWaiting]+excess, b.maxWaiting+len(b.dests)*2*b.perDestination)
	require.Equal(b.t, suspected, b.suspectCount)
	require.Equal(b.t, b.arrived, len(b.active)+waiting+len(b.ended))
}
