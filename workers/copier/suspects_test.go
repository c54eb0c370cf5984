package copier

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestFailingDestinationsTakeNothingFromOthers(t *testing.T) {
	b := newBench(t, func(l *limits) { l.breakTransient, l.maxWaitingSuspects = 100, 100 })
	for i := range 2 * 10 {
		b.finish(b.arrive(fmt.Sprint("bad", i%10)), timeout)
	}
	for range 2 {
		for i := range 10 {
			b.arrive(fmt.Sprint("bad", i))
		}
	}
	require.Len(t, b.active, 2, "want half as many slots as sound destinations")
	for i := range 4 {
		b.arrive(fmt.Sprint("good", i))
		require.Equal(t, 1, b.activeOf(fmt.Sprint("good", i)))
	}
}

// Destinations that are slow or hang occupy one slot each, only until that is noticed.
func TestSlowDestinationsTakeNothingFromOthers(t *testing.T) {
	b := newBench(t, func(l *limits) { l.maxWaiting, l.maxWaitingSuspects = 100, 100 })
	var slow []*task
	for i := range 4 {
		for range 3 {
			b.arrive(fmt.Sprint("slow", i))
		}
		slow = append(slow, b.active[i])
	}
	require.Len(t, b.active, 4, "want one copy of each")
	good := b.arrive("good")
	require.NotContains(t, b.active, good)
	for range 2 { // idle may be called more than once
		b.apply(b.onIdle(slow[0]))
	}
	require.Contains(t, b.active, good, "an idle copy keeps its slot")
	b.arrive("other")
	require.Len(t, b.active, 5)
	for _, s := range slow {
		b.apply(b.onIdle(s))
		b.apply(b.onLate(s, b.now))
		b.apply(b.onLate(s, b.now))
	}
	require.Equal(t, []string{"slow0", "slow1", "slow2", "slow3"}, b.slow)
	require.Len(t, b.active, 4+2, "more suspects' copies than their share")
	for i := range 10 {
		b.arrive(fmt.Sprint("good", i))
	}
	require.Len(t, b.active, 4+4)
	for i := range 20 {
		b.apply(b.onIdle(b.active[i%len(b.active)]))
	}
	require.Len(t, b.active, 3*4, "want the overall limit")
	b.finish(slow[0], ok)
	require.Len(t, b.active, 3*4, "the free slot was not used")
	b.apply(b.onLate(slow[0], b.now)) // a timer that fired late
	b.apply(b.onIdle(slow[0]))
	b.checkInvariants()
}

// When suspects have more copies than their share, copies in which nothing moves are ended. Copies
// that move are not, nor those that were started as suspects'.
func TestHangingSuspectsAreEndedToMakeRoom(t *testing.T) {
	b := newBench(t, nil)
	for i := range 40 {
		b.arrive(fmt.Sprint("slow", i))
	}
	first := b.active[:4:4]
	for _, s := range first {
		b.hang(s)
		require.False(t, b.hasEnded(s), "ended within the suspects' share")
	}
	moving := b.active[len(b.active)-1]
	b.apply(b.onLate(moving, b.now))
	require.False(t, b.hasEnded(moving))
	for range 12 {
		next := b.active[len(b.active)-1]
		b.hang(next)
		require.Equal(t, stateWaiting, next.state, "it has to take its turn again")
		require.Len(t, b.active, 4+1+4, "the free slot was not used")
		b.checkInvariants()
	}
	require.Subset(t, b.active, first)
	stored := b.active[len(b.active)-1]
	b.apply(b.onStored(stored, b.now))
	b.hang(stored)
	require.False(t, b.hasEnded(stored))
	for _, s := range append(first, moving) {
		b.finish(s, ok)
	}
	var again []*task
	for _, a := range b.active {
		if a.startedAsSuspect {
			again = append(again, a)
		}
	}
	require.Len(t, again, 2, "want the suspects' slots taken by those that were ended")
	for _, a := range again {
		b.hang(a)
		require.True(t, a.sending(), "ended twice")
	}
	b.checkInvariants()
}

