package copier

import (
	"context"
	"errors"
	"time"

	"github.com/sealift/sealift/pkg/destination"
	"github.com/sealift/sealift/pkg/meter"
)

// startBook writes pages of the book until the returned function is called, which also writes the
// last page.
func (c *Copier) startBook() (stop func()) {
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

// countRequests returns a context whose requests to staging are counted for the destination, and a
// function to call when they are done. Reads of the ledger are not counted for anyone, because many
// destinations share them.
func (c *Copier) countRequests(ctx context.Context, destination string) (context.Context, func()) {
	counter := new(meter.Counter)
	return meter.WithCounter(ctx, counter), func() { c.addCounts(destination, counter.Counts()) }
}

// addCounts notes requests. The destination must be one that the ledger or an order owes something
// to, so that forged jobs cannot fill the book with names.
func (c *Copier) addCounts(destination string, n meter.Counts) {
	c.book.Count(destination, n)
	c.metrics.addRequests(destination, n)
}

// requestCounts returns the requests that a PUT with this result took. A request without an answer
// may have arrived, so it counts; one that was never sent does not.
func requestCounts(r destination.Result, err error) meter.Counts {
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

// recordFailure notes a failed try. Failures of replays say nothing about what is owed, and are not
// noted.
func (c *Copier) recordFailure(destination string, v destination.Verdict) {
	if c.cfg.replays {
		return
	}
	c.book.RecordFailure(destination, meter.Trouble{Reason: v.Reason, Cause: clip(v.Cause, maxCauseRunes), Fix: v.Fix.String()})
	c.metrics.lastError.WithLabelValues(destination).SetToCurrentTime()
}

// recordBreakerOpen notes until when a destination that failed is not tried.
func (c *Copier) recordBreakerOpen(destination string, until time.Time) {
	if !c.cfg.replays {
		c.book.RestUntil(destination, until)
	}
}
