package copier

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/sealift/sealift/pkg/ablation"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/jitter"
	"github.com/sealift/sealift/pkg/sleep"
	"github.com/sealift/sealift/pkg/stream"
)

// reader reads one partition during one generation.
type reader struct {
	jobs      *jobs
	topic     string
	partition int
	delay     time.Duration // of the retry tier; zero for the jobs' own topic
	gen       *generation
	offsets   *offsets
	done      <-chan struct{} // of the generation
	onRecord  func(context.Context, []byte, claim) error
}

// run reads from the committed offset until ctx ends.
func (r *reader) run(ctx context.Context, next int64) {
	log := r.jobs.log.With("topic", r.topic, "partition", r.partition)
	fetcher := r.jobs.kafka.Fetcher(r.topic, r.partition)
	backoff := jitter.Backoff{Min: 200 * time.Millisecond, Max: 10 * time.Second}
	for ctx.Err() == nil {
		got, err := stream.Fetched{}, error(nil)
		if next < 0 {
			if next, err = r.firstOffset(ctx); err == nil {
				// Commit it, too. Otherwise every generation would look up the first offset of all
				// partitions that never held a job.
				r.offsets = r.gen.track(r.topic, r.partition, next)
			}
		}
		if err == nil {
			got, err = fetcher.Fetch(ctx, next, stream.FetchOptions{})
		}
		if errors.Is(err, stream.ErrOffsetOutOfRange) {
			next, err = r.resumeOffset(ctx, log, next)
		}
		if err != nil {
			if ctx.Err() == nil {
				r.jobs.readWarnings.Do(func(since int) { log.WarnContext(ctx, "cannot read jobs, retrying", "err", err, "others_since", since) })
			}
			_ = backoff.Wait(ctx)
			continue
		}
		backoff.Reset()
		latest := time.Now().Add(r.delay)
		for i := range got.Records {
			if r.handle(ctx, &got.Records[i], latest) != nil {
				return
			}
		}
		next = max(next, got.Next)
	}
}

// resumeOffset returns where to continue after next was out of range. On error it returns next.
func (r *reader) resumeOffset(ctx context.Context, log *slog.Logger, next int64) (int64, error) {
	first, err := r.firstOffset(ctx)
	if err != nil {
		return next, err
	}
	if first < next {
		// The topic was re-created or truncated. The offsets of jobs in progress now belong to
		// other jobs.
		log.WarnContext(ctx, "the topic of jobs went back and is read from its beginning; the auditor enqueues what it lost", "offset", next, "first", first)
		r.offsets = r.gen.track(r.topic, r.partition, first)
		return first, nil
	}
	// Jobs may expire. They are only a wake-up call: the ledger is the outbox, and the auditor
	// enqueues again what was missed.
	log.WarnContext(ctx, "jobs expired unread; the auditor enqueues them again", "offset", next)
	return first, nil
}

func (r *reader) firstOffset(ctx context.Context) (int64, error) {
	b, err := stream.BoundsOf(ctx, r.jobs.kafka, r.topic, r.partition)
	if err != nil {
		return -1, err
	}
	return b.First, nil
}

// handle takes one record once its time has come, or at latest.
func (r *reader) handle(ctx context.Context, rec *stream.Record, latest time.Time) error {
	for r.offsets.full() {
		select {
		case <-r.offsets.moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	r.offsets.start(rec.Offset)
	if r.delay > 0 {
		// All records of a retry tier wait about equally long, so waiting for one of them delays
		// the next ones by no more than they would wait anyway. latest ensures the same if a record
		// asks for more: it bounds the wait for all records of one fetch.
		if job, err := delivery.DecodeJob(rec.Value); err == nil {
			_ = sleep.For(ctx, min(time.Until(time.UnixMilli(job.NotBefore)), time.Until(latest)))
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if ablation.On(ablation.AcksFirst) {
		r.offsets.finish(rec.Offset)
	}
	return r.onRecord(ctx, rec.Value, position{r.done, r.offsets, rec.Offset})
}

// position is a record's position in its partition.
type position struct {
	done    <-chan struct{} // of the generation
	offsets *offsets        // the reader's when it read the record
	offset  int64
}

// isOwned implements claim.
func (p position) isOwned() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// acknowledge implements claim.
func (p position) acknowledge() { p.offsets.finish(p.offset) }
