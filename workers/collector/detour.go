package collector

import (
	"context"
	"errors"
	"time"

	"github.com/sealift/sealift/pkg/jitter"
	"github.com/sealift/sealift/pkg/sleep"
	"github.com/sealift/sealift/pkg/spool"
)

// The detour is the way of events through the spool. A key is on it from its first event that Kafka
// does not accept until all of its events in the spool are in Kafka. Until then its new events go
// behind them, so that if a client sends a key's requests one after another, each after the
// previous one was acknowledged, their records keep that order. Concurrent requests have no order.
// Requests wait for the detour only at its very end, while Kafka takes its last entries (see
// handover). Other keys bypass it, because their partition may have a leader.

// hasSpooledKeys tells whether any events of t have to go behind what is in the spool.
func (c *Collector) hasSpooledKeys(t parcel) bool {
	if c.deps.Spool.Empty() {
		return false
	}
	_, later := c.spooled.split(t.records)
	return len(later) > 0
}

// spoolAndWait puts t into the spool and returns nil when it is on disk. held, unless nil, is the
// request's grant; it is then released.
func (c *Collector) spoolAndWait(t parcel, held *grant, within time.Duration) *refusal {
	g := &grant{budget: &c.inFlight}
	if !g.resize(parcelBytes(t)) {
		if held != nil {
			held.release()
		}
		return overloaded()
	}
	done := make(chan error, 1)
	c.gate.enterAgain()
	go func() {
		defer c.gate.leave()
		err := c.spoolParcel(t, time.Now())
		g.release()
		if held != nil {
			held.release()
		}
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
			return notStored("spool_full")
		}
		return notStored("spool")
	case <-timer.C:
		return notStored("spool")
	}
}

// spoolParcel puts t into the spools, letters first: if the events' spool then refuses the events,
// the sender sends the request again, and a letter that is there twice is dropped when it is
// redriven. The events' spool must have room before that; otherwise each retry would add the
// letters again, until their spool is full as well.
func (c *Collector) spoolParcel(t parcel, at time.Time) error {
	if len(t.dead) > 0 {
		if events := (parcel{records: t.records}); len(t.records) > 0 && !c.deps.Spool.Fits(parcelBytes(events)) {
			c.eventsHealth.store.observe(spool.ErrFull)
			return spool.ErrFull
		}
		err := appendToSpool(c.deps.Letters, parcel{dead: t.dead}, at)
		c.lettersHealth.store.observe(err)
		if err != nil || len(t.records) == 0 {
			return err
		}
	}
	c.spooled.beginStore(t.records)
	err := appendToSpool(c.deps.Spool, parcel{records: t.records}, at)
	c.spooled.endStore(t.records, err == nil)
	c.eventsHealth.store.observe(err)
	return err
}

func appendToSpool(into *spool.Spool, t parcel, at time.Time) error {
	return into.Append(spool.Entry{
		Time: at, Records: len(t.records) + len(t.dead),
		Payload: appendParcel(make([]byte, 0, parcelBytes(t)), t),
	})
}

// spoolReady tells whether the spool works, or is not needed. A spool that failed is tried with an
// empty parcel, because nobody sends requests to a collector that is not ready.
func (c *Collector) spoolReady(ctx context.Context) error {
	if c.eventsHealth.store.lastError() == nil {
		return nil
	}
	soon, cancel := context.WithTimeout(ctx, time.Second) // leaves time for the disk
	defer cancel()
	if c.deps.Spool.Empty() && c.deps.Ping(soon) == nil {
		return nil
	}
	if c.gate.enter() {
		defer c.gate.leave()
		c.spoolAndWait(parcel{}, nil, time.Second)
	}
	return c.eventsHealth.store.lastError()
}

const firstPause, longestPause = 100 * time.Millisecond, 5 * time.Second

// unspoolEvents produces what is in the spool, oldest first. After stopping ends it continues only
// as long as there is something left and Kafka accepts it. cut ends it at once.
func (c *Collector) unspoolEvents(stopping, cut context.Context) {
	defer c.handover.end()
	for warm := false; ; { // warm: Kafka has accepted events of this detour
		if c.deps.Spool.Empty() {
			warm = false
			c.spooled.resetIfEmpty(c.deps.Spool.Empty)
			c.handover.end()
		}
		entries, err := c.deps.Spool.Read(stopping, chunkBytes)
		if err != nil && stopping.Err() != nil {
			return
		}
		c.eventsHealth.load.observe(err)
		var bad error
		if err == nil {
			bad, err = c.refill(stopping, cut, entries, warm)
		}
		if err == nil {
			c.deps.Spool.MarkDelivered(bad)
			warm = true
			continue
		}
		warm = false
		c.handover.end()
		if stopping.Err() != nil {
			return
		}
		pause(stopping, longestPause)
	}
}

// pause waits between d/2 and d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) { _ = sleep.For(ctx, d/2+jitter.N(d/2)) }
