package collector

import (
	"log/slog"
	"sync"
	"time"
)

// pathHealth has the health of each step by which events, or dead letters, get to Kafka.
type pathHealth struct {
	produce health
	store   health // into the spool
	load    health // out of it
}

// initHealth sets what is logged about each step, for events and for dead letters.
func (c *Collector) initHealth() {
	log := c.deps.Log
	c.eventsHealth = pathHealth{
		produce: health{log: log.With("topic", c.cfg.Topic), failsMessage: "events cannot be produced; requests are answered 503", worksMessage: "events can be produced again"},
		store:   health{log: log, failsMessage: "the spool does not take events; requests are answered 503", worksMessage: "the spool works again"},
		load:    health{log: log, failsMessage: "events in the spool cannot be read; what comes waits behind them", worksMessage: "events in the spool can be read again"},
	}
	c.lettersHealth = pathHealth{
		produce: health{log: log, failsMessage: "dead letters cannot be produced; requests with any are answered 503", worksMessage: "dead letters can be produced again"},
		store:   health{log: log, failsMessage: "the spool does not take dead letters; requests with any are answered 503", worksMessage: "the spool takes dead letters again"},
		load:    health{log: log, failsMessage: "dead letters in the spool cannot be read", worksMessage: "dead letters in the spool can be read again"},
	}
	if c.deps.Spool != nil {
		c.eventsHealth.produce.failsMessage = "events cannot be produced; they go to the spool"
		c.lettersHealth.produce.failsMessage = "dead letters cannot be produced; they go to the spool"
	}
}

// health logs when something starts to fail and when it works again, but not each failure: an
// outage has thousands.
type health struct {
	log          *slog.Logger
	failsMessage string // the message when it starts to fail
	worksMessage string // the message when it works again
	mu           sync.Mutex
	failingSince time.Time // guarded by mu; zero while it works
	failures     int       // guarded by mu; failures since then
	last         error     // guarded by mu; nil while it works
}

// lastError returns the last error, or nil while it works.
func (h *health) lastError() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last
}

func (h *health) observe(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = err
	switch {
	case err != nil && h.failingSince.IsZero():
		h.failingSince, h.failures = time.Now(), 1
		h.log.Error(h.failsMessage, "err", err) //nolint:sloglint // a constant of initHealth
	case err != nil:
		h.failures++
	case !h.failingSince.IsZero():
		h.log.Info(h.worksMessage, "failed_for", time.Since(h.failingSince), "failed_requests", h.failures) //nolint:sloglint // a constant of initHealth
		h.failingSince = time.Time{}
	}
}