// What is ended to make room is no longer the business of the try that was ended, waits for a minute
// if there is no room for it, and is not tried while the breaker is open.
func TestEndedToMakeRoom(t *testing.T) {
	start := func(t *testing.T) (*bench, *task) {
		b := newBench(t, func(l *limits) { l.perDestination, l.maxWaiting = 1, 0 })
		for i := range 5 {
			b.arrive(fmt.Sprint("slow", i))
			b.hang(b.active[i])
		}
		last := b.arrive("last")
		return b, last
	}
	t.Run("no_room", func(t *testing.T) {
		b, last := start(t)
		for range 2 {
			b.arrive("last")
		}
		b.hang(last)
		require.Equal(t, "made_room", b.ended[last].why)
		require.Zero(t, b.ended[last].job.Attempt, "making room counted as an attempt")
	})
	t.Run("breaker_is_open", func(t *testing.T) {
		b, last := start(t)
		b.dests["last"].cooldown = time.Second
		b.hang(last)
		require.Equal(t, "made_room", b.ended[last].why)
	})
}

// A copy whose receipt is being written delays nobody, however long staging takes.
func TestStoredCopyTakesNoSlot(t *testing.T) {
	b := newBench(t, func(l *limits) { l.perDestination, l.maxWaiting = 1, 100 })
	first := b.arrive("a")
	b.arrive("a")
	require.Len(t, b.active, 1)
	b.apply(b.onIdle(first))
	require.Len(t, b.active, 1, "an idle copy no longer counts for its destination")
	for range 2 {
		b.apply(b.onStored(first, b.now))
	}
	require.Len(t, b.active, 2)
	b.checkInvariants()
	for i := range 20 {
		b.arrive(fmt.Sprint("other", i))
	}
	require.Len(t, b.active, 1+4)
	for i := 1; i < len(b.active); i++ {
		b.apply(b.onStored(b.active[i], b.now))
		b.apply(b.onIdle(b.active[i])) // a timer that fired late
		b.apply(b.onLate(b.active[i], b.now))
		b.checkInvariants()
	}
	require.Len(t, b.active, 2*4+3, "started although too many receipts are awaited")
	require.Empty(t, b.slow)
	for range 4 {
		b.finish(b.active[0], ok)
	}
	require.Len(t, b.active, 2*4-1+4, "the free slots were not used")
	b.checkInvariants()
}

// A destination has delivered when it has the object, not when the receipt is written, which may
// take long.
func TestADestinationDeliversBeforeItsReceipts(t *testing.T) {
	t.Run("it_is_known_to_work", func(t *testing.T) {
		b := newBench(t, nil)
		first := b.arrive("a")
		for range 3 {
			b.arrive("a")
		}
		b.apply(b.onStored(first, b.now))
		require.Equal(t, 1+2, b.activeOf("a"), "want perDestination copies")
	})
	t.Run("later_failures_are_newer", func(t *testing.T) {
		b := newBench(t, func(l *limits) { l.perDestination = 3 })
		first := b.proveWorking("a")
		var others []*task
		for range 3 {
			others = append(others, b.arrive("a"))
		}
		b.apply(b.onStored(first, b.now))
		for _, other := range others {
			b.finish(other, timeout)
		}
		require.True(t, b.broken["a"])
		b.finish(first, ok)
		require.True(t, b.broken["a"], "an older delivery closed the breaker")
		require.Equal(t, &b.suspects, b.dests["a"].pool)
	})
	t.Run("a_suspect_goes_next_again", func(t *testing.T) {
		b := newBench(t, func(l *limits) { l.maxWaitingSuspects = 100 })
		suspects := []string{"a", "b", "c", "d"}
		for i := range 2 * len(suspects) {
			b.finish(b.arrive(suspects[i/2]), timeout)
		}
		for i := range 2 * len(suspects) {
			b.arrive(suspects[i/2])
		}
		require.Len(t, b.active, 2)
		b.apply(b.onStored(b.active[0], b.now))
		require.Equal(t, 2, b.activeOf("a"))
		require.Zero(t, b.activeOf("c"))
		b.checkInvariants()
	})
	t.Run("a_late_delivery_proves_nothing", func(t *testing.T) {
		b := newBench(t, nil)
		hangs := b.proveWorking("a")
		b.apply(b.onLate(hangs, b.now))
		for range deliveriesToBecomeSound {
			next := b.arrive("a")
			b.apply(b.onStored(next, b.now))
		}
		require.Equal(t, &b.suspects, b.dests["a"].pool, "sound although one copy hangs")
		b.apply(b.onStored(hangs, b.now))
		require.Equal(t, &b.suspects, b.dests["a"].pool, "sound after a late delivery")
		b.apply(b.onStored(b.arrive("a"), b.now))
		require.Equal(t, &b.sound, b.dests["a"].pool)
		for len(b.active) > 0 {
			b.finish(b.active[0], ok)
		}
		require.Empty(t, b.dests)
	})
}

