package simulation

import (
	"fmt"
	"hash/fnv"
	"io"
	"slices"
	"sync"
	"testing/synctest"
	"time"
)

// world is one run: everything that the roles rely on, and the scheduler. Except for arrived it
// belongs to the scheduler, which touches it only while every other goroutine of the bubble is
// blocked.
type world struct {
	scenario
	plan      plan
	dir       string // for local disks
	step      int
	begun     time.Time
	calm      bool // there are no more faults, and everything settles
	calmSince time.Time

	mu      sync.Mutex // guards arrived, and what actors read about themselves
	arrived []*op
	// intercepted, if set, receives requests in place of the scheduler.
	intercepted chan *op

	waiting  []*op // in order of arrival
	orders   int
	later    []alarm
	actors   []*actor
	kafka    *kafka
	staging  *bucket
	buckets  map[string]*bucket
	redis    *redis
	customer *customers
	workload *workload
	judge    *judge
	stats    stats

	hash  uint64
	trace *[]string // nil: not kept
	wrong error     // the first violation
}

// alarm is something that is due at some time.
type alarm struct {
	at    time.Time
	order int
	what  string
	run   func(d *dice)
}

// stats count what a run consisted of.
type stats struct {
	Records int
	Ops     int
	Faults  map[string]int
	// States are the distinct states of ledger, receipts and requests in flight.
	States map[uint64]struct{}
}

// note writes a line of the trace.
func (w *world) note(format string, args ...any) {
	line := fmt.Sprintf("%6d %9.3fs  ", w.step, time.Since(w.begun).Seconds()) + fmt.Sprintf(format, args...)
	h := fnv.New64a()
	_, _ = io.WriteString(h, line)
	w.hash = mix(w.hash ^ h.Sum64())
	if w.trace != nil {
		*w.trace = append(*w.trace, line)
	}
}

// fault counts and notes a fault.
func (w *world) fault(kind, format string, args ...any) {
	w.stats.Faults[kind]++
	w.note("! "+kind+" "+format, args...)
}

// violated notes that something is wrong; the first violation counts.
func (w *world) violated(format string, args ...any) {
	if w.wrong == nil {
		w.wrong = fmt.Errorf(format, args...)
		w.note("VIOLATION %v", w.wrong)
	}
}

// schedule makes something happen some time from now.
func (w *world) schedule(d time.Duration, what string, run func(d *dice)) {
	w.orders++
	w.later = append(w.later, alarm{at: time.Now().Add(d), order: w.orders, what: what, run: run})
}

// run runs the world until everything has settled or something is wrong.
func (w *world) run() error {
	w.begun = time.Now()
	w.start()
	for w.wrong == nil {
		// No two steps at the same instant: if two timers set at different steps ended together,
		// the seed would not decide which is seen first. A prime, so that steps do not add up to
		// somebody's timeout.
		w.advance(1009)
		synctest.Wait()
		w.admit()
		if w.isOver() {
			break
		}
		d := w.plan.at(w.step)
		if w.step++; w.step%50 == 0 && !w.promisesOnly {
			w.judge.status()
		}
		if !w.runDue(d) { // otherwise everything has to come to rest first
			w.doOne(d)
		}
	}
	if w.wrong == nil {
		w.judge.final()
		w.judge.status()
	}
	w.end()
	return w.wrong
}

// admit queues what has arrived since the last step, in an order that does not depend on which
// goroutine was faster.
func (w *world) admit() {
	w.mu.Lock()
	arrived := w.arrived
	w.arrived = nil
	w.waiting = slices.DeleteFunc(w.waiting, func(o *op) bool { return o.gone && o.lateEffect == nil })
	w.mu.Unlock()
	slices.SortStableFunc(arrived, (*op).compare)
	for _, o := range arrived {
		w.orders++
		o.order = w.orders
		w.waiting = append(w.waiting, o)
		w.judge.sent[o.kind]++
	}
}

// runDue carries out what is due by the clock, and says whether anything was.
func (w *world) runDue(d *dice) (some bool) {
	some = w.workload.runDue()
	for now := time.Now(); ; some = true {
		i := -1
		for j, a := range w.later {
			if !a.at.After(now) && (i < 0 || a.at.Before(w.later[i].at) || a.at.Equal(w.later[i].at) && a.order < w.later[i].order) {
				i = j
			}
		}
		if i < 0 {
			return some
		}
		a := w.later[i]
		w.later = slices.Delete(w.later, i, i+1)
		if a.what != "" {
			w.note("* %s", a.what)
		}
		a.run(d)
	}
}

