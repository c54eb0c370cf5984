package replay

import (
	"context"
	"errors"
	"fmt"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/job"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/receipt"
)

// Status is what has become of an order so far, in copies.
type Status struct {
	// Plan is nil until all jobs are enqueued.
	Plan      *delivery.Plan `json:"plan"`
	Delivered int64          `json:"delivered"`
	Failed    int64          `json:"failed"`
}

// Over reports whether nothing more will happen by itself.
func (s Status) Over() bool { return s.Plan != nil && s.Delivered+s.Failed >= s.Plan.Copies }

// ReadStatus counts what became of an order. The error is delivery.ErrBadOrder
// if its plan is not understood, or the store's.
func ReadStatus(ctx context.Context, staging objstore.Store, id string) (Status, error) {
	var s Status
	var err error
	if s.Plan, err = readPlan(ctx, staging, id); err != nil {
		return s, err
	}
	// A copy counts once, even if its failure note came late or was left by a copier that died. The
	// notes are the ones kept in memory because there are fewer.
	failed := map[delivery.Job]bool{}
	for _, prefix := range []string{delivery.ReplayFailuresPrefix(id), delivery.ReplayReceiptsPrefix(id)} {
		for info, err := range objstore.All(ctx, staging, prefix) {
			if err != nil {
				return s, fmt.Errorf("count what replay %q did: %w", id, err)
			}
			job, isNote, ok := delivery.ParseReplayCopyKey(info.Key)
			switch {
			case !ok: // not a copy
			case isNote:
				failed[job] = true
			default:
				s.Delivered++
				delete(failed, job) // its note is obsolete
			}
		}
	}
	s.Failed = int64(len(failed))
	return s, nil
}

// Existing says how many copies already existed when they were to be put, according to the receipts
// that were read.
type Existing struct {
	Existed      int64 `json:"existed"`
	ReceiptsRead int64 `json:"receipts_read"`
}

// ReadExisting reads the first receipts of a replay, at most as many as most, concurrently.
// Receipts that cannot be read are left out: `sealift verify` reports them.
func ReadExisting(ctx context.Context, staging objstore.Store, id string, most int) (Existing, error) {
	var keys []string
	for info, err := range objstore.All(ctx, staging, delivery.ReplayReceiptsPrefix(id)) {
		if err != nil {
			return Existing{}, err
		}
		if _, _, ok := delivery.ParseReplayCopyKey(info.Key); ok {
			keys = append(keys, info.Key)
		}
		if len(keys) == most {
			break
		}
	}
	existed := make([]bool, len(keys))
	errs := job.InParallel(len(keys), walkConcurrency, func(i int) error {
		r, err := receipt.Read(ctx, staging, keys[i])
		existed[i] = r.Existed
		return err
	})
	var t Existing
	for i, err := range errs {
		if err != nil {
			continue
		}
		if t.ReceiptsRead++; existed[i] {
			t.Existed++
		}
	}
	return t, ctx.Err()
}

// readPlan returns the plan of an order, or nil if it has none yet.
func readPlan(ctx context.Context, staging objstore.Store, id string) (*delivery.Plan, error) {
	b, err := getOrder(ctx, staging, delivery.PlanKey(id))
	if errors.Is(err, objstore.ErrNotFound) {
		return nil, nil
	}
	var plan delivery.Plan
	if err == nil {
		plan, err = delivery.DecodePlan(b)
	}
	if err != nil {
		return nil, fmt.Errorf("read plan of replay %q: %w", id, err)
	}
	return &plan, nil
}

// EachFailure calls each for the copies that the replay gave up, in the order of their keys, until
// it returns false. A note that cannot be read is passed on as delivery.NoteAt describes it; an
// error names objects that are not notes.
func EachFailure(ctx context.Context, staging objstore.Store, id string, each func(delivery.Parked) bool) error {
	var strays []error
	for info, err := range objstore.All(ctx, staging, delivery.ReplayFailuresPrefix(id)) {
		if err != nil {
			return err
		}
		note, err := job.ReadNote(ctx, staging, info.Key, info.LastModified)
		switch {
		case errors.Is(err, objstore.ErrNotFound):
			continue // delivered meanwhile
		case errors.Is(err, delivery.ErrBadJob):
			strays = append(strays, err)
			continue
		case err != nil:
			return err
		}
		if !each(note) {
			break
		}
	}
	return errors.Join(strays...)
}
