package copier

import (
	"context"
	"errors"
	"time"

	"github.com/sealift/sealift/pkg/destination"
	"github.com/sealift/sealift/pkg/meter"
)

// keepBook writes pages of the book until the returned function is called, which also writes the
// last page.
func (c *Copier) keepBook() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	written := make(chan struct{})
	go func() {
		defer close(written)
		c.book.Run(ctx)
	}()
	return func() {
		cancel()
		<-written
	}
}

// counting returns a context whose requests to staging are counted for the destination, and a
// function to call when they are done. Reads of the ledger are not counted for anyone, because many
// destinations share them.
func (c *Copier) counting(ctx context.Context, destination string) (context.Context, func()) {
	counter := new(meter.Counter)
	return meter.WithCounter(ctx, counter), func() { c.count(destination, counter.Counts()) }
}

// count notes requests. The destination must be one that the ledger or an order owes something to,
// so that forged jobs cannot fill the book with names.
func (c *Copier) count(destination string, n meter.Counts) {
	c.book.Count(destination, n)
	c.metrics.requests(destination, n)
}

// countsOf returns the requests that a PUT with this result took. A request without an answer may
// have arrived, so it counts; one that was never sent does not.
func countsOf(r destination.Result, err error) meter.Counts {
	n := meter.Counts{Puts: int64(r.Sends), AssumeRoles: int64(r.STS)}
	var refused interface{ RefusedEndpoint() bool } // pkg/netguard
	if errors.As(err, &refused) && refused.RefusedEndpoint() {
		n.Puts--
	}
	if r.DataKey {
		n.DataKeys = 1
	}
	return n
}

// noteFailure notes a failed try. Failures of replays say nothing about what is owed, and are not
// noted.
func (c *Copier) noteFailure(destination string, v destination.Verdict) {
	if c.cfg.replays {
		return
	}
	c.book.RecordFailure(destination, meter.Trouble{Reason: v.Reason, Cause: clip(v.Cause, mostOfACause), Fix: v.Fix.String()})
	c.metrics.lastError.WithLabelValues(destination).SetToCurrentTime()
}

// noteRest notes until when a destination that failed is not tried.
func (c *Copier) noteRest(destination string, until time.Time) {
	if !c.cfg.replays {
		c.book.RestUntil(destination, until)
	}
}
