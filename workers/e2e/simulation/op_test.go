package simulation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"
)

// op is a request of an actor that waits to be carried out, or something that will happen at some
// time and waits for its moment.
type op struct {
	actor *actor // nil: it belongs to no actor
	kind  string
	key   string
	// ready says whether it can be carried out now; nil: always.
	ready func() bool
	// ways are the ways in which it may go wrong.
	ways []way
	// run carries it out. Only the scheduler calls it, while everything else stands still. It
	// leaves what the actor is to see in err, and in variables that the actor reads after do has
	// returned nil or err.
	run func(way)
	// lateEffect is what may still happen after the actor gave up waiting; may be nil.
	lateEffect func()
	err        error

	order     int // order of arrival
	arrivedAt time.Time
	reply     chan struct{}
	gone      bool // the actor no longer waits
	hung      bool // it is never answered
}

// way is how a request ends.
type way string

const (
	well    way = ""       // as requested
	refused way = "503"    // it did not happen
	failing way = "503+"   // it happened, but the answer says that it did not
	cut     way = "cut"    // it did not happen, and there is no answer
	lost    way = "cut+"   // it happened, and there is no answer
	clash   way = "409"    // it did not happen, because another request is in flight
	ghost   way = "ghost"  // there is no answer, and it happens later
	twice   way = "twice"  // it happens, and happens again later
	partly  way = "partly" // part of it happens, and there is no answer
	hangs   way = "hangs"  // there never is an answer
	denied  way = "403"    // it did not happen
	torn    way = "torn"   // the answer breaks off
	stale   way = "stale"  // the answer is out of date
)

// effective says whether the request takes effect at once.
func (w way) effective() bool { return w == well || w == failing || w == lost || w == twice }

var (
	errDead = errors.New("the process is dead")
	errCut  = errors.New("connection reset")
)

// do waits until the scheduler has carried o out and returns its error, or that of the actor's
// death or of ctx.
func (w *world) do(ctx context.Context, o *op) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	o.reply, o.arrivedAt = make(chan struct{}), time.Now()
	if !w.arrive(o) {
		return errDead
	}
	select {
	case <-o.reply:
		return o.err
	case <-o.actor.died:
		return errDead
	case <-ctx.Done():
		w.mu.Lock()
		defer w.mu.Unlock()
		o.gone = true
		return ctx.Err()
	}
}

// arrive queues o; it returns false if its actor is dead.
func (w *world) arrive(o *op) bool {
	if w.intercepted != nil {
		w.intercepted <- o
		return true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if o.actor != nil && o.actor.dead {
		return false
	}
	w.arrived = append(w.arrived, o)
	return true
}

// compare orders ops that arrived in the same step by what they are.
func (o *op) compare(p *op) int {
	return cmp.Or(cmp.Compare(o.actorName(), p.actorName()), cmp.Compare(o.kind, p.kind), cmp.Compare(o.key, p.key))
}

func (o *op) actorName() string {
	if o.actor == nil {
		return ""
	}
	return o.actor.name
}

func (o *op) String() string { return fmt.Sprintf("%-12s %s %s", o.actorName(), o.kind, o.key) }

// eligible says whether the op may be carried out now.
func (o *op) eligible() bool {
	if o.gone {
		return o.lateEffect != nil
	}
	if o.hung || o.actor != nil && o.actor.paused {
		return false
	}
	return o.ready == nil || o.ready()
}
