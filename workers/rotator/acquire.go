package rotator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/stream"
)

// ErrHalted says that the ledger and Kafka contradict each other, so that
// going on could lose or double records. An operator has to decide; nothing
// is ever reset.
var ErrHalted = errors.New("partition halted")

// Acquire takes the partition over: it finds the head, checks it against what
// Kafka holds, enqueues jobs that its former owner may not have, and writes a
// claim, which fences that owner. It returns the claim, or the first entry of
// a new chain. The error is ErrHalted, ledger.ErrLost if another worker took
// it over at the same time, or one that a later try may not meet.
func (r *Rotator) Acquire(ctx context.Context, log ledger.Log, tenure ledger.Tenure) (*ledger.Entry, error) {
	lg := r.deps.Logger.With("topic", log.Topic, "partition", log.Partition)
	chain := ledger.NewChain(r.deps.Staging, log)
	head, err := chain.Head(ctx)
	if err != nil && !errors.Is(err, ledger.ErrEmpty) {
		return nil, err
	}
	// After the head: the log's end only grows, so it must hold the watermark.
	all, err := r.deps.Kafka.Bounds(ctx, log.Topic)
	if err != nil {
		return nil, err
	}
	bounds, ok := all[log.Partition]
	if !ok {
		return nil, fmt.Errorf("take partition over: topic %q has no partition %d", log.Topic, log.Partition)
	}
	if err := check(head, log, r.cfg.Cluster, bounds, tenure.Committed); err != nil {
		r.metrics.halted.Inc()
		return nil, err
	}
	var e *ledger.Entry
	if head == nil {
		e = &ledger.Entry{
			Version: ledger.EntryVersion, Kind: ledger.KindInit,
			Owner: tenure.Owner, Generation: tenure.Generation,
			Cluster: r.cfg.Cluster, Topic: log.Topic, Incarnation: log.Incarnation, Partition: log.Partition,
			Files: []ledger.File{}, LowWatermark: bounds.First,
		}
	} else {
		if err := r.redispatch(ctx, lg, chain, head); err != nil {
			return nil, err
		}
		e = follow(head, ledger.KindClaim, tenure)
	}
	e.Attempt, e.WrittenAt = uuid.NewString(), time.Now().UnixMilli()
	if err := r.append(ctx, lg, e); err != nil {
		return nil, err
	}
	r.commit(ctx, lg, e, tenure)
	return e, nil
}

// redispatch enqueues the jobs of the entries whose owner may have stopped
// before it did.
func (r *Rotator) redispatch(ctx context.Context, lg *slog.Logger, chain *ledger.Chain, head *ledger.Entry) error {
	for seq := head.DispatchedThrough + 1; seq <= head.Seq; seq++ {
		e := head
		if seq != head.Seq {
			var err error
			if e, err = chain.Entry(ctx, seq); err != nil {
				return err
			}
		}
		if err := r.dispatch(ctx, lg, e); err != nil {
			return err
		}
	}
	return nil
}

// check compares the head (nil: no chain) with what Kafka holds.
func check(head *ledger.Entry, log ledger.Log, cluster string, b stream.Bounds, committed int64) error {
	halt := func(format string, args ...any) error {
		return fmt.Errorf("ledger %s: %w: %s", log, ErrHalted, fmt.Sprintf(format, args...))
	}
	switch {
	case head == nil && committed > b.First:
		return halt("the group has committed offset %d, but there is no ledger: check staging.bucket and staging.prefix, or restore the bucket; if kafka.incarnation was changed on purpose, stop all appenders and delete the group's offsets of this topic", committed)
	case head == nil:
		return nil
	case head.Cluster != cluster:
		return halt("it belongs to Kafka cluster %q, this is %q: check kafka.brokers; if the cluster was replaced, set a new kafka.incarnation", head.Cluster, cluster)
	case committed > head.LowWatermark:
		return halt("the group has committed offset %d, above its watermark %d: the staging bucket was rolled back; restore its newest versions", committed, head.LowWatermark)
	case b.End < head.LowWatermark:
		return halt("the topic ends at offset %d, below its watermark %d: the topic was re-created or lost records; if it was re-created, set a new kafka.incarnation", b.End, head.LowWatermark)
	case b.First > head.LowWatermark:
		return halt("the topic begins at offset %d, above its watermark %d: retention removed %d offsets before they were read; restore them, or accept the loss with a new kafka.incarnation, and raise retention.ms", b.First, head.LowWatermark, b.First-head.LowWatermark)
	}
	return nil
}
