package collector

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/sealift/sealift/pkg/deadletter"
	"github.com/sealift/sealift/pkg/route"
	"github.com/sealift/sealift/pkg/stream"
)

// spoolAfter is how long a request waits for Kafka before it goes to the spool.
const spoolAfter = 2 * time.Second

// produce writes what was taken and returns nil when Kafka has acknowledged all
// of it, or the spool what is left. Production goes on when the client has gone, and then
// what is left goes to the spool as well: browsers send pixels and beacons once. It ends
// with the answer 503, but for the batch, one of each partition, that is on its way: the
// sender sends all of it again. Bytes count as in flight until Kafka's client has let go of
// them, so that an outage fills the bound and no more.
func (c *Collector) produce(ctx context.Context, t taken, g *grant) (no *refusal) {
	defer func() {
		// Who has gone before the answer may have had all of it taken, as often as it likes.
		if no != nil && no.reason != goneReason {
			c.limits.give(t.charges)
		}
	}()
	if t.empty() {
		g.release()
		return nil
	}
	if c.deps.Spool == nil {
		return c.direct(ctx, t, g, c.cfg.AnswerWithin, c.cfg.AnswerWithin)
	}
	until := time.Now().Add(c.cfg.AnswerWithin)
	if c.isBehind(t) {
		c.handover.wait(ctx)
	}
	now, later := t, taken{}
	if !c.deps.Spool.Empty() {
		now.records, later.records = c.behind.split(t.records)
	}
	if !c.deps.Letters.Empty() {
		now.dead, later.dead = c.hung.split(t.dead)
	}
	switch {
	case later.empty():
	case now.empty():
		return c.store(later, g, time.Until(until))
	default: // its sender sends all of it again, if it is not all of it that is taken
		if no := c.store(later, nil, time.Until(until)); no != nil {
			g.release()
			return no
		}
	}
	c.hung.trying(now.dead)
	return c.direct(ctx, now, g, spoolAfter, time.Until(until))
}

// direct writes past the spool, and what Kafka has not taken by tryFor into it.
func (c *Collector) direct(ctx context.Context, t taken, g *grant, tryFor, within time.Duration) *refusal {
	type outcome struct {
		left taken
		err  error
	}
	start, done := time.Now(), make(chan outcome, 1)
	c.gate.again()
	go func() {
		defer c.gate.leave()
		left, err := c.write(t, tryFor)
		g.release()
		done <- outcome{left, err}
	}()
	timer := time.NewTimer(within)
	defer timer.Stop()
	gone := ctx.Done()
	if c.deps.Spool != nil {
		gone = nil // what is left is stored all the same
	}
	select {
	case o := <-done:
		switch {
		case o.err == nil:
			return nil
		case c.deps.Spool == nil || errors.Is(o.err, errNever): // no time mends that
			return kafkaAway()
		}
		return c.store(o.left, nil, within-time.Since(start))
	case <-timer.C:
		return kafkaAway()
	case <-gone:
		return clientGone()
	}
}

// write returns what is left to do after an error.
func (c *Collector) write(t taken, within time.Duration) (left taken, err error) {
	ctx, cancel := context.WithTimeout(c.base, within)
	defer cancel()
	start := time.Now()
	left, events, letters := c.try(ctx, t)
	c.metrics.produceSeconds.Observe(time.Since(start).Seconds())
	// One partition is no sign that another has a leader.
	waiting, unburied := false, false
	if c.deps.Spool != nil {
		waiting, unburied = c.behind.holds(), !c.deps.Letters.Empty()
	}
	if events != nil || len(t.records) > len(left.records) && !waiting {
		c.events.produce.observe(events)
	}
	if letters != nil || len(t.dead) > 0 && !unburied {
		c.letters.produce.observe(letters)
	}
	return left, cmp.Or(letters, events)
}

// errNever says that something is neither an event that its topic takes nor, cut
// short, a dead letter that theirs does.
var errNever = errors.New("a dead letter is too large for its topic (max.message.bytes)")

// try produces what was taken once, and returns what Kafka may take another time, with
// the errors of events and dead letters. That of letters is errNever if something is left out.
func (c *Collector) try(ctx context.Context, t taken) (left taken, events, letters error) {
	var never, err error
	dead := t.dead
	if c.deps.Spool == nil {
		// First: a letter that is there twice, since its sender tries again, is left out when it is redriven.
		if _, never, err = c.bury(ctx, t.dead); err != nil {
			return t, nil, cmp.Or(never, err) // its sender sends all of it again
		}
		dead = nil
	}
	var large []stream.Record
	left.records, large, events = c.produceOnce(ctx, c.deps.Producer, t.records)
	// Last: a partition of theirs without a leader takes all of the time.
	var worse error
	left.dead, worse, err = c.bury(ctx, slices.Concat(dead, large))
	return left, events, cmp.Or(never, worse, err)
}

// produceOnce produces events once. What is too large for their topic becomes a dead letter:
// it would be as large another time.
func (c *Collector) produceOnce(ctx context.Context, to Producer, records []stream.Record) (left, letters []stream.Record, err error) {
	for left = records; len(left) > 0; {
		failed := to.Produce(ctx, left...)
		var large []stream.Record
		if left, large = stream.NotWritten(failed, left); len(large) == 0 {
			return left, letters, failed
		}
		for i := range large {
			letters = append(letters, letterOf(&large[i]))
		}
		c.metrics.rejected.WithLabelValues(deadletter.LeftTooLarge).Add(float64(len(large)))
	}
	return nil, letters, nil
}

// bury writes dead letters once, cut short if their topic does not take them whole.
func (c *Collector) bury(ctx context.Context, dead []stream.Record) (left []stream.Record, never, err error) {
	left, large, err := deadletter.Bury(ctx, c.deps.DeadLetters, dead)
	c.hung.tell(dead, left)
	if len(large) > 0 {
		never = errNever
	}
	return left, never, err
}

// letterOf is the dead letter of a record that the events topic does not take.
func letterOf(r *stream.Record) stream.Record {
	id, _ := r.Header(route.HeaderMessage)
	return deadletter.Refused(string(r.Key), r.Time, r.Value, true, id, deadletter.LeftTooLarge)
}
