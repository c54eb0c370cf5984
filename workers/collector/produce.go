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

// produce writes an accepted request and returns nil when Kafka has acknowledged all of it, or the
// spool has stored what Kafka did not. If the client disconnects, it goes on, and still stores the
// rest in the spool: browsers send pixels and beacons once. After the answer 503 it stops, except
// for one batch of each partition that is already on its way; the sender sends the whole request
// again. Bytes count as in flight until Kafka's client has released them, so that an outage fills
// the bound and no more.
func (c *Collector) produce(ctx context.Context, t taken, g *grant) (no *refusal) {
	defer func() {
		// A client that disconnects before the answer may have had all events accepted, so it is
		// still charged: otherwise it could repeat that without limit.
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
	default: // stored first: if that fails, the sender sends the whole request again
		if no := c.store(later, nil, time.Until(until)); no != nil {
			g.release()
			return no
		}
	}
	c.hung.trying(now.dead)
	return c.direct(ctx, now, g, spoolAfter, time.Until(until))
}

// direct produces without the spool, and stores in the spool what Kafka has not accepted after
// tryFor.
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
		gone = nil // what is left is stored in any case
	}
	select {
	case o := <-done:
		switch {
		case o.err == nil:
			return nil
		case c.deps.Spool == nil || errors.Is(o.err, errNever): // waiting would not help
			return kafkaAway()
		}
		return c.store(o.left, nil, within-time.Since(start))
	case <-timer.C:
		return kafkaAway()
	case <-gone:
		return clientGone()
	}
}

// write produces t and returns what is left to do after an error.
func (c *Collector) write(t taken, within time.Duration) (left taken, err error) {
	ctx, cancel := context.WithTimeout(c.base, within)
	defer cancel()
	start := time.Now()
	left, events, letters := c.try(ctx, t)
	c.metrics.produceSeconds.Observe(time.Since(start).Seconds())
	// Success of one partition does not mean that the others have leaders again.
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

// errNever says that an event is too large for its topic and, even cut short, for that of the dead
// letters.
var errNever = errors.New("a dead letter is too large for its topic (max.message.bytes)")

// try produces a request's records once. It returns what Kafka may accept another time, and the
// errors of events and of dead letters. The latter is errNever if something had to be left out.
func (c *Collector) try(ctx context.Context, t taken) (left taken, events, letters error) {
	var never, err error
	dead := t.dead
	if c.deps.Spool == nil {
		// Letters go first, because the sender tries again, and a letter that is there twice is
		// dropped when it is redriven.
		if _, never, err = c.bury(ctx, t.dead); err != nil {
			return t, nil, cmp.Or(never, err) // the sender sends the whole request again
		}
		dead = nil
	}
	var large []stream.Record
	left.records, large, events = c.produceOnce(ctx, c.deps.Producer, t.records)
	// Letters go last, because one of their partitions without a leader uses up all of the time.
	var worse error
	left.dead, worse, err = c.bury(ctx, slices.Concat(dead, large))
	return left, events, cmp.Or(never, worse, err)
}

// produceOnce produces events once. An event that is too large for its topic becomes a dead letter,
// since it would be too large every time.
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

// bury writes dead letters once, cut short if their topic does not accept them whole.
func (c *Collector) bury(ctx context.Context, dead []stream.Record) (left []stream.Record, never, err error) {
	left, large, err := deadletter.Bury(ctx, c.deps.DeadLetters, dead)
	c.hung.tell(dead, left)
	if len(large) > 0 {
		never = errNever
	}
	return left, never, err
}

// letterOf returns the dead letter of a record that is too large for the events topic.
func letterOf(r *stream.Record) stream.Record {
	id, _ := r.Header(route.HeaderMessage)
	return deadletter.Refused(string(r.Key), r.Time, r.Value, true, id, deadletter.LeftTooLarge)
}
