package copier

import (
	"cmp"
	"container/list"
	"slices"
	"time"

	"github.com/sealift/sealift/pkg/destination"
)

// deliveriesToBecomeSound is how many deliveries in time, without a failure or a late one in
// between, make a suspect sound again.
const deliveriesToBecomeSound = 4

// pool is what the destinations of one standing (sound or suspect) share.
type pool struct {
	slots            int  // active copies at once
	maxSending       int  // copies at once, including those in which nothing moves
	maxStored        int  // copies whose receipt is awaited
	preferRecovering bool // a destination that has delivered in time goes next again, to leave the pool soon

	tally           // of all its destinations; one that is moved here may bring more copies than most
	turns list.List // of *destState that may start a task, in the order of their turns
}

// hasFreeSlot reports whether the pool may start a copy.
func (p *pool) hasFreeSlot() bool {
	return p.sending() < p.maxSending && p.tally[stateMoving] < p.slots && p.tally[stateStored] < p.maxStored
}

// destState is what is known about a destination.
type destState struct {
	id        string
	pool      *pool
	turn      *list.Element // its place in the pool's turns; nil: none
	tally                   // of its tasks
	lateTasks int           // how many of the tasks that are sending to it are late
	waiting   []*task       // in the order of compareTurns

	provenToWork bool      // it accepted an object and has not failed since
	onTime       int       // consecutive deliveries in time
	failures     int       // consecutive
	suspectSince time.Time // when it became a suspect; only for suspects

	openUntil   time.Time           // nothing is tried before, while the breaker is open
	cooldown    time.Duration       // zero: the breaker is closed
	probing     bool                // a single try is under way to find out whether it works again
	lastFailure destination.Verdict // of the last failure
}

// updateTurn puts the destination in the queue of turns if it may start a task, and removes it
// otherwise. A destination that is not known to work is tried with one copy at a time: if it hangs,
// it occupies one slot, not several.
func (d *destState) updateTurn(limit int) {
	if !d.provenToWork {
		limit = 1
	}
	switch mayStart := len(d.waiting) > 0 && d.sending() < limit; {
	case !mayStart:
		d.dropTurn()
	case d.turn != nil:
	case d.pool.preferRecovering && d.onTime > 0 && d.lateTasks == 0:
		d.turn = d.pool.turns.PushFront(d)
	default:
		d.turn = d.pool.turns.PushBack(d)
	}
}

func (d *destState) dropTurn() {
	if d.turn != nil {
		d.pool.turns.Remove(d.turn)
		d.turn = nil
	}
}

// addWaiting adds a task to those that wait.
func (d *destState) addWaiting(t *task, now time.Time) {
	t.arrivedAt = now
	i, _ := slices.BinarySearchFunc(d.waiting, t, compareTurns)
	d.waiting = slices.Insert(d.waiting, i, t)
	d.setState(t, stateWaiting)
}

// arrivalPeriod is the length of the periods within which the order of arrival does not matter.
const arrivalPeriod = 5 * time.Second

// compareTurns says which of a destination's tasks comes first. Those that arrive in the same period
// are taken in the order of their files. The jobs of an entry come from several partitions, and when
// there are many, from one partition after the other. In the order of arrival, each stretch of a
// pack would be needed again for every partition, and by then it would be forgotten.
func compareTurns(a, b *task) int {
	f, g := &a.job.File, &b.job.File
	return cmp.Or(a.arrivedAt.Truncate(arrivalPeriod).Compare(b.arrivedAt.Truncate(arrivalPeriod)),
		cmp.Compare(f.Topic, g.Topic), cmp.Compare(f.Incarnation, g.Incarnation), cmp.Compare(f.Partition, g.Partition),
		cmp.Compare(f.Seq, g.Seq), cmp.Compare(f.Index, g.Index))
}

// setState puts a task into another state.
//
// Invariant: a pool's tally is the sum of those of its destinations.
func (d *destState) setState(t *task, to taskState) {
	d.tally.count(t.state, to)
	d.pool.tally.count(t.state, to)
	t.state = to
}

// takeFirst removes the task whose turn it is and puts it into another state.
func (d *destState) takeFirst(to taskState) *task {
	t := d.waiting[0]
	d.waiting = d.waiting[1:]
	d.setState(t, to)
	return t
}

// takeLast removes the task whose turn is last.
func (d *destState) takeLast() *task {
	last := len(d.waiting) - 1
	t := d.waiting[last]
	d.waiting = d.waiting[:last]
	d.setState(t, stateGone)
	return t
}

// takeAll removes all waiting tasks.
func (d *destState) takeAll() []*task {
	d.dropTurn()
	waiting := d.waiting
	d.waiting = nil
	for _, t := range waiting {
		d.setState(t, stateGone)
	}
	return waiting
}
