package copier

import (
	"context"
	"errors"
	"time"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/lease"
)

// doneTTL is how long Redis remembers a receipt, by delivery.DoneMarker. The marker saves a request
// to the staging bucket when a job comes twice, and tells copiers whose listings are older. It need
// not be long.
const doneTTL = 24 * time.Hour

// releaseTimeout bounds requests that are not necessary, such as releasing a lease that expires
// anyway.
const releaseTimeout = 2 * time.Second

// acquireDebt takes the lease of the job's debt. It returns errBusy if somebody else has it, and
// errMoot if the marker done says that the debt is closed. The lease is nil if Redis is away and the
// configuration allows working without it.
func (c *Copier) acquireDebt(ctx context.Context, job delivery.Job, done string) (*lease.Lease, error) {
	held, err := c.deps.Leases.AcquireUnlessMarked(ctx, delivery.LeaseName(job.File, job.Destination), c.cfg.LockTTL, done)
	if errors.Is(err, lease.ErrMarked) { // may be of another entry's debt, if an older ledger was restored and Redis was not cleared
		c.deps.Log.DebugContext(ctx, "job over: Redis says that its receipt exists", "destination", job.Destination, "file", job.File.String())
		return nil, errMoot
	}
	return c.leaseOrVerdict(ctx, held, err)
}

// acquireReplayed is acquireDebt for a job of a replay, which has no marker.
func (c *Copier) acquireReplayed(ctx context.Context, job delivery.Job) (*lease.Lease, error) {
	held, err := c.deps.Leases.Acquire(ctx, delivery.ReplayLeaseName(job.Replay, job.File, job.Destination), c.cfg.LockTTL)
	return c.leaseOrVerdict(ctx, held, err)
}

func (c *Copier) leaseOrVerdict(ctx context.Context, held *lease.Lease, err error) (*lease.Lease, error) {
	switch {
	case errors.Is(err, lease.ErrHeld):
		return nil, errBusy
	case errors.Is(err, lease.ErrUnavailable) && c.cfg.WithoutRedis && ctx.Err() == nil:
		return nil, nil
	case errors.Is(err, lease.ErrUnavailable):
		return nil, &awayError{c.redis, err}
	}
	return held, err
}

// setMarker sets a marker. All are caches: an error only costs a request later.
func (c *Copier) setMarker(ctx context.Context, key string, ttl time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, releaseTimeout)
	defer cancel()
	if err := c.deps.Leases.Mark(ctx, key, ttl); err != nil {
		c.deps.Log.DebugContext(ctx, "marker not set", "err", err)
	}
}

// release releases the lease and leaves the marker for doneTTL, even while stopping. Either may be
// absent. Errors only cost requests later.
func (c *Copier) release(ctx context.Context, held *lease.Lease, marker string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	var err error
	switch {
	case held != nil && marker != "":
		err = held.ReleaseAndMark(ctx, marker, doneTTL)
	case held != nil:
		err = held.Release(ctx)
	case marker != "":
		err = c.deps.Leases.Mark(ctx, marker, doneTTL)
	}
	if err != nil {
		c.deps.Log.DebugContext(ctx, "lease not released, or marker not set", "err", err)
	}
}

// queueWithMarker also sets a marker that tells the auditor which jobs wait in a retry tier.
type queueWithMarker struct {
	c    *Copier
	next queue
}

// requeue implements queue.
func (q queueWithMarker) requeue(ctx context.Context, tier int, job delivery.Job) error {
	if err := q.next.requeue(ctx, tier, job); err != nil {
		return err
	}
	// The job may start late by as much as the tier's delay, plus a minute for short tiers, before
	// the auditor enqueues another.
	q.c.setMarker(ctx, delivery.QueuedMarker(job.File, job.Destination), 2*q.c.cfg.RetryTiers[tier]+time.Minute)
	return nil
}
