package copier

import (
	"time"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/destination"
)

// limits bound how much runs and waits at once.
type limits struct {
	// concurrency is how many copies to sound destinations may be active at once; with those in
	// which nothing moves there may be twice as many. Suspects may have half as many active copies,
	// and as many as concurrency in all. So at most three times concurrency copies are sending.
	// Copies whose object is stored do not count.
	concurrency        int
	perDestination     int // copies at once to one destination
	maxStored          int // copies that only wait for their receipt, for sound destinations and for suspects
	maxWaiting         int // jobs that may wait for sound destinations, besides the few that each may always have
	maxWaitingSuspects int // jobs that may wait for suspects, see admits
	maxParking         int // jobs being parked at once

	breakTransient int           // consecutive transient failures that open a destination's breaker
	breakPermanent int           // the same for failures that look permanent
	cooldown       time.Duration // how long a breaker stays open at first; it doubles
	maxCooldown    time.Duration
}

// outcome is how a try ended.
type outcome struct {
	kind    outcomeKind
	verdict destination.Verdict // only for outcomeFailed
}

type outcomeKind int

const (
	outcomeDone    outcomeKind = iota // the destination has the object: onStored was called
	outcomeMoot                       // nothing had to be sent: already closed, or never owed
	outcomeFailed                     // see verdict
	outcomeBusy                       // another copier has it, or the try was ended to make room
	outcomeDropped                    // we are stopping, or no longer own the partition: nothing is acknowledged
)

// effect is what the scheduler wants done.
type effect struct {
	kind    effectKind
	task    *task
	job     delivery.Job        // of effectRequeue and effectPark: the job with its new state
	tier    int                 // of effectRequeue
	why     string              // of effectRequeue: a metric label
	verdict destination.Verdict // of effectPark and effectBreakerOpened
	dest    string              // of the news
}

type effectKind int

const (
	effectStart         effectKind = iota // try it, then report the outcome with onFinished
	effectYield                           // end the running try: others need its place
	effectAcknowledge                     // it is over: acknowledge it
	effectDrop                            // it is over: do not acknowledge it
	effectRequeue                         // enqueue job into a retry tier, then acknowledge
	effectPark                            // store job as parked, then acknowledge and call onParked
	effectBreakerOpened                   // news: the destination's breaker opened
	effectBreakerClosed                   // news: it closed again
	effectForgotten                       // news: there was no job for long, and an open breaker was forgotten
	effectSlowed                          // news: a sound destination became slow
)

// scheduler decides when each job is tried and what becomes of it. It does no I/O: its state changes
// only by its on methods (onArrived and so on), which return what is to be done. The time that each
// takes does not depend on the number of destinations, except for forgetIdle.
//
// Slots are for copies that make progress: when nothing moves in a copy, another may start. A
// destination that fails twice in a row or is slow is a suspect. Suspects have slots and room of
// their own, so that nobody else waits for what they hold. One destination can take neither all
// slots of its pool nor all of its room.
type scheduler struct {
	limits
	retry            retryPolicy
	dests            map[string]*destState
	sound, suspects  pool
	suspectCount     int       // destinations that are suspects
	parking          int       // jobs being parked
	lastOverdueCheck time.Time // when requeueOverdue last ran
}

func newScheduler(l limits, r retryPolicy) *scheduler {
	return &scheduler{
		limits: l, retry: r, dests: map[string]*destState{},
		sound:    pool{slots: l.concurrency, maxSending: 2 * l.concurrency, maxStored: l.maxStored},
		suspects: pool{slots: max(1, l.concurrency/2), maxSending: l.concurrency, maxStored: l.maxStored, preferRecovering: true},
	}
}

// onArrived accepts a new task.
func (s *scheduler) onArrived(t *task, now time.Time) []effect {
	out := s.requeueOverdue(now)
	d := s.dests[t.job.Destination]
	if d == nil {
		d = &destState{id: t.job.Destination, pool: &s.sound}
		s.dests[d.id] = d
	}
	defer s.forgetIfUnused(d)
	out = append(out, s.shed(d, now)...)
	switch {
	case d.cooldown > 0 && !d.probing && now.Before(d.openUntil):
		return append(out, s.failUntried(d, t, now))
	case !s.admits(d, now):
		return append(out, s.postpone(t, "queue_full", now))
	}
	d.addWaiting(t, now)
	d.updateTurn(s.perDestination)
	return append(out, s.startNext()...)
}

