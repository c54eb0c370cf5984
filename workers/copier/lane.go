package copier

import (
	"context"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/destination"
	"github.com/sealift/sealift/pkg/meter"
)

// A copier has two lanes: the jobs that the ledger owes, and those of replays.
// Each has its own topics, consumer group, scheduler with its limits and
// breakers, gate, cache of entries and metrics; so however many replays wait, no
// delivery does.

// shared is what the lanes of a copier have in common.
type shared struct {
	deps           Deps
	redis, staging *dependency
	customers      *destination.Putter // with what it learned of buckets
	receipts       *receipts           // a replay may close a debt
	packs          *packs
	book           *meter.Book
	replayMetrics  *metrics // registered once
}

// forReplays is the configuration of the replays' lane: its topic is
// "{JobsTopic}.replay", with one retry tier, and a file that fails for ten
// times as long is given up, to be seen in the order.
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

// replayEntriesRoom is entriesRoom of the replays' lane, some 3 MB: few copies
// go on at once.
const replayEntriesRoom = 5_000

// replayLane returns the copier as it works for replays.
func (c *Copier) replayLane() *replayer {
	r := &replayer{orders: map[string]*delivery.Order{}}
	r.Copier = &Copier{shared: c.shared, cfg: c.cfg.forReplays(), metrics: c.replayMetrics,
		entries: newEntries(c.deps.Staging, replayEntriesRoom),
		gate:    newGate(c.deps.Log, c.replayMetrics.waiting),
		attempt: r.try, setAside: r.setAside,
	}
	return r
}

// requeuer returns where the lane's jobs wait to be tried again.
func (c *Copier) requeuer(source queue) queue {
	if c.cfg.replays {
		return source // of no concern to the auditor
	}
	return queueWithMarker{c, source}
}

// setAside notes in the order that a file could not be delivered, unless another
// job of the same copy, which has the lease by now, delivered it: 1. note
// 2. look for the receipt, which whoever writes it does before it takes notes back.
func (r *replayer) setAside(ctx context.Context, job delivery.Job, v destination.Verdict) error {
	note := parkedNote(job, v)
	if err := store(ctx, r.deps.Staging, delivery.ReplayFailedKey(job.Replay, job.File, job.Destination), note.Encode(), false); err != nil {
		return err
	}
	switch made, err := exists(ctx, r.deps.Staging, delivery.ReplayReceiptKey(job.Replay, job.File, job.Destination)); {
	case err != nil:
		return err
	case made:
		return r.takeBack(ctx, job)
	}
	r.metrics.parked.WithLabelValues(job.Destination, v.Reason).Inc()
	r.deps.Log.WarnContext(ctx, "replay of a file given up", "replay", job.Replay, "destination", job.Destination,
		"file", job.File.String(), "attempt", job.Attempt, "cause", v.Cause, "fix", note.Fix)
	return nil
}

// takeBack deletes the note that a copy failed, if there is one.
func (r *replayer) takeBack(ctx context.Context, job delivery.Job) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return r.deps.Staging.Delete(ctx, delivery.ReplayFailedKey(job.Replay, job.File, job.Destination))
}