// doOne makes one thing happen: something breaks, time passes, or a request is carried out.
func (w *world) doOne(d *dice) {
	if !w.calm && d.permille(w.faultRate) && w.breakSomething(d) {
		return
	}
	if w.kafka.rebalanceDue(d) {
		return
	}
	var ready []*op
	for _, o := range w.waiting {
		if o.eligible() {
			ready = append(ready, o)
		}
	}
	if len(ready) == 0 || d.permille(w.timeRate) {
		w.sleep(d, len(ready) == 0)
		return
	}
	// One of the oldest, so that nothing waits forever.
	o := ready[d.n(min(len(ready), 8))]
	w.waiting = slices.Delete(w.waiting, slices.Index(w.waiting, o), slices.Index(w.waiting, o)+1)
	w.carryOut(o, d)
}

// sleep lets time pass, in small steps while requests wait.
func (w *world) sleep(d *dice, idle bool) {
	ms := pick(d, 200, 10, 50, 1000, 3000)
	if !idle {
		ms = pick(d, 10, 50, 200, 1000, 5000, 20_000)
	}
	w.advance(time.Duration(ms) * time.Millisecond)
}

// advance lets the actors' time pass. From here on they see what the scheduler did before; the lock
// tells the race detector so.
func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	w.mu.Unlock() //nolint:staticcheck // see above
	time.Sleep(d)
}

func (w *world) carryOut(o *op, d *dice) {
	w.stats.Ops++
	w.stats.States[w.fingerprint()] = struct{}{}
	if o.gone {
		// Its actor gave up or died while the request was under way.
		if d.n(2) == 0 {
			w.note("%v -> never arrives", o)
			return
		}
		w.fault("ghost", "%v -> arrives after all", o)
		o.lateEffect()
		return
	}
	out := well
	if rate := w.faultRateOf(o); rate > 0 && len(o.ways) > 0 && d.permille(rate) {
		out = o.ways[d.n(len(o.ways))]
		w.stats.Faults[o.kind+" "+string(out)]++
	}
	// The seed does not decide which of two goroutines that want to know the same asks first, so
	// they are answered together.
	for _, o := range append([]*op{o}, w.takeIdentical(o)...) {
		if out == hangs {
			o.hung = true
			w.waiting = append(w.waiting, o)
		} else {
			o.run(out)
			close(o.reply)
		}
		w.note("%v -> %s%s", o, out, errText(o.err))
	}
}

// isWaitingFor says whether the actor waits for a request of that kind.
func (w *world) isWaitingFor(a *actor, kind string) bool {
	return slices.ContainsFunc(w.waiting, func(o *op) bool { return o.actor == a && o.kind == kind && !o.gone })
}

// takeIdentical removes and returns the queries that are identical to o, if o is a query.
func (w *world) takeIdentical(o *op) (others []*op) {
	if o.lateEffect != nil || o.actor == nil {
		return nil
	}
	w.waiting = slices.DeleteFunc(w.waiting, func(p *op) bool {
		is := p.compare(o) == 0 && p.eligible() && !p.gone
		if is {
			others = append(others, p)
		}
		return is
	})
	return others
}

// fingerprint is a hash of the state as the protocol sees it: how far each chain, the receipts and
// the groups are, and who waits for what.
func (w *world) fingerprint() uint64 {
	h := uint64(w.judge.receipts)
	for p := range w.kafka.topics[eventsTopic] {
		if c := w.judge.chains[p]; c != nil {
			h = mix(h ^ uint64(c.head)<<32 ^ uint64(c.low))
		}
	}
	waits := uint64(0)
	for _, o := range w.waiting {
		k := uint64(len(o.kind)) << 8
		for i := range len(o.kind) {
			k = k*31 + uint64(o.kind[i])
		}
		if o.actor != nil {
			k += uint64(o.actor.number) << 48
			if o.actor.paused {
				k++
			}
		}
		waits += mix(k) // regardless of order
	}
	return mix(h ^ waits)
}

func errText(err error) string {
	if err == nil {
		return " ok"
	}
	s := err.Error()
	return " (" + s[:min(len(s), 90)] + ")"
}

// scheduleGhost makes something happen at some time, or never.
func (w *world) scheduleGhost(what string, late func()) {
	w.orders++
	w.waiting = append(w.waiting, &op{kind: "ghost", key: what, gone: true, lateEffect: late, order: w.orders, arrivedAt: time.Now()})
}