// admits reports whether one more job may wait for d. A destination's backlog may fill half of the
// room that is left. Jobs for which suspects have no room, see shed, take it from that of sound
// destinations.
func (s *scheduler) admits(d *destState, now time.Time) bool {
	if s.isLongSuspect(d, now) {
		return len(d.waiting) < (s.maxWaitingSuspects-s.suspects.tally[stateWaiting]+1)/2
	}
	left := s.maxWaiting - s.sound.tally[stateWaiting] - max(0, s.suspects.tally[stateWaiting]-s.maxWaitingSuspects)
	return len(d.waiting) < max(2*s.perDestination, (left+1)/2)
}

// isLongSuspect reports whether d has been a suspect for as long as jobs wait in the first retry
// tier. One that was late for a moment is sound again by then. It keeps its room until then, so that
// not all of its backlog has to wait because of that moment.
func (s *scheduler) isLongSuspect(d *destState, now time.Time) bool {
	return d.pool == &s.suspects && now.Sub(d.suspectSince) >= s.retry.tiers[0]
}

// shed sends those tasks of a suspect for which suspects have no room to the first retry tier.
func (s *scheduler) shed(d *destState, now time.Time) (out []effect) {
	for s.isLongSuspect(d, now) && s.suspects.tally[stateWaiting] > s.maxWaitingSuspects && len(d.waiting) > 0 {
		out = append(out, s.postpone(d.takeLast(), "queue_full", now))
	}
	return out
}

// onIdle notes that nothing moves in a started task, so it needs no slot.
func (s *scheduler) onIdle(t *task) []effect {
	if t.state != stateMoving {
		return nil
	}
	s.dests[t.job.Destination].setState(t, stateIdle)
	return s.startNext()
}

// onLate notes that a started task takes longer than it should. This makes its destination a
// suspect.
func (s *scheduler) onLate(t *task, now time.Time) []effect {
	if !t.sending() || t.late {
		return nil
	}
	t.late = true
	d := s.dests[t.job.Destination]
	d.lateTasks++
	d.onTime = 0
	var out []effect
	if d.pool == &s.sound {
		out = append(out, effect{kind: effectSlowed, dest: d.id})
		s.moveTo(d, &s.suspects, now)
	}
	return append(out, s.startNext()...)
}

// onStuck notes that nothing has moved in a started task for so long that it counts as late. If the
// suspects now have more copies than their share, the task is ended, because it holds a place that
// sound destinations need. Tasks that were started as suspects' are not ended.
func (s *scheduler) onStuck(t *task, now time.Time) []effect {
	out := s.onLate(t, now)
	if !t.sending() || t.toldToYield || t.startedAsSuspect {
		return out
	}
	if p := s.dests[t.job.Destination].pool; p.sending() <= p.maxSending {
		return out
	}
	t.toldToYield = true
	return append(out, effect{kind: effectYield, task: t})
}

// onStored notes that a started task's object is at the destination, which has thus delivered: what
// fails there until the receipt is written is newer. Only the receipt is left, which concerns only
// us and staging: the task no longer delays others that wait for a slot or for the same
// destination.
func (s *scheduler) onStored(t *task, now time.Time) []effect {
	if !t.sending() {
		return nil
	}
	d := s.dests[t.job.Destination]
	d.setState(t, stateStored)
	out := s.recordDelivery(d, t, now)
	d.updateTurn(s.perDestination)
	return append(out, s.startNext()...)
}

