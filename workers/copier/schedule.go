package copier

import (
	"time"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/destination"
)

// limits bound what runs and waits at once.
type limits struct {
	// concurrency is how many copies to sound destinations are in work at once;
	// with those at which nothing moves there may be twice as many. To suspects
	// half of that goes on at once, so there are three times as many at most. One
	// whose object is stored counts no more; of these there are as many at most.
	concurrency    int
	perDestination int // copies at once to one destination
	room           int // jobs waiting for sound destinations, but for some for each
	suspectRoom    int // jobs waiting for suspects
	parking        int // jobs being parked at once

	breakTransient int           // consecutive transient failures that open a destination's breaker
	breakPermanent int           // the same for failures that look permanent
	cooldown       time.Duration // how long a breaker stays open at first; it doubles
	maxCooldown    time.Duration
}

// outcome is how a try ended.
type outcome struct {
	kind    outcomeKind
	verdict destination.Verdict // of failed
}

type outcomeKind int

const (
	outcomeDone    outcomeKind = iota // the destination has the object
	outcomeMoot                       // nothing had to be sent: closed before, or never owed
	outcomeFailed                     // see verdict
	outcomeBusy                       // another copier has it, or took it over; or it yields
	outcomeDropped                    // stopping, or the partition is not ours any more: nothing is acknowledged
)

// effect is what the scheduler wants done with a task.
type effect struct {
	kind effectKind
	task *task
	job  delivery.Job        // of requeue and park: as it goes on
	tier int                 // of requeue
	why  string              // of requeue: a metric label
	v    destination.Verdict // of park and opened
	dest string              // of opened, shut and slowed
}

type effectKind int

const (
	effectStart   effectKind = iota // try it, then report the outcome with finished
	effectYield                     // end the try, which was started: others need its place
	effectSettle                    // it is over: acknowledge it
	effectForget                    // it is over: do not acknowledge it
	effectRequeue                   // enqueue job into a retry tier, then acknowledge
	effectPark                      // store job as parked, then acknowledge and report parked
	effectOpened                    // news: the destination's breaker opened
	effectShut                      // news: it closed again
	effectSlowed                    // news: a sound destination became slow
)

// scheduler decides when each job is tried and what becomes of it. It is pure:
// its state changes only by arrived, idle, late, stuck, stored, finished and parked,
// which return what is to be done. Each takes the same time however many destinations
// there are.
//
// Slots are for copies that do something: one at which nothing moves makes room
// for another. Destinations that fail twice in a row, or are slow, are suspects; they have slots
// and room of their own, so that nobody else waits for what they hold. One
// destination can take neither all slots of its standing nor all room.
type scheduler struct {
	limits
	retry           retryPolicy
	dests           map[string]*standing
	sound, suspects pool
	suspected       int       // destinations that are suspects
	parks           int       // jobs being parked
	weeded          time.Time // when weed last looked
}

func newScheduler(l limits, r retryPolicy) *scheduler {
	return &scheduler{
		limits: l, retry: r, dests: map[string]*standing{},
		sound:    pool{slots: l.concurrency, most: 2 * l.concurrency, least: 2 * l.perDestination, room: l.room},
		suspects: pool{slots: max(1, l.concurrency/2), most: l.concurrency, room: l.suspectRoom, eager: true},
	}
}

// arrived takes in a new task.
func (s *scheduler) arrived(t *task, now time.Time) []effect {
	out := s.weed(now)
	d := s.dests[t.job.Destination]
	if d == nil {
		d = &standing{id: t.job.Destination, pool: &s.sound}
		s.dests[d.id] = d
	}
	defer s.leave(d)
	switch {
	case d.cooldown > 0 && !d.probing && now.Before(d.openUntil):
		return append(out, s.deferred(d, t, now))
	case !d.pool.admits(d):
		return append(out, s.later(t, "queue_full", now))
	}
	t.since = now
	d.waiting = append(d.waiting, t)
	d.change(t, stateWaiting)
	d.enlist(s.perDestination)
	return append(out, s.next()...)
}

