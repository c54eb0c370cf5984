package rotator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/sealift/sealift/pkg/ablation"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/segment"
	"github.com/sealift/sealift/pkg/stream"
)

// ErrHalted says that the ledger and Kafka contradict each other, so that continuing could lose or
// duplicate records. An operator has to decide; nothing is ever reset.
var ErrHalted = errors.New("partition halted")

// Acquire takes the partition over: it finds the head, checks it against what Kafka holds, enqueues
// the jobs that the former owner may not have enqueued, and writes a claim, which fences that
// owner. It returns the claim, or the first entry of a new chain. The error is ErrHalted,
// ledger.ErrLost if another worker took the partition over at the same time, or something that may
// be gone at the next try.
func (r *Rotator) Acquire(ctx context.Context, log ledger.Log, tenure ledger.Tenure) (*ledger.Entry, error) {
	lg := r.deps.Logger.With("topic", log.Topic, "partition", log.Partition)
	chain := ledger.NewChain(r.deps.Staging, log)
	head, err := chain.Head(ctx)
	if err != nil && !errors.Is(err, ledger.ErrEmpty) {
		return nil, err
	}
	// The bounds are read after the head: since the log's end only grows, it must then be at or
	// above the watermark.
	bounds, err := stream.BoundsOf(ctx, r.deps.Kafka, log.Topic, log.Partition)
	if err != nil {
		return nil, fmt.Errorf("take partition over: %w", err)
	}
	var e *ledger.Entry
	if head == nil {
		e = r.initEntry(log, bounds.First, tenure)
	} else {
		e = r.claimEntry(head, tenure)
	}
	if err := r.checkHead(ctx, lg, chain, head, e, bounds, tenure); err != nil {
		if errors.Is(err, ErrHalted) {
			r.metrics.halted.Inc()
		}
		return nil, err
	}
	if tenure.CheckRouter != nil {
		if err := tenure.CheckRouter(e.Router); err != nil {
			return nil, fmt.Errorf("take partition over: %w", err)
		}
	}
	if head != nil {
		if err := r.redispatch(ctx, lg, chain, head); err != nil {
			return nil, err
		}
		if ablation.On(ablation.NoClaim) && e.Router == head.Router { // without a claim the rule could not be switched
			return head, nil
		}
	}
	e.Attempt, e.WrittenAt = uuid.NewString(), time.Now().UnixMilli()
	if err := r.append(ctx, lg, e); err != nil {
		return nil, err
	}
	r.commit(ctx, lg, e, tenure)
	return e, nil
}

// initEntry returns the entry that begins a chain whose reading starts at offset. Attempt and
// WrittenAt are left to the caller.
func (r *Rotator) initEntry(log ledger.Log, offset int64, tenure ledger.Tenure) *ledger.Entry {
	return &ledger.Entry{
		Version: ledger.EntryVersion, Kind: ledger.KindInit,
		Owner: tenure.Owner, Generation: tenure.Generation,
		Cluster: r.cfg.Cluster, Topic: log.Topic, Incarnation: log.Incarnation, Partition: log.Partition,
		Router: r.cfg.Router, Files: []ledger.File{}, LowWatermark: offset,
	}
}

// claimEntry returns the entry that takes the partition over from the owner of head. Attempt and
// WrittenAt are left to the caller. The entry switches to the configured routing rule if no record
// that is already in a file can be read again.
func (r *Rotator) claimEntry(head *ledger.Entry, tenure ledger.Tenure) *ledger.Entry {
	e := entryAfter(head, ledger.KindClaim, tenure)
	if len(head.SealedThrough) == 0 && r.cfg.Router != head.Router {
		e.Router, e.RouterFrom = r.cfg.Router, head.LowWatermark
	}
	return e
}

