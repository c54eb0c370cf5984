package collector

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/sealift/sealift/pkg/jitter"
	"github.com/sealift/sealift/pkg/spool"
	"github.com/sealift/sealift/pkg/stream"
)

// The way of events through the spool. It is open to a key from its first event
// that Kafka does not take until all of its events that are in the spool are in Kafka:
// what comes goes behind them, so that the records of a key keep the order in which they
// were acknowledged. Only the end of it is waited for, when Kafka takes what was before.
// The other keys go past it: their partition may have a leader.

// isBehind tells whether events go behind what is in the spool.
func (c *Collector) isBehind(t taken) bool { return !c.deps.Spool.Empty() && c.behind.any(t) }

// store puts what was taken into the spool and returns nil when it is on the
// disk. held, unless nil, is what the request holds; it is released then.
func (c *Collector) store(ctx context.Context, t taken, held *grant, within time.Duration) *refusal {
	g := &grant{budget: &c.inFlight}
	if !g.resize(parcelBytes(t)) {
		if held != nil {
			held.release()
		}
		return overloaded()
	}
	done := make(chan error, 1)
	c.gate.again()
	c.behind.enter(t)
	go func() {
		defer c.gate.leave()
		err := c.deps.Spool.Append(spool.Entry{
			Time: time.Now(), Records: len(t.records) + len(t.dead),
			Payload: appendParcel(make([]byte, 0, g.bytes), t),
		})
		g.release()
		if held != nil {
			held.release()
		}
		c.behind.entered(t, !errors.Is(err, spool.ErrFull)) // after another error it may be there all the same
		c.spooled.observe(err)
		done <- err
	}()
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case err := <-done:
		switch {
		case err == nil:
			return nil
		case errors.Is(err, spool.ErrFull):
			return retryLater(http.StatusServiceUnavailable, "spool_full", "events cannot be stored just now: try again")
		}
		return retryLater(http.StatusServiceUnavailable, "spool", "events cannot be stored just now: try again")
	case <-timer.C:
		return retryLater(http.StatusServiceUnavailable, "spool", "events cannot be stored just now: try again")
	case <-ctx.Done():
		return clientGone()
	}
}

// spoolReady tells whether the spool works, or is not needed. One that failed is
// tried with a parcel of nothing: nobody sends to a collector that is not ready.
func (c *Collector) spoolReady(ctx context.Context) error {
	if c.spooled.failing() == nil {
		return nil
	}
	soon, cancel := context.WithTimeout(ctx, time.Second) // leaves time for the disk
	defer cancel()
	if c.deps.Spool.Empty() && c.deps.Ping(soon) == nil {
		return nil
	}
	if c.gate.enter() {
		defer c.gate.leave()
		c.store(ctx, taken{}, nil, time.Second)
	}
	return c.spooled.failing()
}

const (
	// What one call produces: less than one batch of Kafka's client, so those of
	// a partition are in one request, and no request of them overtakes another
	// that is tried again.
	chunkBytes   = 900_000
	chunkRecords = 9_000

	// refillFor is how long one try takes at most.
	refillFor = 2 * time.Minute

	firstPause, longestPause = 100 * time.Millisecond, 5 * time.Second
)

// empty produces what is in the spool, oldest first, until stopping ends; then
// it goes on for as long as there is something and Kafka takes it. cut ends it
// at once.
func (c *Collector) empty(stopping, cut context.Context) {
	defer c.handover.end()
	for taken := false; ; { // by Kafka, of this detour's
		if c.deps.Spool.Empty() {
			taken = false
			c.behind.settle(c.deps.Spool.Empty)
			c.handover.end()
		}
		entries, err := c.deps.Spool.Read(stopping, chunkBytes)
		if err != nil && stopping.Err() != nil {
			return
		}
		c.unspool.observe(err)
		var bad error
		if err == nil {
			if taken && c.lastOf(entries) {
				c.handover.begin()
			}
			bad, err = c.refill(stopping, cut, entries)
		}
		if err == nil {
			c.deps.Spool.Delivered(bad)
			taken = true
			continue
		}
		taken = false
		c.handover.end()
		if stopping.Err() != nil {
			return
		}
		pause(stopping, longestPause)
	}
}

// lastOf tells whether nothing is behind entries in the spool.
func (c *Collector) lastOf(entries []spool.Entry) bool {
	var records int64
	for i := range entries {
		records += int64(entries[i].Records)
	}
	return c.deps.Spool.Stats().Records <= records
}

// refill produces entries until Kafka has all of them; it returns an error
// only when it has to stop before. bad says that an entry is none, or holds
// what Kafka never takes.
func (c *Collector) refill(stopping, cut context.Context, entries []spool.Entry) (bad, err error) {
	var all taken
	parcels := make([]taken, len(entries))
	for i, e := range entries {
		if parcels[i], err = parseParcel(e.Payload); err != nil {
			bad = err
		}
		all.dead, all.records = append(all.dead, parcels[i].dead...), append(all.records, parcels[i].records...)
	}
	for rest := all; len(rest.dead)+len(rest.records) > 0; {
		d, r := chunk(rest.dead), chunk(rest.records)
		never, err := c.insist(stopping, cut, taken{dead: rest.dead[:d], records: rest.records[:r]})
		if err != nil {
			return bad, err
		}
		bad = cmp.Or(bad, never)
		rest.dead, rest.records = rest.dead[d:], rest.records[r:]
	}
	for i := range entries {
		c.behind.leave(parcels[i], entries[i].Found)
	}
	return bad, nil
}

// insist produces what is left until nothing is, or stopping ends. never says that
// something was left out that no topic takes: all behind it would wait for ever.
func (c *Collector) insist(stopping, cut context.Context, left taken) (never, err error) {
	for wait := firstPause; ; wait = min(2*wait, longestPause) {
		ctx, cancel := context.WithTimeout(cut, refillFor)
		var worse error
		left, worse, err = c.try(ctx, c.deps.Refill, left)
		cancel()
		never = cmp.Or(never, worse)
		c.producer.observe(err)
		if err == nil || stopping.Err() != nil {
			return never, err
		}
		pause(stopping, wait)
	}
}

// chunk returns how many of records one call takes; at least one, if there are any.
func chunk(records []stream.Record) int {
	n := 0
	for size := int64(0); n < min(len(records), chunkRecords); n++ {
		if size += recordBytes(&records[n]); size > chunkBytes && n > 0 {
			break
		}
	}
	return n
}

// pause waits a half to the whole of d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d/2 + jitter.N(d/2))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