// idle takes in that nothing moves at a started task: it needs no slot.
func (s *scheduler) idle(t *task) []effect {
	if t.state != stateMoving {
		return nil
	}
	s.dests[t.job.Destination].change(t, stateIdle)
	return s.next()
}

// late takes in that a started task takes longer than it should: its
// destination is a suspect from now on.
func (s *scheduler) late(t *task, now time.Time) []effect {
	if !t.sending() || t.late {
		return nil
	}
	t.late = true
	d := s.dests[t.job.Destination]
	d.late++
	d.good = 0
	var out []effect
	if d.pool == &s.sound {
		out = append(out, effect{kind: effectSlowed, dest: d.id})
		out = append(out, s.move(d, &s.suspects, now)...)
	}
	return append(out, s.next()...)
}

// stuck takes in that nothing moved at a started task for so long that it is
// late. If the suspects have more copies than is theirs, it ends, unless it is one of
// these: it would keep one from sound destinations.
func (s *scheduler) stuck(t *task, now time.Time) []effect {
	out := s.late(t, now)
	if !t.sending() || t.yields || t.suspect {
		return out
	}
	if p := s.dests[t.job.Destination].pool; p.sending() <= p.most {
		return out
	}
	t.yields = true
	return append(out, effect{kind: effectYield, task: t})
}

// stored takes in that a started task's object is at the destination. What is
// left, the receipt, is a matter between us and staging: it holds up nobody who
// waits for a slot, or for the same destination.
func (s *scheduler) stored(t *task) []effect {
	if !t.sending() {
		return nil
	}
	d := s.dests[t.job.Destination]
	d.change(t, stateStored)
	d.enlist(s.perDestination)
	return s.next()
}

// finished takes in how a started task ended.
func (s *scheduler) finished(t *task, o outcome, now time.Time) []effect {
	d := s.dests[t.job.Destination]
	d.change(t, stateGone)
	if t.late {
		d.late--
	}
	var out []effect
	switch o.kind {
	case outcomeDone:
		out = append(out, effect{kind: effectSettle, task: t})
		out = append(out, s.delivered(d, t.late, now)...)
	case outcomeMoot:
		out = append(out, effect{kind: effectSettle, task: t})
	case outcomeDropped:
		out = append(out, effect{kind: effectForget, task: t})
	case outcomeBusy:
		why := "busy"
		if t.yields {
			why = "made_room"
		}
		out = append(out, s.later(t, why, now))
	case outcomeFailed:
		out = append(out, s.again(t, o.verdict, "failed", now))
		if o.verdict.Scope == destination.OfDestination {
			out = append(out, s.broken(d, o.verdict, now)...)
		}
	}
	if d.running() == 0 {
		d.probing = false
	}
	d.enlist(s.perDestination)
	out = append(out, s.next()...)
	s.leave(d)
	return out
}

// parked takes in that a job was parked, or is not going to be.
func (s *scheduler) parked() { s.parks-- }

// delivered closes the breaker, and ends the suspicion after some deliveries
// in time: one that wavers would else cost others time at every turn.
func (s *scheduler) delivered(d *standing, late bool, now time.Time) (out []effect) {
	if d.cooldown > 0 {
		out = append(out, effect{kind: effectShut, dest: d.id})
	}
	d.failures, d.cooldown, d.probing, d.works = 0, 0, false, true
	if late {
		return out
	}
	if d.good++; d.pool == &s.suspects && d.late == 0 && d.good >= regained {
		out = append(out, s.move(d, &s.sound, now)...)
	}
	return out
}

// broken counts a failure and, if it was one too many, opens the breaker: what
// waits goes to the retry tiers so that nothing is held up behind it.
func (s *scheduler) broken(d *standing, v destination.Verdict, now time.Time) []effect {
	var out []effect
	if d.failures++; d.failures > 1 { // once may happen to anybody
		out = s.move(d, &s.suspects, now)
	}
	d.works, d.good, d.last = false, 0, v
	limit := s.breakTransient
	if v.Class != destination.Transient {
		limit = s.breakPermanent
	}
	if d.failures < limit && !d.probing {
		return out
	}
	if d.cooldown == 0 {
		out = append(out, effect{kind: effectOpened, dest: d.id, v: v})
	}
	if d.probing || d.cooldown == 0 { // not for those that were under way when it opened
		d.cooldown = min(max(2*d.cooldown, s.limits.cooldown), s.maxCooldown)
		d.openUntil = now.Add(d.cooldown)
	}
	d.probing = false
	for _, t := range d.empty() {
		out = append(out, s.deferred(d, t, now))
	}
	return out
}

