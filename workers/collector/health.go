package collector

import (
	"log/slog"
	"sync"
	"time"
)

// way has the health of each step by which events, or dead letters, get to Kafka.
type way struct {
	produce health
	store   health // into the spool
	load    health // out of it
}

// nameSteps sets what is logged about each step, for events and for dead letters.
func (c *Collector) nameSteps() {
	log := c.deps.Log
	c.events = way{
		produce: health{log: log.With("topic", c.cfg.Topic), fails: "events cannot be produced; requests are answered 503", works: "events can be produced again"},
		store:   health{log: log, fails: "the spool does not take events; requests are answered 503", works: "the spool works again"},
		load:    health{log: log, fails: "events in the spool cannot be read; what comes waits behind them", works: "events in the spool can be read again"},
	}
	c.letters = way{
		produce: health{log: log, fails: "dead letters cannot be produced; requests with any are answered 503", works: "dead letters can be produced again"},
		store:   health{log: log, fails: "the spool does not take dead letters; requests with any are answered 503", works: "the spool takes dead letters again"},
		load:    health{log: log, fails: "dead letters in the spool cannot be read", works: "dead letters in the spool can be read again"},
	}
	if c.deps.Spool != nil {
		c.events.produce.fails = "events cannot be produced; they go to the spool"
		c.letters.produce.fails = "dead letters cannot be produced; they go to the spool"
	}
}

// health logs when something starts to fail and when it works again, but not each failure: an
// outage has thousands.
type health struct {
	log   *slog.Logger
	fails string // the message when it starts to fail
	works string // the message when it works again
	mu    sync.Mutex
	since time.Time // guarded by mu; zero while it works
	count int       // guarded by mu; failures since then
	last  error     // guarded by mu; nil while it works
}

// failing returns the last error, or nil while it works.
func (h *health) failing() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last
}

func (h *health) observe(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = err
	switch {
	case err != nil && h.since.IsZero():
		h.since, h.count = time.Now(), 1
		h.log.Error(h.fails, "err", err) //nolint:sloglint // a constant of nameSteps
	case err != nil:
		h.count++
	case !h.since.IsZero():
		h.log.Info(h.works, "failed_for", time.Since(h.since), "failed_requests", h.count) //nolint:sloglint // a constant of nameSteps
		h.since = time.Time{}
	}
}
