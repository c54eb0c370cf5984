package copier

import (
	"context"
	"errors"
	"time"

	"github.com/sealift/sealift/pkg/destination"
	"github.com/sealift/sealift/pkg/meter"
)

// keepBook writes pages of the book until the returned function is called, which
// writes the last one.
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

// counting returns a context whose requests to staging are the destination's,
// and a function to call when they are made. Reads of the ledger are nobody's:
// many share them.
func (c *Copier) counting(ctx context.Context, destination string) (context.Context, func()) {
	counter := new(meter.Counter)
	return meter.With(ctx, counter), func() { c.count(destination, counter.Counts()) }
}

// count notes requests. The destination is one that the ledger, or an order,
// owes something to: whoever writes jobs must not fill the book with names.
func (c *Copier) count(destination string, n meter.Counts) {
	c.book.Count(destination, n)
	c.metrics.requests(destination, n)
}

// countsOf are the requests that a PUT took, which ended so. Those without an
// answer may have arrived, but for one that was never sent.
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

// noteFailure notes how a try ended. What a replay cannot do says nothing of
// what is owed.
func (c *Copier) noteFailure(destination string, v destination.Verdict) {
	if c.cfg.replays {
		return
	}
	c.book.Failed(destination, meter.Trouble{Reason: v.Reason, Cause: clip(v.Cause, mostOfACause), Fix: v.Fix.String()})
	c.metrics.lastError.WithLabelValues(destination).SetToCurrentTime()
}

// noteRest notes that a destination that failed is tried again only then.
func (c *Copier) noteRest(destination string, until time.Time) {
	if !c.cfg.replays {
		c.book.Rests(destination, until)
	}
}
