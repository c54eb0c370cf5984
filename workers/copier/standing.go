package copier

import (
	"container/list"
	"time"

	"github.com/sealift/sealift/pkg/destination"
)

// regained is how many deliveries in time, without a failure or a late one in between, make a
// suspect sound again.
const regained = 4

// pool is what the destinations of one standing (sound or suspect) share.
type pool struct {
	slots  int  // active copies at once
	most   int  // copies at once, including those in which nothing moves
	stored int  // copies whose receipt is awaited
	least  int  // jobs that may always wait for a destination
	room   int  // jobs that may wait besides those, see admits
	eager  bool // a destination that has delivered in time goes next again, to leave the pool soon

	tally           // of all its destinations; one that is moved here may bring more copies than most
	turns list.List // of *standing that may start a task, in the order of their turns
}

// free reports whether the pool may start a copy.
func (p *pool) free() bool {
	return p.sending() < p.most && p.tally[stateMoving] < p.slots && p.tally[stateStored] < p.stored
}

// admits reports whether one more job may wait for d. A destination's backlog may fill half of the
// room that is left.
func (p *pool) admits(d *standing) bool {
	return len(d.waiting) < max(p.least, (p.room-p.tally[stateWaiting]+1)/2)
}

// standing is what is known about a destination.
type standing struct {
	id      string
	pool    *pool
	turn    *list.Element // its place in the pool's turns; nil: none
	tally                 // of its tasks
	late    int           // how many of its running tasks are late
	waiting []*task       // in order of arrival

	works    bool // it accepted an object and has not failed since
	good     int  // consecutive deliveries in time
	failures int  // consecutive

	openUntil time.Time           // nothing is tried before, while the breaker is open
	cooldown  time.Duration       // zero: the breaker is closed
	probing   bool                // a single try is under way to find out whether it works again
	last      destination.Verdict // of the last failure
}

// enlist puts the destination in the queue of turns if it may start a task, and removes it
// otherwise. A destination that is not known to work is tried with one copy at a time: if it hangs,
// it occupies one slot, not several.
func (d *standing) enlist(most int) {
	if !d.works {
		most = 1
	}
	switch may := len(d.waiting) > 0 && d.sending() < most; {
	case !may:
		d.delist()
	case d.turn != nil:
	case d.pool.eager && d.good > 0 && d.late == 0:
		d.turn = d.pool.turns.PushFront(d)
	default:
		d.turn = d.pool.turns.PushBack(d)
	}
}

func (d *standing) delist() {
	if d.turn != nil {
		d.pool.turns.Remove(d.turn)
		d.turn = nil
	}
}

// change puts a task into another state.
//
// Invariant: a pool's tally is the sum of those of its destinations.
func (d *standing) change(t *task, to state) {
	d.tally.count(t.state, to)
	d.pool.tally.count(t.state, to)
	t.state = to
}

// shift removes the task that has waited longest and puts it into another state.
func (d *standing) shift(to state) *task {
	t := d.waiting[0]
	d.waiting = d.waiting[1:]
	d.change(t, to)
	return t
}

// pop removes the task that arrived last.
func (d *standing) pop() *task {
	last := len(d.waiting) - 1
	t := d.waiting[last]
	d.waiting = d.waiting[:last]
	d.change(t, stateGone)
	return t
}

// empty removes all waiting tasks.
func (d *standing) empty() []*task {
	d.delist()
	waiting := d.waiting
	d.waiting = nil
	for _, t := range waiting {
		d.change(t, stateGone)
	}
	return waiting
}
