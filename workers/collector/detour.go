package collector

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/sealift/sealift/pkg/jitter"
	"github.com/sealift/sealift/pkg/spool"
)

// The way of events through the spool. It is open to a key from its first event
// that Kafka does not take until all of its events that are in the spool are in Kafka:
// what comes goes behind them, so that of requests of a key that follow one another, each sent
// when the one before was acknowledged, the records keep their order; those of requests at the
// same time have none. Only the end of it is waited for, when Kafka takes what was before.
// The other keys go past it: their partition may have a leader.

// isBehind tells whether events of t go behind what is in the spool.
func (c *Collector) isBehind(t taken) bool {
	if c.deps.Spool.Empty() {
		return false
	}
	_, later := c.behind.split(t.records)
	return len(later) > 0
}

// store puts what was taken into the spool and returns nil when it is on the
// disk. held, unless nil, is what the request holds; it is released then.
func (c *Collector) store(t taken, held *grant, within time.Duration) *refusal {
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
		err := c.append(t, time.Now())
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
			return retryLater(http.StatusServiceUnavailable, "spool_full", "events cannot be stored just now: try again")
		}
		return retryLater(http.StatusServiceUnavailable, "spool", "events cannot be stored just now: try again")
	case <-timer.C:
		return retryLater(http.StatusServiceUnavailable, "spool", "events cannot be stored just now: try again")
	}
}

// append puts t into the spools. Letters first: if the events' spool does not take those,
// they come again, and a letter that is there twice is left out when it is redriven. Without
// room for the events each try would bring the letters, until theirs is full as well.
func (c *Collector) append(t taken, at time.Time) error {
	if len(t.dead) > 0 {
		if events := (taken{records: t.records}); len(t.records) > 0 && !c.deps.Spool.Fits(parcelBytes(events)) {
			c.events.store.observe(spool.ErrFull)
			return spool.ErrFull
		}
		err := put(c.deps.Letters, taken{dead: t.dead}, at)
		c.letters.store.observe(err)
		if err != nil || len(t.records) == 0 {
			return err
		}
	}
	c.behind.enter(t.records)
	err := put(c.deps.Spool, taken{records: t.records}, at)
	c.behind.entered(t.records, err == nil)
	c.events.store.observe(err)
	return err
}

func put(into *spool.Spool, t taken, at time.Time) error {
	return into.Append(spool.Entry{
		Time: at, Records: len(t.records) + len(t.dead),
		Payload: appendParcel(make([]byte, 0, parcelBytes(t)), t),
	})
}

// spoolReady tells whether the spool works, or is not needed. One that failed is
// tried with a parcel of nothing: nobody sends to a collector that is not ready.
func (c *Collector) spoolReady(ctx context.Context) error {
	if c.events.store.failing() == nil {
		return nil
	}
	soon, cancel := context.WithTimeout(ctx, time.Second) // leaves time for the disk
	defer cancel()
	if c.deps.Spool.Empty() && c.deps.Ping(soon) == nil {
		return nil
	}
	if c.gate.enter() {
		defer c.gate.leave()
		c.store(taken{}, nil, time.Second)
	}
	return c.events.store.failing()
}

const firstPause, longestPause = 100 * time.Millisecond, 5 * time.Second

// unspoolEvents produces what is in the spool, oldest first, until stopping ends; then
// it goes on for as long as there is something and Kafka takes it. cut ends it
// at once.
func (c *Collector) unspoolEvents(stopping, cut context.Context) {
	defer c.handover.end()
	for warm := false; ; { // Kafka has taken events of this detour
		if c.deps.Spool.Empty() {
			warm = false
			c.behind.settle(c.deps.Spool.Empty)
			c.handover.end()
		}
		entries, err := c.deps.Spool.Read(stopping, chunkBytes)
		if err != nil && stopping.Err() != nil {
			return
		}
		c.events.load.observe(err)
		var bad error
		if err == nil {
			bad, err = c.refill(stopping, cut, entries, warm)
		}
		if err == nil {
			c.deps.Spool.Delivered(bad)
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

// pause waits a half to the whole of d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d/2 + jitter.N(d/2))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
