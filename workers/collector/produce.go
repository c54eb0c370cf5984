package collector

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/sealift/sealift/pkg/stream"
)

// produce writes what was taken and returns nil when Kafka has acknowledged all
// of it, or the spool. Production goes on when the request has been answered:
// its bytes count as in flight until Kafka's client has let go of them, so that
// an outage fills the bound and no more.
func (c *Collector) produce(ctx context.Context, t taken, g *grant) *refusal {
	if len(t.records)+len(t.dead) == 0 {
		g.release()
		return nil
	}
	within := c.cfg.AnswerWithin
	if c.deps.Spool != nil {
		if !c.deps.Spool.Empty() {
			c.handover.wait(ctx)
		}
		if !c.deps.Spool.Empty() {
			return c.store(ctx, t, g, within)
		}
		within = c.cfg.SpoolAfter
	}
	type outcome struct {
		left taken
		err  error
	}
	done := make(chan outcome, 1)
	c.gate.again()
	go func() {
		defer c.gate.leave()
		left, err := c.write(t)
		g.release()
		done <- outcome{left, err}
	}()
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case o := <-done:
		if o.err == nil {
			return nil
		}
		if c.deps.Spool == nil || errors.Is(o.err, stream.ErrRecordTooLarge) { // no time mends that
			return kafkaAway()
		}
		t = o.left
	case <-timer.C:
		if c.deps.Spool == nil {
			return kafkaAway()
		}
	case <-ctx.Done():
		return clientGone()
	}
	return c.store(ctx, t, nil, c.cfg.AnswerWithin-within)
}

// write returns what is left to do after an error.
func (c *Collector) write(t taken) (left taken, err error) {
	ctx, cancel := c.detached()
	defer cancel()
	start := time.Now()
	if len(t.dead) > 0 { // first: a letter that is there twice, since its sender tries again, is left out when it is redriven
		err = c.deps.DeadLetters.Produce(ctx, t.dead...)
	}
	if err == nil && len(t.records) > 0 {
		t.dead = nil
		err = c.deps.Producer.Produce(ctx, t.records...)
	}
	c.metrics.produceSeconds.Observe(time.Since(start).Seconds())
	c.producer.observe(err)
	return t, err
}

// health logs when something starts to fail and when it works again, not
// each failure: an outage has thousands.
type health struct {
	log   *slog.Logger
	fails string // what to say when it starts to fail
	works string // and when it works again
	mu    sync.Mutex
	since time.Time // guarded by mu; zero while it works
	count int       // guarded by mu; failures since then
	last  error     // guarded by mu; nil while it works
}

// failing returns the last error, nil while it works.
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
		h.log.Error(h.fails, "err", err) //nolint:sloglint // a constant of New
	case err != nil:
		h.count++
	case !h.since.IsZero():
		h.log.Info(h.works, "failed_for", time.Since(h.since), "failed_requests", h.count) //nolint:sloglint // a constant of New
		h.since = time.Time{}
	}
}
