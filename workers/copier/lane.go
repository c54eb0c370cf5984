package copier

import (
	"context"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/destination"
	"github.com/sealift/sealift/pkg/meter"
)

// A copier has two lanes: one for the jobs that the ledger owes, one for replays. Each has its own
// topics, consumer group, scheduler with limits and breakers, gate, entry cache and metrics. So
// replays never delay a delivery, however many of them wait.

// shared is what the lanes of a copier share.
type shared struct {
	deps           Deps
	redis, staging *dependency
	customers      *destination.Putter // remembers what it learned about buckets
	receipts       *receipts           // shared because a replay may close a debt
	packs          *packs
	book           *meter.Book
	replayMetrics  *metrics // kept here because they can be registered only once
}

// forReplays returns the configuration of the replay lane. Its topic is "{JobsTopic}.replay", with
// one retry tier. A file is given up after failing for ten times that tier's delay; the failure is
// noted at the order.
func (c Config) forReplays() Config {
	c = c.withDefaults()
	if c.replays {
		return c
	}
	c.replays = true
	c.JobsTopic += ".replay"
	c.Concurrency = max(1, c.ReplayConcurrency)
	c.PerDestination = min(c.PerDestination, c.Concurrency)
	c.RetryTiers = c.RetryTiers[:1]
	c.ParkAfter = 10 * c.RetryTiers[0]
	return c
}

// maxCachedReplayFiles is maxCachedFiles for the replay lane, some 3 MB; it runs few copies at
// once.
const maxCachedReplayFiles = 5_000

// replayLane returns the replay lane of the copier.
func (c *Copier) replayLane() *replayer {
	r := &replayer{orders: map[string]*delivery.Order{}}
	r.Copier = &Copier{shared: c.shared, cfg: c.cfg.forReplays(), metrics: c.replayMetrics,
		entries:     newEntries(c.deps.Staging, maxCachedReplayFiles),
		gate:        newGate(c.deps.Log, c.replayMetrics.waiting),
		attemptOnce: r.try, setAside: r.setAside,
	}
	return r
}

// retryQueue returns the queue in which the lane's jobs wait for their next try.
func (c *Copier) retryQueue(source queue) queue {
	if c.cfg.replays {
		return source // the auditor does not track replays
	}
	return queueWithMarker{c, source}
}

// setAside notes at the order that a file could not be delivered, unless another job for the same
// copy, which holds the lease by now, has delivered it. The order matters:
// 1. write the note  2. look for the receipt. A delivery writes its receipt before it deletes the
// note, so one of the two sees what the other wrote.
func (r *replayer) setAside(ctx context.Context, job delivery.Job, v destination.Verdict) error {
	note := parkedNote(job, v)
	if err := putNote(ctx, r.deps.Staging, delivery.ReplayFailedKey(job.Replay, job.File, job.Destination), note.Encode()); err != nil {
		return err
	}
	switch delivered, err := exists(ctx, r.deps.Staging, delivery.ReplayReceiptKey(job.Replay, job.File, job.Destination)); {
	case err != nil:
		return err
	case delivered:
		return r.deleteFailureNote(ctx, job)
	}
	r.metrics.parked.WithLabelValues(job.Destination, v.Reason).Inc()
	r.deps.Log.WarnContext(ctx, "replay of a file given up", "replay", job.Replay, "destination", job.Destination,
		"file", job.File.String(), "attempt", job.Attempt, "cause", v.Cause, "fix", note.Fix)
	return nil
}

// deleteFailureNote deletes the note of a failure, if there is one.
func (r *replayer) deleteFailureNote(ctx context.Context, job delivery.Job) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return r.deps.Staging.Delete(ctx, delivery.ReplayFailedKey(job.Replay, job.File, job.Destination))
}