// onFinished notes how a started task ended.
func (s *scheduler) onFinished(t *task, o outcome, now time.Time) []effect {
	d := s.dests[t.job.Destination]
	if t.sending() && t.late {
		d.lateTasks--
	}
	d.setState(t, stateGone)
	var out []effect
	switch o.kind {
	case outcomeDone, outcomeMoot:
		out = append(out, effect{kind: effectAcknowledge, task: t})
	case outcomeDropped:
		out = append(out, effect{kind: effectDrop, task: t})
	case outcomeBusy:
		switch {
		case !t.toldToYield:
			out = append(out, s.postpone(t, "busy", now))
		case d.cooldown == 0 && s.admits(d, now): // it takes its turn again, now among the suspects
			t.late, t.toldToYield, t.yield = false, false, make(chan struct{})
			d.addWaiting(t, now)
		default:
			out = append(out, s.postpone(t, "made_room", now))
		}
	case outcomeFailed:
		out = append(out, s.retryOrPark(t, o.verdict, true, now))
		if o.verdict.Scope == destination.ScopeDestination {
			out = append(out, s.recordFailure(d, o.verdict, now)...)
		}
	}
	if d.running() == 0 {
		d.probing = false
	}
	out = append(out, s.shed(d, now)...)
	d.updateTurn(s.perDestination)
	out = append(out, s.startNext()...)
	s.forgetIfUnused(d)
	return out
}

// onParked notes that a park effect is done, whether or not the job could be parked.
func (s *scheduler) onParked() { s.parking-- }

// recordDelivery closes the breaker. It ends the suspicion only after several deliveries in time,
// because a destination that wavers would otherwise cost others time at every turn.
func (s *scheduler) recordDelivery(d *destState, t *task, now time.Time) (out []effect) {
	if d.cooldown > 0 {
		out = append(out, effect{kind: effectBreakerClosed, dest: d.id})
	}
	d.failures, d.cooldown, d.probing, d.provenToWork = 0, 0, false, true
	if t.late {
		d.lateTasks--
		return out
	}
	if d.onTime++; d.pool == &s.suspects && d.lateTasks == 0 && d.onTime >= deliveriesToBecomeSound {
		s.moveTo(d, &s.sound, now)
	}
	return out
}

// recordFailure counts a failure. If that was one too many, it opens the breaker and sends waiting
// tasks to the retry tiers.
func (s *scheduler) recordFailure(d *destState, v destination.Verdict, now time.Time) []effect {
	var out []effect
	if d.failures++; d.failures > 1 { // one failure may happen to anybody
		s.moveTo(d, &s.suspects, now)
	}
	d.provenToWork, d.onTime, d.lastFailure = false, 0, v
	limit := s.breakTransient
	if v.Class != destination.Transient {
		limit = s.breakPermanent
	}
	if d.failures < limit && !d.probing {
		return out
	}
	if d.cooldown == 0 {
		out = append(out, effect{kind: effectBreakerOpened, dest: d.id, verdict: v})
	}
	if d.probing || d.cooldown == 0 { // not again for copies that were already under way when it opened
		d.cooldown = min(max(2*d.cooldown, s.limits.cooldown), s.maxCooldown)
		d.openUntil = now.Add(d.cooldown)
	}
	d.probing = false
	for _, t := range d.takeAll() {
		out = append(out, s.failUntried(d, t, now))
	}
	return out
}

// breakerOpenUntil returns until when nothing is sent to a destination whose breaker is open; zero
// if it is not open.
func (s *scheduler) breakerOpenUntil(dest string) time.Time {
	if d := s.dests[dest]; d != nil && d.cooldown > 0 {
		return d.openUntil
	}
	return time.Time{}
}

// moveTo moves the destination with all its tasks to the other pool.
func (s *scheduler) moveTo(d *destState, to *pool, now time.Time) {
	if d.pool == to {
		return
	}
	d.dropTurn()
	d.pool.tally.add(d.tally, -1)
	to.tally.add(d.tally, 1)
	d.pool = to
	if to == &s.suspects {
		s.suspectCount++
		d.suspectSince = now
	} else {
		s.suspectCount--
	}
	d.updateTurn(s.perDestination)
}

// overdueInterval is the interval at which requeueOverdue checks the suspects that wait for a turn.
const overdueInterval = time.Second

