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

// The way of events through the spool. It is open from the first request that
// Kafka does not take until all that is in the spool is in Kafka: while
// something waits, what comes goes behind it, so that the records of a key
// keep the order in which they were acknowledged. Only the end of it is waited
// for, when Kafka takes what was before.

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
	for _, e := range entries {
		t, err := parseParcel(e.Payload)
		if err != nil {
			bad = err
			continue
		}
		all.dead, all.records = append(all.dead, t.dead...), append(all.records, t.records...)
	}
	for _, part := range []struct {
		to      Producer
		records []stream.Record
	}{{c.deps.DeadLetters, all.dead}, {c.deps.Refill, all.records}} {
		for rest := part.records; len(rest) > 0; {
			n := chunk(rest)
			refused, err := c.insist(stopping, cut, part.to, rest[:n])
			if err != nil {
				return bad, err
			}
			bad = cmp.Or(bad, refused)
			rest = rest[n:]
		}
	}
	return bad, nil
}

// insist produces records until it is done, or stopping ends. bad says that some
// are too large for the topic, and left out: all behind them would wait for ever.
func (c *Collector) insist(stopping, cut context.Context, to Producer, records []stream.Record) (bad, err error) {
	for wait := firstPause; ; wait = min(2*wait, longestPause) {
		ctx, cancel := context.WithTimeout(cut, c.cfg.GiveUpAfter)
		err := to.Produce(ctx, records...)
		cancel()
		if errors.Is(err, stream.ErrRecordTooLarge) {
			half := len(records) / 2
			if half == 0 {
				return err, nil
			}
			bad, err := c.insist(stopping, cut, to, records[:half])
			if err != nil {
				return bad, err
			}
			worse, err := c.insist(stopping, cut, to, records[half:])
			return cmp.Or(bad, worse), err
		}
		c.producer.observe(err)
		if err == nil || stopping.Err() != nil {
			return nil, err
		}
		pause(stopping, wait)
	}
}

// chunk returns how many of records one call takes; at least one.
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
