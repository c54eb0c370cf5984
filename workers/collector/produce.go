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
// spool has stored what Kafka did not. If the client disconnects, it goes on: browsers send pixels
// and beacons once, and a client that has closed only its own direction waits for the answer.
// After the answer 503 it stops, except for one batch of each partition that is already on its way;
// the sender sends the whole request again. Bytes count as in flight until Kafka's client has
// released them, so that an outage fills the bound and no more.
func (c *Collector) produce(t parcel, g *grant) (refused *refusal) {
	defer func() {
		if refused != nil {
			c.limits.give(t.charges)
		}
	}()
	if t.empty() {
		g.release()
		return nil
	}
	if c.deps.Spool == nil {
		return c.produceOrSpool(t, g, c.cfg.AnswerWithin, c.cfg.AnswerWithin)
	}
	until := time.Now().Add(c.cfg.AnswerWithin)
	if c.hasSpooledKeys(t) {
		c.handover.wait()
	}
	now, later := t, parcel{}
	if !c.deps.Spool.Empty() {
		now.records, later.records = c.spooled.split(t.records)
	}
	if !c.deps.Letters.Empty() {
		now.dead, later.dead = c.stuckLetters.split(t.dead)
	}
	switch {
	case later.empty():
	case now.empty():
		return c.spoolAndWait(later, g, time.Until(until))
	default: // stored first: if that fails, the sender sends the whole request again
		if refused := c.spoolAndWait(later, nil, time.Until(until)); refused != nil {
			g.release()
			return refused
		}
	}
	c.stuckLetters.recordTry(now.dead)
	return c.produceOrSpool(now, g, spoolAfter, time.Until(until))
}

// produceOrSpool produces without the spool, and stores in the spool what Kafka has not accepted
// after tryFor.
func (c *Collector) produceOrSpool(t parcel, g *grant, tryFor, within time.Duration) *refusal {
	type outcome struct {
		left parcel
		err  error
	}
	start, done := time.Now(), make(chan outcome, 1)
	c.gate.enterAgain()
	go func() {
		defer c.gate.leave()
		left, err := c.produceNow(t, tryFor)
		g.release()
		done <- outcome{left, err}
	}()
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case o := <-done:
		switch {
		case o.err == nil:
			return nil
		case c.deps.Spool == nil || errors.Is(o.err, errLetterTooLarge): // waiting would not help
			return notStored("kafka")
		}
		return c.spoolAndWait(o.left, nil, within-time.Since(start))
	case <-timer.C:
		return notStored("kafka")
	}
}

// produceNow produces t and returns what is left to do after an error.
func (c *Collector) produceNow(t parcel, within time.Duration) (left parcel, err error) {
	ctx, cancel := context.WithTimeout(c.base, within)
	defer cancel()
	start := time.Now()
	left, events, letters := c.tryOnce(ctx, t)
	c.metrics.produceSeconds.Observe(time.Since(start).Seconds())
	// Success of one partition does not mean that the others have leaders again.
	waiting, unburied := false, false
	if c.deps.Spool != nil {
		waiting, unburied = c.spooled.mayHoldEvents(), !c.deps.Letters.Empty()
	}
	if events != nil || len(t.records) > len(left.records) && !waiting {
		c.eventsHealth.produce.observe(events)
	}
	if letters != nil || len(t.dead) > 0 && !unburied {
		c.lettersHealth.produce.observe(letters)
	}
	return left, cmp.Or(letters, events)
}

// errLetterTooLarge says that an event is too large for its topic and, even cut short, for that of
// the dead letters.
var errLetterTooLarge = errors.New("a dead letter is too large for its topic (max.message.bytes)")

// tryOnce produces a request's records once. It returns what Kafka may accept another time, and the
// errors of events and of dead letters. The latter is errLetterTooLarge if something had to be left
// out.
func (c *Collector) tryOnce(ctx context.Context, t parcel) (left parcel, events, letters error) {
	var tooLarge, err error
	dead := t.dead
	if c.deps.Spool == nil {
		// Letters go first, because the sender tries again, and a letter that is there twice is
		// dropped when it is redriven.
		if _, tooLarge, err = c.produceLetters(ctx, t.dead); err != nil {
			return t, nil, cmp.Or(tooLarge, err) // the sender sends the whole request again
		}
		dead = nil
	}
	var large []stream.Record
	left.records, large, events = c.produceOnce(ctx, c.deps.Producer, t.records)
	// Letters go last, because one of their partitions without a leader uses up all of the time.
	var worse error
	left.dead, worse, err = c.produceLetters(ctx, slices.Concat(dead, large))
	return left, events, cmp.Or(tooLarge, worse, err)
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

// produceLetters writes dead letters once, cut short if their topic does not accept them whole.
func (c *Collector) produceLetters(ctx context.Context, dead []stream.Record) (left []stream.Record, tooLarge, err error) {
	left, large, err := deadletter.Write(ctx, c.deps.DeadLetters, dead)
	c.stuckLetters.recordResult(dead, left)
	if len(large) > 0 {
		tooLarge = errLetterTooLarge
	}
	return left, tooLarge, err
}

// letterOf returns the dead letter of a record that is too large for the events topic.
func letterOf(r *stream.Record) stream.Record {
	id, _ := r.Header(route.HeaderMessage)
	return deadletter.NewRefused(string(r.Key), r.Time, r.Value, true, id, deadletter.LeftTooLarge)
}