func TestSlowDestinationBecomesSoundAgain(t *testing.T) {
	b := newBench(t, func(l *limits) { l.perDestination = 3 })
	hangs, other := b.proveWorking("a"), b.arrive("a")
	b.apply(b.onLate(hangs, b.now))
	require.Equal(t, &b.suspects, b.dests["a"].pool)
	for range deliveriesToBecomeSound {
		next := b.arrive("a")
		b.finish(other, ok)
		other = next
	}
	require.Equal(t, &b.suspects, b.dests["a"].pool, "sound although one copy hangs")
	b.finish(hangs, ok)
	require.Equal(t, &b.suspects, b.dests["a"].pool, "sound after a late delivery")
	b.finish(other, ok)
	require.Empty(t, b.dests)
	require.Zero(t, b.suspectCount)
}

// One failure does not make a suspect, but it is remembered until the next delivery, so that the
// second in a row is noticed however much later it comes.
func TestTheSecondFailureInARowMakesASuspect(t *testing.T) {
	b := newBench(t, nil)
	next := b.proveWorking("a")
	for range 3 {
		b.finish(next, timeout)
		require.Zero(t, b.suspectCount)
		b.finish(b.arrive("a"), ok)
		require.Empty(t, b.dests)
		next = b.arrive("a")
	}
	b.finish(next, timeout)
	require.Contains(t, b.dests, "a", "forgotten after a failure")
	b.finish(b.arrive("a"), timeout)
	require.Equal(t, 1, b.suspectCount)
}

// A suspect that works again goes next among the suspects, until it is sound.
func TestRecoveringSuspectGoesFirst(t *testing.T) {
	b := newBench(t, func(l *limits) { l.breakTransient, l.maxWaitingSuspects = 100, 100 })
	suspect := func(dest string) {
		for range 2 {
			b.finish(b.arrive(dest), timeout)
		}
	}
	suspect("a")
	for i := range 10 {
		suspect(fmt.Sprint("hangs", i))
	}
	hangs := []*task{b.arrive("hangs0"), b.arrive("hangs1")} // they take all slots
	tasks := []*task{b.arrive("a")}
	for i := range 10 {
		b.arrive(fmt.Sprint("hangs", i))
	}
	for range deliveriesToBecomeSound {
		tasks = append(tasks, b.arrive("a"))
	}
	b.finish(hangs[0], timeout)
	for n, next := range tasks[:deliveriesToBecomeSound] {
		require.Equal(t, next, b.active[len(b.active)-1], "delivered %d", n)
		b.finish(next, ok)
	}
	require.Nil(t, b.dests["a"].pool.turns.Front())
	require.Equal(t, &b.sound, b.dests["a"].pool)
}

// Suspects use no more room than their share, and no job waits for a suspect's turn for longer than
// in a retry tier, because it holds back the offsets after it.
func TestSuspectBacklogIsBounded(t *testing.T) {
	b := newBench(t, func(l *limits) { l.maxWaiting, l.maxWaitingSuspects, l.perDestination = 100, 10, 1 })
	for range 40 {
		b.arrive("a")
		b.arrive("b")
	}
	require.Greater(t, b.sound.tally[stateWaiting], 40)
	backlog := b.sound.tally[stateWaiting]
	b.apply(b.onLate(b.active[0], b.now))
	b.apply(b.onLate(b.active[1], b.now))
	require.Zero(t, b.sound.tally[stateWaiting])
	for range 40 {
		b.arrive("d")
		b.arrive("e")
	}
	b.checkInvariants()
	require.Equal(t, backlog, b.suspects.tally[stateWaiting], "they were late only once so far")
	require.Less(t, b.sound.tally[stateWaiting], backlog, "two backlogs in the same room")
	b.now = b.now.Add(time.Minute)
	for _, dest := range []string{"b", "a"} {
		overflow := b.arrive(dest)
		require.Equal(t, "queue_full", b.ended[overflow].why)
		require.Zero(t, b.ended[overflow].job.Attempt)
	}
	require.Equal(t, 10, b.suspects.tally[stateWaiting])

	b.finish(b.active[0], ok) // now the next copy to a hangs
	b.now = b.now.Add(time.Minute)
	b.arrive("c")
	require.Equal(t, 9, b.suspects.tally[stateWaiting], "tasks that wait for their own destination were requeued")
	b.finish(b.active[0], ok)
	b.now = b.now.Add(time.Second)
	b.arrive("c")
	for _, d := range b.dests {
		if d.pool == &b.suspects && d.turn != nil {
			require.Empty(t, d.waiting)
		}
	}
}
