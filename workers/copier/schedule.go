package copier

import (
	"time"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/destination"
)

// limits bound what runs and waits at once.
type limits struct {
	concurrency    int // copies at once
	perDestination int // copies at once to one destination
	queue          int // jobs waiting for one destination; more go to a retry tier

	breakTransient int           // consecutive transient failures that open a destination's breaker
	breakPermanent int           // the same for failures that look permanent
	cooldown       time.Duration // how long a breaker stays open at first; it doubles
	maxCooldown    time.Duration
}

// task is a job in this process.
type task struct {
	job    delivery.Job
	claims []claim // who is to be told when it is over
}

// outcome is how a try ended.
type outcome struct {
	kind    outcomeKind
	verdict destination.Verdict // of failed
}

type outcomeKind int

const (
	done    outcomeKind = iota // the destination has the object
	moot                       // nothing had to be sent: closed before, or never owed
	failed                     // see verdict
	busy                       // another copier has it, or took it over
	dropped                    // stopping, or the partition is not ours any more: nothing is acknowledged
)

// effect is what the scheduler wants done with a task.
type effect struct {
	kind effectKind
	task *task
	job  delivery.Job        // of requeue and park: as it goes on
	tier int                 // of requeue
	why  string              // of requeue: a metric label
	v    destination.Verdict // of park and opened
	dest string              // of opened and shut
}

type effectKind int

const (
	start   effectKind = iota // try it, then report the outcome with finished
	settle                    // it is over: acknowledge it
	forget                    // it is over: do not acknowledge it
	requeue                   // enqueue job into a retry tier, then acknowledge
	park                      // store job as parked, then acknowledge
	opened                    // news: the destination's breaker opened
	shut                      // news: it closed again
)

// scheduler decides when each job is tried and what becomes of it. It is pure:
// its state changes only by arrived and finished, which return what is to be
// done. One destination can neither take all copies for itself, nor, when it
// fails, more than half of them together with all that fail.
type scheduler struct {
	limits
	retry    retryPolicy
	dests    map[string]*standing
	ring     []*standing // those with waiting tasks, in the order of their turns
	running  int
	suspects int // running copies to destinations whose last try failed
}

// standing is what is known of a destination. It is forgotten when idle and
// good.
type standing struct {
	id       string
	running  int
	waiting  []*task
	failures int // consecutive
	suspect  bool

	openUntil time.Time           // breaker: until then nothing is tried
	cooldown  time.Duration       // zero: closed
	probing   bool                // a single try is under way to see whether it works again
	last      destination.Verdict // of the last failure
}

func newScheduler(l limits, r retryPolicy) *scheduler {
	return &scheduler{limits: l, retry: r, dests: map[string]*standing{}}
}

// arrived takes in a new task.
func (s *scheduler) arrived(t *task, now time.Time) []effect {
	d := s.dests[t.job.Destination]
	if d == nil {
		d = &standing{id: t.job.Destination}
		s.dests[d.id] = d
	}
	switch {
	case d.cooldown > 0 && !d.probing && now.Before(d.openUntil):
		return []effect{s.deferred(d, t, now)}
	case len(d.waiting) >= s.queue:
		return []effect{{kind: requeue, task: t, job: s.retry.later(t.job, now), why: "queue_full"}}
	}
	if len(d.waiting) == 0 {
		s.ring = append(s.ring, d)
	}
	d.waiting = append(d.waiting, t)
	return s.next()
}

// finished takes in how a started task ended.
func (s *scheduler) finished(t *task, o outcome, now time.Time) []effect {
	d := s.dests[t.job.Destination]
	s.running--
	d.running--
	if d.suspect {
		s.suspects--
	}
	var out []effect
	switch o.kind {
	case done:
		out = append(out, effect{kind: settle, task: t})
		out = append(out, s.recovered(d)...)
	case moot:
		out = append(out, effect{kind: settle, task: t})
	case dropped:
		out = append(out, effect{kind: forget, task: t})
	case busy:
		out = append(out, effect{kind: requeue, task: t, job: s.retry.later(t.job, now), why: "busy"})
	case failed:
		out = append(out, s.again(t, o.verdict, "failed", now))
		if o.verdict.Scope == destination.OfDestination {
			out = append(out, s.broken(d, o.verdict, now)...)
		}
	}
	if d.running == 0 {
		d.probing = false
	}
	out = append(out, s.next()...)
	if d.running == 0 && len(d.waiting) == 0 && d.failures == 0 {
		delete(s.dests, d.id)
	}
	return out
}