// restsUntil is until when nothing is tried of a destination whose breaker is
// open; zero: it is not.
func (s *scheduler) restsUntil(dest string) time.Time {
	if d := s.dests[dest]; d != nil && d.cooldown > 0 {
		return d.openUntil
	}
	return time.Time{}
}

// move puts the destination with all that it has into the other pool. What
// suspects have no room for goes to the first retry tier.
func (s *scheduler) move(d *standing, to *pool, now time.Time) (out []effect) {
	if d.pool == to {
		return nil
	}
	d.delist()
	d.pool.tally.add(d.tally, -1)
	to.tally.add(d.tally, 1)
	d.pool = to
	if to == &s.suspects {
		s.suspected++
	} else {
		s.suspected--
	}
	for to == &s.suspects && to.tally[stateWaiting] > to.room && len(d.waiting) > 0 {
		out = append(out, s.later(d.pop(), "queue_full", now))
	}
	d.enlist(s.perDestination)
	return out
}

// weedEvery spaces the looks at all suspects that wait for a turn.
const weedEvery = time.Second

// weed sends on what has waited for a suspect's turn for as long as it would
// wait in the first retry tier: here it keeps the offsets of its partition from
// being committed. While nothing arrives that does no harm.
func (s *scheduler) weed(now time.Time) (out []effect) {
	if now.Sub(s.weeded) < weedEvery {
		return nil
	}
	s.weeded = now
	for place := s.suspects.turns.Front(); place != nil; {
		d := place.Value.(*standing) //nolint:forcetypeassert // the list holds nothing else
		place = place.Next()
		for len(d.waiting) > 0 && now.Sub(d.waiting[0].since) >= s.retry.tiers[0] {
			out = append(out, s.later(d.shift(stateGone), "waited", now))
		}
		s.leave(d)
	}
	return out
}

// leave takes a destination out of the turns that has nothing to do, and
// forgets it if it is in good standing and did not fail the last time.
func (s *scheduler) leave(d *standing) {
	if len(d.waiting) > 0 {
		return
	}
	d.delist()
	if d.running() == 0 && d.pool == &s.sound && d.failures == 0 {
		delete(s.dests, d.id)
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
	switch {
	case !parked:
		return effect{kind: effectRequeue, task: t, job: job, tier: tier, why: why}
	case s.parks >= s.parking: // it would hold room that others need
		return s.later(t, "parking_full", now)
	}
	s.parks++
	return effect{kind: effectPark, task: t, job: job, v: v}
}

// later lets a task that did not fail wait in the first retry tier.
func (s *scheduler) later(t *task, why string, now time.Time) effect {
	return effect{kind: effectRequeue, task: t, job: s.retry.later(t.job, now), why: why}
}

func (s *scheduler) running() int { return s.sound.running() + s.suspects.running() }

// sending is how many copies have their object still to store.
func (s *scheduler) sending() int { return s.sound.sending() + s.suspects.sending() }

// next starts what may be started, each destination in its turn.
func (s *scheduler) next() (out []effect) {
	for _, p := range []*pool{&s.sound, &s.suspects} {
		for p.turns.Len() > 0 && p.free() && s.sending() < 3*s.concurrency {
			d := p.turns.Front().Value.(*standing) //nolint:forcetypeassert // the list holds nothing else
			d.delist()
			t := d.shift(stateMoving)
			t.suspect = p == &s.suspects
			d.probing = d.cooldown > 0
			d.enlist(s.perDestination)
			out = append(out, effect{kind: effectStart, task: t})
		}
	}
	return out
}
