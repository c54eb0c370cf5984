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
	"github.com/sealift/sealift/pkg/stream"
)

// batchJobs is how many jobs are enqueued at once.
const batchJobs = 500

// paceStep is the least time to wait for: at high rates, jobs are enqueued in groups, because one
// request per job would be slower than the rate.
const paceStep = 100 * time.Millisecond

// enqueuer is one run of Enqueue.
type enqueuer struct {
	Run
	order  *delivery.Order
	again  bool
	pace   pacer
	tally  Tally
	batch  []stream.Record
	former *former // nil: there were no former runs
	// beyond counts the copies that a former run made or gave up and this one may not make, because
	// the catalog has changed. They count as done or failed, so the plan must include them.
	beyond int64
}

func (q *enqueuer) all(ctx context.Context) error {
	held, err := q.held(ctx, q.order)
	if err != nil {
		return err
	}
	if q.again {
		if q.former, err = newFormer(ctx, q.Staging, q.order.ID); err != nil {
			return err
		}
		defer q.former.close()
	}
	for e, err := range walk(ctx, q.Staging, q.order, q.Catalog) {
		if err != nil {
			return err
		}
		if err := q.entry(ctx, e, held); err != nil {
			return err
		}
	}
	if err := q.flush(ctx); err != nil {
		return err
	}
	if _, err := q.past(nil); err != nil {
		return err
	}
	if err := q.fewer(ctx); err != nil {
		return err
	}
	if there, err := objstore.Exists(ctx, q.Staging, delivery.OrderKey(q.order.ID)); err != nil {
		return fmt.Errorf("look for replay order %q: %w", q.order.ID, err)
	} else if !there { // copiers drop its jobs
		return ErrForgotten
	}
	plan := delivery.Plan{Files: q.tally.Files, Records: q.tally.Records, Bytes: q.tally.Bytes, Copies: q.tally.Copies + q.beyond, At: time.Now().UnixMilli()}
	if err := put(ctx, q.Staging, delivery.PlanKey(q.order.ID), plan.Encode(), false); err != nil {
		return fmt.Errorf("write plan of replay %q: %w", q.order.ID, err)
	}
	return nil
}

// fewer returns ErrFewer if copies that the order once amounted to are not accounted for. It is not
// known whether somebody took a source from a destination on purpose, or the catalog is wrong or
// damaged; and the plan decides when staged files may be deleted.
func (q *enqueuer) fewer(ctx context.Context) error {
	most := q.order.Copies
	if q.again {
		plan, err := readPlan(ctx, q.Staging, q.order.ID)
		if err != nil && !errors.Is(err, delivery.ErrBadOrder) { // a malformed plan is rewritten
			return err
		}
		if plan != nil {
			most = max(most, plan.Copies)
		}
	}
	missing := most - q.tally.Copies - q.beyond
	if missing <= 0 {
		return nil
	}
	return fmt.Errorf("%w: of %d copies %d to %s are left out, whose sources it does not send there now, and %d are enqueued; subscribe the destination to them again, "+
		"or if they are not to be delivered, order a new replay of the others with --source: this order then expires after staging.retain",
		ErrFewer, most, missing, strings.Join(q.order.Destinations, ", "), q.tally.Enqueued)
}

// entry enqueues the files of one entry.
func (q *enqueuer) entry(ctx context.Context, e found, held map[int]stream.Bounds) error {
	q.tally.refuse(e.refused)
	at, err := q.look(ctx, q.order, e, held)
	if err != nil {
		return err
	}
	past, err := q.past(&e)
	if err != nil {
		return err
	}
	var rebuild []int
	for i, f := range e.files {
		if at[i] != staged && q.Kafka != nil && q.order.From != delivery.FromStaging && !past.all(f) {
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
		q.tally.add(f, found.destinations, at[i])
		why := unbuilt[found.index]
		if at[i] != staged && (q.Kafka == nil || q.order.From == delivery.FromStaging) {
			why = errors.New("its staged object is missing or damaged")
		}
		for _, d := range found.destinations {
			job := delivery.Job{File: delivery.Ref(e.Entry, found.index), Destination: d, Replay: q.order.ID}
			switch err := why; {
			case past.delivered[pair{found.index, d}]:
				q.tally.Done++
				continue
			case err != nil:
				if err := q.fail(ctx, job, err); err != nil {
					return err
				}
			default:
				if err := q.add(ctx, job, f, past.failed[pair{found.index, d}]); err != nil {
					return err
				}
			}
		}
	}
	q.tell(q.tally)
	return nil
}

// add enqueues a job when its time has come.
func (q *enqueuer) add(ctx context.Context, j delivery.Job, f *ledger.File, failedBefore bool) error {
	if failedBefore { // otherwise it would count as given up while it is being tried
		if err := q.Staging.Delete(ctx, delivery.ReplayFailedKey(j.Replay, j.File, j.Destination)); err != nil {
			return err
		}
	}
	if wait := q.pace.due(f.GzipBytes, time.Now()); wait >= paceStep {
		if err := q.flush(ctx); err != nil {
			return err
		}
		q.tell(q.tally)
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
	q.batch = append(q.batch, job.Record(j))
	if len(q.batch) < batchJobs {
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

// fail notes that a file cannot be obtained.
func (q *enqueuer) fail(ctx context.Context, job delivery.Job, why error) error {
	fix := "nothing holds its records any more; restore the staged object from the bucket's versions, then: sealift replay --resume " + q.order.ID
	switch q.order.From {
	case delivery.FromKafka:
		fix = "order it with --from auto, which takes it from staging if it is there"
	case delivery.FromStaging:
		fix = "order it with --from auto, which builds it again from Kafka"
	}
	fix += "; which files: the notes below " + delivery.ReplayFailuresPrefix(q.order.ID) + " in the staging bucket"
	now := time.Now().UnixMilli()
	note := delivery.Parked{Job: job, Cause: why.Error(), Fix: fix, Since: now, At: now}
	q.tally.Failed++
	return put(ctx, q.Staging, delivery.ReplayFailedKey(job.Replay, job.File, job.Destination), note.Encode(), false)
}

// pair is a file of an entry, and a destination.
type pair struct {
	index       int
	destination string
}

// past is what became of an entry's copies in former runs.
type past struct{ delivered, failed map[pair]bool }

func (p past) all(f foundFile) bool {
	for _, d := range f.destinations {
		if !p.delivered[pair{f.index, d}] {
			return false
		}
	}
	return true
}

// beyond returns how many of the past copies may no longer be made.
func (p past) beyond(e found) int64 {
	pairs := maps.Clone(p.delivered)
	maps.Copy(pairs, p.failed) // a copy may be in both
	for _, f := range e.files {
		for _, d := range f.destinations {
			delete(pairs, pair{f.index, d})
		}
	}
	return int64(len(pairs))
}

// past returns what became of the entry's copies in former runs. It also counts the copies that may
// no longer be made, of this entry and of those skipped since the previous call.
func (q *enqueuer) past(e *found) (past, error) {
	if q.former == nil {
		return past{}, nil
	}
	p, between, err := q.former.entry(e)
	if q.beyond += between; e != nil {
		q.beyond += p.beyond(*e)
	}
	return p, err
}