// recovered closes the breaker.
func (s *scheduler) recovered(d *standing) (out []effect) {
	if d.cooldown > 0 {
		out = append(out, effect{kind: shut, dest: d.id})
	}
	s.mark(d, false)
	d.failures, d.cooldown, d.probing = 0, 0, false
	return out
}

// broken counts a failure and, if it was one too many, opens the breaker: what
// waits goes to the retry tiers so that nothing is held up behind it.
func (s *scheduler) broken(d *standing, v destination.Verdict, now time.Time) []effect {
	s.mark(d, true)
	d.failures++
	d.last = v
	limit := s.breakTransient
	if v.Class != destination.Transient {
		limit = s.breakPermanent
	}
	if d.failures < limit && !d.probing {
		return nil
	}
	var out []effect
	if d.cooldown == 0 {
		out = append(out, effect{kind: opened, dest: d.id, v: v})
	}
	if d.probing || d.cooldown == 0 { // not for those that were under way when it opened
		d.cooldown = min(max(2*d.cooldown, s.limits.cooldown), s.maxCooldown)
		d.openUntil = now.Add(d.cooldown)
	}
	d.probing = false
	for _, t := range d.waiting {
		out = append(out, s.deferred(d, t, now))
	}
	s.leave(d)
	return out
}

// mark changes whether the destination is under suspicion.
func (s *scheduler) mark(d *standing, suspect bool) {
	if d.suspect == suspect {
		return
	}
	d.suspect = suspect
	if suspect {
		s.suspects += d.running
	} else {
		s.suspects -= d.running
	}
}

// deferred treats a task as failed without a try: its destination is known
// not to work. It walks the tiers, and is parked only by age.
func (s *scheduler) deferred(d *standing, t *task, now time.Time) effect {
	v := d.last
	v.Class = destination.Transient
	return s.again(t, v, "breaker_open", now)
}

func (s *scheduler) again(t *task, v destination.Verdict, why string, now time.Time) effect {
	job, tier, parked := s.retry.failed(t.job, v, now)
	if parked {
		return effect{kind: park, task: t, job: job, v: v}
	}
	return effect{kind: requeue, task: t, job: job, tier: tier, why: why}
}

// next starts what may be started, each destination in its turn.
func (s *scheduler) next() []effect {
	var out []effect
	for passed := 0; passed < len(s.ring) && s.running < s.concurrency; {
		d := s.ring[0]
		if !s.mayStart(d) {
			s.ring = append(s.ring[1:], d)
			passed++
			continue
		}
		t := d.waiting[0]
		d.waiting = d.waiting[1:]
		s.ring = s.ring[1:]
		if len(d.waiting) > 0 {
			s.ring = append(s.ring, d)
		}
		passed = 0
		d.probing = d.cooldown > 0
		d.running++
		s.running++
		if d.suspect {
			s.suspects++
		}
		out = append(out, effect{kind: start, task: t})
	}
	return out
}

func (s *scheduler) mayStart(d *standing) bool {
	switch {
	case d.cooldown > 0: // one probe at a time
		return d.running == 0
	case d.suspect:
		return d.running < s.perDestination && s.suspects < max(1, s.concurrency/2)
	}
	return d.running < s.perDestination
}

// leave empties the destination's queue.
func (s *scheduler) leave(d *standing) {
	d.waiting = nil
	for i, other := range s.ring {
		if other == d {
			s.ring = append(s.ring[:i:i], s.ring[i+1:]...)
			return
		}
	}
}