// redispatch enqueues the jobs of those entries whose owner may have stopped before enqueuing them.
func (r *Rotator) redispatch(ctx context.Context, lg *slog.Logger, chain *ledger.Chain, head *ledger.Entry) error {
	if ablation.On(ablation.NoRedispatch) {
		return nil
	}
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

// checkHead checks the head (nil if there is no chain) against the note beside the committed
// offset, then against the log's bounds; claim is the entry to be written next. The error is
// ErrHalted if they contradict each other; any other error means that this could not be determined.
func (r *Rotator) checkHead(ctx context.Context, lg *slog.Logger, chain *ledger.Chain, head, claim *ledger.Entry, b stream.Bounds, tenure ledger.Tenure) error {
	// The note comes first: a head that was rolled back contradicts the log's bounds as well, but
	// only the note tells why.
	if err := r.checkNote(ctx, lg, chain, head, tenure); err != nil || head == nil {
		return err
	}
	local, damage := int64(-1), error(nil)
	if tenure.LocalEnd != nil && !b.Readable(head.LowWatermark) {
		var err error
		local, err = tenure.LocalEnd(ctx, claim, b.End)
		switch {
		case errors.Is(err, segment.ErrDamaged):
			local, damage = -1, err
		case err != nil:
			return err
		}
	}
	return checkBounds(head, r.cfg.Cluster, b, local, damage)
}

// checkBounds compares the head with the log's bounds. If the log does not have the watermark any
// more, the files on this worker's disk can stand in for it: local is the offset up to which they
// hold what was read since the head, or -1 if there are none; damage is why files that are there
// are of no use, or nil.
//
// Invariant: I2, I6. With such files a worker reads on after them, or only writes them to the
// ledger and is halted at its next try for the records that are missing. Either way the offsets
// that are passed over are in files of a state that builds on head.
func checkBounds(head *ledger.Entry, cluster string, b stream.Bounds, local int64, damage error) error {
	halt := haltErrorf(head.Log())
	restore := ""
	if damage != nil {
		restore = fmt.Sprintf("What this worker had read since is damaged on its disk (%v). If there is an intact copy of that directory, such as a snapshot, stop this appender, put the copy in its place and start it; otherwise: ", damage)
	}
	switch {
	case head.Cluster != cluster:
		return halt("it belongs to Kafka cluster %q, this is %q: check kafka.brokers; if the cluster was replaced, set a new kafka.incarnation", head.Cluster, cluster)
	case local > head.LowWatermark:
		return nil
	case b.End < head.LowWatermark:
		return halt("the topic ends at offset %d, below its watermark %d: it was re-created, or lost its newest records. %[3]sIf it was re-created: if it has fewer partitions than before, add the missing ones; wait until all that held records before have halted (what appenders have on their disks is in the ledger then), stop all appenders, and set a new kafka.incarnation; everything in the topic is then delivered. If it lost records: do not set a new kafka.incarnation, which would deliver every partition once more; the partition continues by itself once the topic ends at offset %[2]d, and records written until then are in no file", b.End, head.LowWatermark, restore)
	case b.First > head.LowWatermark:
		return halt("the topic begins at offset %d, above its watermark %d: retention removed %d offsets that are not in the ledger. %[5]s1. raise retention.ms  2. start all appenders and let them write what is on their disks; if sealift_appender_left_partitions is not 0 on one of them, stop the others until it has written  3. accept the loss of the rest: sealift ledger accept-loss --partition %[4]d", b.First, head.LowWatermark, b.First-head.LowWatermark, head.Partition, restore)
	}
	return nil
}

// checkNote checks the ledger against the note beside the committed offset: the entry that the note
// names must exist. An offset without a note was set by Kafka's own tools and means nothing to the
// ledger.
//
// Invariant: I6, I12.
func (r *Rotator) checkNote(ctx context.Context, lg *slog.Logger, chain *ledger.Chain, head *ledger.Entry, tenure ledger.Tenure) error {
	halt := haltErrorf(chain.Log())
	note, ours := ledger.ParseNote(tenure.Note)
	if !ours {
		if tenure.Committed >= 0 {
			from := "the oldest record"
			if head != nil {
				from = fmt.Sprint("offset ", head.LowWatermark)
			}
			lg.WarnContext(ctx, "the group's committed offset was set by other tools and changes nothing: reading starts where the ledger says",
				"committed", tenure.Committed, "reading_from", from)
		}
		return nil
	}
	forget := fmt.Sprintf("stop all appenders, delete the group's offsets of this topic (kafka-consumer-groups.sh --bootstrap-server HOST:PORT --delete-offsets --group GROUP --topic %s; GROUP is kafka.group; with TLS or SASL add --command-config FILE) and start them", chain.Log().Topic)
	rolledBack := "the staging bucket was rolled back, or is not the one that this group wrote to; check staging.bucket and staging.prefix, and restore its newest versions; " +
		"only if these are lost for good: " + forget + ", and what was delivered since is delivered again"
	if note.Incarnation != chain.Log().Incarnation {
		return halt("the group has committed offset %d for incarnation %q: check kafka.incarnation; if it was changed on purpose, %s: everything in the topic is delivered, including what incarnation %q delivered before", note.LowWatermark, note.Incarnation, forget, note.Incarnation)
	}
	// The entry is looked up by its name, and not in the listing, which may be stale. Comparing
	// numbers would not do: the chain of another group, or one that was rolled back and continued,
	// may be just as long.
	e, err := head, error(nil)
	if head == nil || note.Seq != head.Seq {
		e, err = chain.Entry(ctx, note.Seq)
	}
	switch {
	case errors.Is(err, ledger.ErrNotFound) && head == nil:
		return halt("the group has committed offset %d, but there is no ledger: check staging.bucket and staging.prefix, or restore the bucket", note.LowWatermark)
	case errors.Is(err, ledger.ErrNotFound):
		return halt("the group has committed entry %d, its newest is %d: %s", note.Seq, head.Seq, rolledBack)
	case err != nil:
		return err
	case e.Attempt != note.Attempt:
		return halt("its entry %d is not the one that the group has committed: %s", note.Seq, rolledBack)
	case head == nil || note.Seq > head.Seq:
		return fmt.Errorf("ledger %s: entry %d is there, but not listed: the store's listings are behind", chain.Log(), note.Seq)
	case note.LowWatermark > head.LowWatermark:
		return halt("the group has committed offset %d, above its watermark %d: %s", note.LowWatermark, head.LowWatermark, rolledBack)
	}
	return nil
}

func haltErrorf(log ledger.Log) func(format string, args ...any) error {
	return func(format string, args ...any) error {
		return fmt.Errorf("ledger %s: %w: %s", log, ErrHalted, fmt.Sprintf(format, args...))
	}
}
