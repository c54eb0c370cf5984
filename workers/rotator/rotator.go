// Package rotator is the role that puts sealed files on record: it stages them in the operator's
// bucket, writes the ledger entry that names them and the destinations they are owed to, enqueues
// their copy jobs, and commits the offset. It also takes partitions over. It runs in the appender's
// process, because the two share a disk.
//
// It promises the order stage, ledger, jobs, offset, and that an entry is written only after
// everything it names is stored and verified (I3). It does not decide when files are sealed, and it
// copies nothing to customers.
package rotator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"github.com/sealift/sealift/pkg/ablation"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/jitter"
	"github.com/sealift/sealift/pkg/job"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/segment"
	"github.com/sealift/sealift/pkg/stream"
)

// Config tunes a rotator.
type Config struct {
	// Cluster is the id of the Kafka cluster; a chain belongs to one cluster.
	Cluster string
	// Router is the rule by which this worker's appender routes records, as ledger.RouterRule
	// writes it. A chain switches to it only when no record that another rule routed into a file
	// could be read again.
	Router string
	// Uploads is the number of objects that are staged at once; default 16.
	Uploads int
}

// Kafka says what the events topic holds.
type Kafka interface {
	// Bounds returns the bounds of the named partitions, or of all partitions if none is named.
	// With an error it returns the bounds of the partitions that answered.
	Bounds(ctx context.Context, topic string, partitions ...int) (map[int]stream.Bounds, error)
}

// Deps are what a rotator works with.
type Deps struct {
	Staging objstore.Store
	Kafka   Kafka
	Jobs    job.Producer
	// Owed returns the destinations that a source's files are owed to now.
	Owed    func(source string) []string
	Logger  *slog.Logger
	Metrics prometheus.Registerer
}

// Rotator is safe for concurrent use by partitions.
type Rotator struct {
	cfg     Config
	deps    Deps
	uploads *semaphore.Weighted
	metrics *metrics
}

// New returns a rotator.
func New(cfg Config, deps Deps) *Rotator {
	cfg.Uploads = cmp.Or(cfg.Uploads, 16)
	return &Rotator{cfg: cfg, deps: deps, uploads: semaphore.NewWeighted(int64(cfg.Uploads)), metrics: newMetrics(deps.Metrics)}
}

// Rotate puts the batch on record: when it returns the new head, the batch's files are staged and
// in the ledger, and their jobs are enqueued. It retries what can be retried until ctx ends. After
// an error the caller's state of the partition is void; errors.Is(err, ledger.ErrLost) means that
// another worker wrote this entry first, and segment.ErrDamaged that the disk does not return the
// files as they were written.
func (r *Rotator) Rotate(ctx context.Context, base *ledger.Entry, batch *segment.Batch, tenure ledger.Tenure) (*ledger.Entry, error) {
	start := time.Now()
	log := base.Log()
	lg := r.deps.Logger.With("topic", log.Topic, "partition", log.Partition)

	// 1. stage
	files, err := r.stage(ctx, lg, base, batch, tenure)
	if err != nil {
		return nil, err
	}

	//  2. ledger. What is owed is looked up only now, because staging may have taken hours and a
	//     destination may have been disabled meanwhile.
	for i := range files {
		files[i].Owed = r.deps.Owed(files[i].Source)
	}
	e := sealEntry(base, files, batch, tenure)
	if err := checkCoherent(base, e); err != nil && !ablation.On(ablation.Incoherent) {
		return nil, err
	}
	e.Attempt = uuid.NewString()
	if err := r.append(ctx, lg, e); err != nil {
		return nil, err
	}

	// 3. jobs
	if err := r.dispatch(ctx, lg, e); err != nil {
		return nil, err
	}

	//  4. offset: only a hint
	r.commit(ctx, lg, e, tenure)

	for i := range files {
		f := &files[i]
		r.metrics.countFile(f)
		lg.InfoContext(ctx, "file sealed", "source", f.Source, "file", f.StagedKey, "reason", f.Reason,
			"records", f.Records, "bytes", f.GzipBytes, "owed", len(f.Owed))
	}
	r.metrics.rotation.Observe(time.Since(start).Seconds())
	lg.DebugContext(ctx, "ledger entry written", "entry", e.Seq, "files", len(files), "offset", e.LowWatermark, "took", time.Since(start))
	return e, nil
}

// Entry returns entry seq of the log's ledger, or ledger.ErrNotFound. It makes one request and does
// not retry: that is left to the caller, who may have something more urgent to do.
func (r *Rotator) Entry(ctx context.Context, log ledger.Log, seq int64) (*ledger.Entry, error) {
	return ledger.NewChain(r.deps.Staging, log).Entry(ctx, seq)
}

// append writes the entry, sending exactly the same bytes until its fate is known (I5).
func (r *Rotator) append(ctx context.Context, lg *slog.Logger, e *ledger.Entry) error {
	chain := ledger.NewChain(r.deps.Staging, e.Log())
	err := r.retry(ctx, lg, "write ledger entry", func() error { return chain.Append(ctx, e) }, func(err error) bool {
		return errors.Is(err, ledger.ErrLost) || errors.Is(err, ledger.ErrCorrupt)
	})
	if errors.Is(err, ledger.ErrLost) {
		r.metrics.lost.Inc()
	}
	return err
}

// dispatch enqueues the copy jobs of an entry. Doing so twice is harmless.
func (r *Rotator) dispatch(ctx context.Context, lg *slog.Logger, e *ledger.Entry) error {
	var jobs []stream.Record
	for i := range e.Files {
		ref := delivery.Ref(e, i)
		for _, dest := range e.Files[i].Owed {
			jobs = append(jobs, job.Record(delivery.Job{File: ref, Destination: dest}))
		}
	}
	if len(jobs) == 0 {
		return nil
	}
	return r.retry(ctx, lg, "enqueue copy jobs", func() error {
		err := r.deps.Jobs.Produce(ctx, jobs...)
		// Jobs that were written are not sent again. Otherwise, while one partition has no leader,
		// every try would duplicate the jobs of all the others.
		left, tooLarge := stream.NotWritten(err, jobs)
		jobs = slices.Concat(left, tooLarge)
		return err
	}, nil)
}

// commit tells Kafka how far the ledger is.
//
// Invariant: I12, the committed offset is never above the ledger's watermark.
func (r *Rotator) commit(ctx context.Context, lg *slog.Logger, e *ledger.Entry, tenure ledger.Tenure) {
	if tenure.Commit == nil {
		return
	}
	if err := tenure.Commit(ctx, e.LowWatermark, ledger.NoteOf(e).String()); err != nil {
		// The generation is over; the next owner will commit.
		lg.DebugContext(ctx, "offset not committed", "offset", e.LowWatermark, "err", err)
	}
}

// retry repeats op until it succeeds, its error is final, or ctx ends.
func (r *Rotator) retry(ctx context.Context, lg *slog.Logger, what string, op func() error, final func(error) bool) error {
	backoff := jitter.Backoff{Min: 200 * time.Millisecond, Max: 10 * time.Second}
	for attempt := 1; ; attempt++ {
		err := op()
		if err == nil || (final != nil && final(err)) {
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %w: %w", what, ctx.Err(), err)
		}
		r.metrics.retries.WithLabelValues(what).Inc()
		lg.WarnContext(ctx, "retrying", "doing", what, "attempt", attempt, "err", err)
		if ended := backoff.Wait(ctx); ended != nil {
			return fmt.Errorf("%s: %w: %w", what, ended, err)
		}
	}
}
