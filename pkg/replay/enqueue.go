package replay

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/job"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/sleep"
	"github.com/sealift/sealift/pkg/stream"
)

// maxBatchJobs is how many jobs are enqueued at once.
const maxBatchJobs = 500

// minPaceWait is the least time to wait for: at high rates, jobs are enqueued in groups, because
// one request per job would be slower than the rate.
const minPaceWait = 100 * time.Millisecond

// enqueuer is one run of Enqueue.
type enqueuer struct {
	Run
	order   *delivery.Order
	resumed bool
	pace    pacer
	tally   Tally
	batch   []stream.Record
	former  *formerRuns // nil: there were no former runs
	// revoked counts the copies that a former run made or gave up and this one may not make,
	// because the catalog has changed. They count as done or failed, so the plan must include them.
	revoked int64
}

func (q *enqueuer) run(ctx context.Context) error {
	bounds, err := q.readBounds(ctx, q.order)
	if err != nil {
		return err
	}
	if q.resumed {
		if q.former, err = newFormerRuns(ctx, q.Staging, q.order.ID); err != nil {
			return err
		}
		defer q.former.close()
	}
	for e, err := range walk(ctx, q.Staging, q.order, q.Catalog) {
		if err != nil {
			return err
		}
		if err := q.enqueueEntry(ctx, e, bounds); err != nil {
			return err
		}
	}
	if err := q.flush(ctx); err != nil {
		return err
	}
	if _, err := q.readPast(nil); err != nil {
		return err
	}
	if err := q.checkMissingCopies(ctx); err != nil {
		return err
	}
	if exists, err := objstore.Exists(ctx, q.Staging, delivery.OrderKey(q.order.ID)); err != nil {
		return fmt.Errorf("look for replay order %q: %w", q.order.ID, err)
	} else if !exists { // copiers drop its jobs
		return ErrOrderExpired
	}
	plan := delivery.Plan{Files: q.tally.Files, Records: q.tally.Records, Bytes: q.tally.Bytes, Copies: q.tally.Copies + q.revoked, At: time.Now().UnixMilli()}
	if err := put(ctx, q.Staging, delivery.PlanKey(q.order.ID), plan.Encode(), false); err != nil {
		return fmt.Errorf("write plan of replay %q: %w", q.order.ID, err)
	}
	return nil
}

// checkMissingCopies returns ErrFewerCopies if copies that the order once amounted to are not
// accounted for. It is not known whether somebody took a source from a destination on purpose, or
// the catalog is wrong or damaged; and the plan decides when staged files may be deleted.
func (q *enqueuer) checkMissingCopies(ctx context.Context) error {
	most := q.order.Copies
	if q.resumed {
		plan, err := readPlan(ctx, q.Staging, q.order.ID)
		if err != nil && !errors.Is(err, delivery.ErrBadOrder) { // a malformed plan is rewritten
			return err
		}
		if plan != nil {
			most = max(most, plan.Copies)
		}
	}
	missing := most - q.tally.Copies - q.revoked
	if missing <= 0 {
		return nil
	}
	return fmt.Errorf("%w: of %d copies %d to %s are left out, whose sources it does not send there now, and %d are enqueued; subscribe the destination to them again, "+
		"or if they are not to be delivered, order a new replay of the others with --source: this order then expires after staging.retain",
		ErrFewerCopies, most, missing, strings.Join(q.order.Destinations, ", "), q.tally.Enqueued)
}

// enqueueEntry enqueues the files of one entry.
func (q *enqueuer) enqueueEntry(ctx context.Context, e coveredEntry, bounds map[int]stream.Bounds) error {
	q.tally.addRefusals(e.refused)
	at, err := q.locate(ctx, q.order, e, bounds)
	if err != nil {
		return err
	}
	past, err := q.readPast(&e)
	if err != nil {
		return err
	}
	var rebuild []int
	for i, f := range e.files {
		if at[i] != staged && q.Kafka != nil && q.order.From != delivery.FromStaging && !past.allDelivered(f) {
			rebuild = append(rebuild, f.index)
		}
	}
	var unbuilt map[int]error
	if len(rebuild) > 0 {
		if unbuilt, err = q.Kafka.Rebuild(ctx, q.order.ID, e.Entry, rebuild); err != nil {
			return err
		}
	}
	for i, found := range e.files {
		f := &e.Files[found.index]
		if at[i] == lost && slices.Contains(rebuild, found.index) && unbuilt[found.index] == nil {
			at[i] = inKafka // a former run built it
		}
		q.tally.addFile(f, found.destinations, at[i])
		cause := unbuilt[found.index]
		if at[i] != staged && (q.Kafka == nil || q.order.From == delivery.FromStaging) {
			cause = errors.New("its staged object is missing or damaged")
		}
		for _, d := range found.destinations {
			job := delivery.Job{File: delivery.Ref(e.Entry, found.index), Destination: d, Replay: q.order.ID}
			switch err := cause; {
			case past.delivered[pair{found.index, d}]:
				q.tally.Done++
				continue
			case err != nil:
				if err := q.noteFailure(ctx, job, err); err != nil {
					return err
				}
			default:
				if err := q.addJob(ctx, job, f, past.failed[pair{found.index, d}]); err != nil {
					return err
				}
			}
		}
	}
	q.reportTally(q.tally)
	return nil
}

