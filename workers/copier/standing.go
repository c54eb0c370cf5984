package copier

import (
	"container/list"
	"time"

	"github.com/sealift/sealift/pkg/destination"
)

// regained is how many deliveries in time, without a failure or a late one in
// between, end the suspicion against a destination.
const regained = 4

// pool is what destinations of one standing share.
type pool struct {
	slots int  // copies at once that do something
	most  int  // copies at once, with those at which nothing moves; and as many that are stored
	least int  // jobs that may wait for a destination, whatever waits for others
	room  int  // jobs that may wait beyond that
	eager bool // who delivered in time is next again, to be out of it soon

	tally           // of all its destinations; one that moves here may bring more copies than most
	turns list.List // of *standing: those that may start a task, in the order of their turns
}

// free reports whether the pool may start a copy.
func (p *pool) free() bool {
	return p.sending() < p.most && p.tally[stateMoving] < p.slots && p.tally[stateStored] < p.most
}

// admits reports whether one more job may wait for d. A backlog may fill half of
// the room that is left.
func (p *pool) admits(d *standing) bool {
	return len(d.waiting) < max(p.least, (p.room-p.tally[stateWaiting]+1)/2)
}

// standing is what is known of a destination.
type standing struct {
	id      string
	pool    *pool
	turn    *list.Element // its place in the pool's turns; nil: none
	tally                 // of its tasks
	late    int           // of those that run
	waiting []*task       // in the order of their arrival

	works    bool // it took an object, and has not failed since
	good     int  // deliveries in time, one after another
	failures int  // consecutive

	openUntil time.Time           // breaker: until then nothing is tried
	cooldown  time.Duration       // zero: closed
	probing   bool                // a single try is under way to see whether it works again
	last      destination.Verdict // of the last failure
}

// enlist lets it wait for a turn if it may use one, and no longer if it may
// not. One that is not known to work is tried with one copy at a time: if it
// hangs it takes one slot along, not several.
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

// shift takes out what has waited longest, to go into another state.
func (d *standing) shift(to state) *task {
	t := d.waiting[0]
	d.waiting = d.waiting[1:]
	d.change(t, to)
	return t
}

// pop takes out what came last.
func (d *standing) pop() *task {
	last := len(d.waiting) - 1
	t := d.waiting[last]
	d.waiting = d.waiting[:last]
	d.change(t, stateGone)
	return t
}

// empty takes out all that waits.
func (d *standing) empty() []*task {
	d.delist()
	waiting := d.waiting
	d.waiting = nil
	for _, t := range waiting {
		d.change(t, stateGone)
	}
	return waiting
}
