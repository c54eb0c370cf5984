package copier

import (
	"time"

	"github.com/sealift/sealift/pkg/delivery"
)

// task is a job in this process.
type task struct {
	job    delivery.Job
	claims []claim // where the job came from; acknowledged when it is over

	arrivedAt time.Time // when it began to wait
	state     taskState // changed only by destState.setState

	// About its try:
	startedAsSuspect bool // its destination was a suspect when it started
	late             bool // it takes longer than it should
	toldToYield      bool // it was told to end to make room

	yield chan struct{} // closed when it must yield; each try has its own
}

// sending reports whether its object is not stored yet.
func (t *task) sending() bool { return t.state == stateMoving || t.state == stateIdle }

// taskState is how far a task has got. Running tasks are moving, idle or stored.
type taskState uint8

const (
	stateGone    taskState = iota // not with the scheduler: not arrived yet, or finished
	stateWaiting                  // for its destination's turn
	stateMoving                   // being copied
	stateIdle                     // being copied, but nothing has moved for a moment
	stateStored                   // its object is at the destination
	numStates                     // the number of states
)

// tally counts tasks by their state. All tasks come from stateGone, so its count is negative and
// the sum of all counts is zero.
type tally [numStates]int

// count notes that a task changed from one state to another.
func (n *tally) count(from, to taskState) {
	n[from]--
	n[to]++
}

// add adds another tally, or subtracts it if sign is -1.
func (n *tally) add(other tally, sign int) {
	for s := range n {
		n[s] += sign * other[s]
	}
}

// sending counts the tasks whose object is not stored yet.
func (n *tally) sending() int { return n[stateMoving] + n[stateIdle] }

func (n *tally) running() int { return n.sending() + n[stateStored] }
