package copier

import (
	"context"
	"errors"
	"time"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/lease"
)

// doneTTL is how long Redis remembers a receipt. The marker saves a request to the staging bucket
// when a job comes twice, so it need not be long.
const doneTTL = 24 * time.Hour

// releaseTimeout bounds requests that are not necessary, such as releasing a lease that expires
// anyway.
const releaseTimeout = 2 * time.Second

// acquire takes the lease of the job's debt, or returns errBusy. The lease is nil if Redis is away
// and the configuration allows working without it.
func (c *Copier) acquire(ctx context.Context, job delivery.Job) (*lease.Lease, error) {
	held, err := c.deps.Leases.Acquire(ctx, leaseName(job), c.cfg.LockTTL)
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

func leaseName(job delivery.Job) string {
	if job.Replay != "" {
		return delivery.ReplayLeaseName(job.Replay, job.File, job.Destination)
	}
	return delivery.LeaseName(job.File, job.Destination)
}

// findMarker looks for a marker in Redis. If Redis does not answer it returns an *awayError, or
// answered as false if the configuration allows working without it.
func (c *Copier) findMarker(ctx context.Context, key string) (found, answered bool, err error) {
	found, err = c.deps.Leases.Marked(ctx, key)
	if err != nil && c.cfg.WithoutRedis && ctx.Err() == nil {
		return false, false, nil
	}
	if err != nil {
		return false, false, &awayError{c.redis, err}
	}
	return found, true, nil
}

// markDone remembers the receipt in Redis. This is a cache: an error only costs a request later.
func (c *Copier) markDone(ctx context.Context, job delivery.Job) {
	c.setMarker(ctx, delivery.DoneMarker(job.File, job.Destination), doneTTL)
}

func (c *Copier) setMarker(ctx context.Context, key string, ttl time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, releaseTimeout)
	defer cancel()
	if err := c.deps.Leases.Mark(ctx, key, ttl); err != nil {
		c.deps.Log.DebugContext(ctx, "marker not set", "err", err)
	}
}

// release releases the lease, even while stopping.
func (c *Copier) release(ctx context.Context, held *lease.Lease) {
	if held == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	if err := held.Release(ctx); err != nil {
		c.deps.Log.DebugContext(ctx, "lease not released", "err", err)
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