// requeueOverdue requeues tasks that have waited for a suspect's turn for as long as they would
// wait in the first retry tier. While they wait here, their partition's offset cannot be committed.
// It runs only when jobs arrive; while none do, waiting does no harm.
func (s *scheduler) requeueOverdue(now time.Time) (out []effect) {
	if now.Sub(s.lastOverdueCheck) < overdueInterval {
		return nil
	}
	s.lastOverdueCheck = now
	for place := s.suspects.turns.Front(); place != nil; {
		d := place.Value.(*destState) //nolint:forcetypeassert // the list holds nothing else
		place = place.Next()
		for len(d.waiting) > 0 && now.Sub(d.waiting[0].arrivedAt) >= s.retry.tiers[0] {
			out = append(out, s.postpone(d.takeFirst(stateGone), "waited", now))
		}
		s.forgetIfUnused(d)
	}
	return out
}

// forgetIdle forgets destinations with an open breaker that no job is left for in any tier: they were
// removed or disabled, their files were given up, or other copiers deliver them. Nothing else would
// ever close the breaker.
func (s *scheduler) forgetIdle(now time.Time) (out []effect) {
	for _, d := range s.dests {
		if d.cooldown > 0 && len(d.waiting) == 0 && d.running() == 0 && now.Sub(d.openUntil) > 2*s.retry.tiers[len(s.retry.tiers)-1] {
			s.moveTo(d, &s.sound, now)
			delete(s.dests, d.id)
			out = append(out, effect{kind: effectForgotten, dest: d.id})
		}
	}
	return out
}

// forgetIfUnused removes a destination without waiting tasks from the turns, and forgets it if
// nothing runs, it is sound, and its last try did not fail.
func (s *scheduler) forgetIfUnused(d *destState) {
	if len(d.waiting) > 0 {
		return
	}
	d.dropTurn()
	if d.running() == 0 && d.pool == &s.sound && d.failures == 0 {
		delete(s.dests, d.id)
	}
}

// failUntried treats a task as failed without a try, because its destination is known not to work.
// The task walks the tiers and is parked only because of its age.
func (s *scheduler) failUntried(d *destState, t *task, now time.Time) effect {
	v := d.lastFailure
	v.Class = destination.Transient
	return s.retryOrPark(t, v, false, now)
}

func (s *scheduler) retryOrPark(t *task, v destination.Verdict, tried bool, now time.Time) effect {
	why := "failed"
	if !tried {
		why = "breaker_open"
	}
	job, tier, parked := s.retry.afterFailure(t.job, v, tried, now)
	switch {
	case !parked:
		return effect{kind: effectRequeue, task: t, job: job, tier: tier, why: why}
	case s.parking >= s.maxParking: // it would hold room that others need while it waits to be parked
		return s.postpone(t, "parking_full", now)
	}
	s.parking++
	return effect{kind: effectPark, task: t, job: job, verdict: v}
}

// postpone sends a task that did not fail to the first retry tier.
func (s *scheduler) postpone(t *task, why string, now time.Time) effect {
	return effect{kind: effectRequeue, task: t, job: s.retry.postpone(t.job, now), why: why}
}

func (s *scheduler) running() int { return s.sound.running() + s.suspects.running() }

// sending counts the copies whose object is not stored yet.
func (s *scheduler) sending() int { return s.sound.sending() + s.suspects.sending() }

// startNext starts what may be started, taking destinations in turn.
func (s *scheduler) startNext() (out []effect) {
	for _, p := range []*pool{&s.sound, &s.suspects} {
		for p.turns.Len() > 0 && p.hasFreeSlot() && s.sending() < 3*s.concurrency {
			d := p.turns.Front().Value.(*destState) //nolint:forcetypeassert // the list holds nothing else
			d.dropTurn()
			t := d.takeFirst(stateMoving)
			t.startedAsSuspect = p == &s.suspects
			d.probing = d.cooldown > 0
			d.updateTurn(s.perDestination)
			out = append(out, effect{kind: effectStart, task: t})
		}
	}
	return out
}
