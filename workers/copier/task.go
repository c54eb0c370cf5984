package copier

import (
	"time"

	"github.com/sealift/sealift/pkg/delivery"
)

// task is a job in this process.
type task struct {
	job    delivery.Job
	claims []claim // who is to be told when it is over

	since time.Time // when it arrived
	state state     // changed by its standing alone

	// Of its try:
	suspect bool // its destination was a suspect when it started
	late    bool // it takes longer than it should
	yields  bool // it was ended to make room

	room chan struct{} // closed when it yields
}

// sending reports whether its object is still to be stored.
func (t *task) sending() bool { return t.state == stateMoving || t.state == stateIdle }

// state is how far a task is. Those that run are moving, idle or stored.
type state uint8

const (
	stateGone    state = iota // it is not here: still to arrive, or over
	stateWaiting              // for its destination's turn
	stateMoving               // it is copied
	stateIdle                 // it is copied, but nothing moved for a moment
	stateStored               // its object is at the destination
	states                    // how many there are
)

// tally counts tasks by their state. As all come out of stateGone, its count is
// below zero, and all counts add up to zero.
type tally [states]int

// count notes that a task went from one state into another.
func (n *tally) count(from, to state) {
	n[from]--
	n[to]++
}

// add adds the other tally; with a sign of -1 it takes it away.
func (n *tally) add(other tally, sign int) {
	for s := range n {
		n[s] += sign * other[s]
	}
}

// sending is how many have their object still to store.
func (n *tally) sending() int { return n[stateMoving] + n[stateIdle] }

func (n *tally) running() int { return n.sending() + n[stateStored] }