// addJob enqueues a job when its time has come.
func (q *enqueuer) addJob(ctx context.Context, j delivery.Job, f *ledger.File, failedBefore bool) error {
	if failedBefore { // otherwise it would count as given up while it is being tried
		if err := q.Staging.Delete(ctx, delivery.ReplayFailedKey(j.Replay, j.File, j.Destination)); err != nil {
			return err
		}
	}
	if wait := q.pace.reserve(f.GzipBytes, time.Now()); wait >= minPaceWait {
		if err := q.flush(ctx); err != nil {
			return err
		}
		q.reportTally(q.tally)
		if err := sleep.For(ctx, wait); err != nil {
			return err
		}
	}
	q.batch = append(q.batch, job.Record(j))
	if len(q.batch) < maxBatchJobs {
		return nil
	}
	return q.flush(ctx)
}

func (q *enqueuer) flush(ctx context.Context) error {
	if len(q.batch) == 0 {
		return nil
	}
	if err := q.Jobs.Produce(ctx, q.batch...); err != nil {
		return fmt.Errorf("enqueue %d jobs of replay %q: %w", len(q.batch), q.order.ID, err)
	}
	q.tally.Enqueued += int64(len(q.batch))
	q.batch = nil // a producer may still be reading it
	return nil
}

// noteFailure notes that a file cannot be obtained.
func (q *enqueuer) noteFailure(ctx context.Context, job delivery.Job, cause error) error {
	fix := "nothing holds its records any more; restore the staged object from the bucket's versions, then: sealift replay --resume " + q.order.ID
	switch q.order.From {
	case delivery.FromKafka:
		fix = "order it with --from auto, which takes it from staging if it is there"
	case delivery.FromStaging:
		fix = "order it with --from auto, which builds it again from Kafka"
	}
	fix += "; which files: the notes below " + delivery.ReplayFailuresPrefix(q.order.ID) + " in the staging bucket"
	now := time.Now().UnixMilli()
	note := delivery.Parked{Job: job, Cause: cause.Error(), Fix: fix, Since: now, At: now}
	q.tally.Failed++
	return put(ctx, q.Staging, delivery.ReplayFailedKey(job.Replay, job.File, job.Destination), note.Encode(), false)
}

// pair is a file of an entry, and a destination.
type pair struct {
	index       int
	destination string
}

// pastCopies is what became of an entry's copies in former runs.
type pastCopies struct{ delivered, failed map[pair]bool }

func (p pastCopies) allDelivered(f coveredFile) bool {
	for _, d := range f.destinations {
		if !p.delivered[pair{f.index, d}] {
			return false
		}
	}
	return true
}

// countRevoked returns how many of the past copies may no longer be made.
func (p pastCopies) countRevoked(e coveredEntry) int64 {
	pairs := maps.Clone(p.delivered)
	maps.Copy(pairs, p.failed) // a copy may be in both
	for _, f := range e.files {
		for _, d := range f.destinations {
			delete(pairs, pair{f.index, d})
		}
	}
	return int64(len(pairs))
}

// readPast returns what became of the entry's copies in former runs. It also counts the copies that
// may no longer be made, of this entry and of those skipped since the previous call.
func (q *enqueuer) readPast(e *coveredEntry) (pastCopies, error) {
	if q.former == nil {
		return pastCopies{}, nil
	}
	p, between, err := q.former.advanceTo(e)
	if q.revoked += between; e != nil {
		q.revoked += p.countRevoked(*e)
	}
	return p, err
}
