package copier

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/job"
	"github.com/sealift/sealift/pkg/lease"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/receipt"
)

// Redrive enqueues parked jobs again, or gives them up.
type Redrive struct {
	Staging objstore.Store
	// Jobs receives the jobs. Only used without Skip.
	Jobs job.Producer
	// Destination is "workspace/name", "workspace" for all of its destinations, or "" for
	// everything that is parked.
	Destination string
	// Skip closes the debts for good, with a receipt that says so, instead of enqueuing jobs: the
	// files are never delivered.
	Skip bool
	// Leases keep copiers away from a debt while it is being closed, and leave a marker for copiers
	// whose listing of receipts is older. Only used with Skip. nil means that Redis is away;
	// copiers that work without Redis look for each receipt.
	Leases *lease.Client
	DryRun bool   // only report what would be done
	Worker string // named in receipts
	// Filter says which parked jobs are meant; nil: all.
	Filter func(delivery.Parked) bool
	// OnParked is called with every parked job before anything is done about it; may be nil.
	OnParked func(delivery.Parked)
}

// RedriveResult says what a redrive did.
type RedriveResult struct {
	Found    int64 `json:"found"`
	Enqueued int64 `json:"enqueued"`
	Skipped  int64 `json:"skipped"`
	Closed   int64 `json:"closed"` // could not be given up: delivered meanwhile
	Failed   int64 `json:"failed"` // could not be read, enqueued or given up
}

const (
	redrivePage  = 1000 // jobs listed per request, S3's maximum
	redriveBatch = 500  // jobs enqueued at once
)

// Run redrives the jobs. If it is run again after an error, it continues with what is left. A job
// that was enqueued twice is delivered once.
func (r Redrive) Run(ctx context.Context) (RedriveResult, error) {
	var done RedriveResult
	var errs []error
	prefix := delivery.ParkedPrefix(r.Destination)
	for after := ""; ; {
		infos, err := r.Staging.List(ctx, prefix, after, redrivePage)
		if err != nil {
			return done, errors.Join(append(errs, err)...)
		}
		for chunk := range slices.Chunk(infos, redriveBatch) {
			done.Found += int64(len(chunk))
			if err := r.redriveChunk(ctx, chunk, &done); err != nil {
				errs = append(errs, err)
			}
			if ctx.Err() != nil {
				return done, errors.Join(errs...)
			}
		}
		if len(infos) < redrivePage {
			return done, errors.Join(errs...)
		}
		after = infos[len(infos)-1].Key
	}
}

func (r Redrive) redriveChunk(ctx context.Context, infos []objstore.Info, done *RedriveResult) error {
	notes := make([]delivery.Parked, len(infos))
	readErrs := job.InParallel(len(infos), job.MaxParallel, func(i int) (err error) {
		notes[i], err = job.ReadNote(ctx, r.Staging, infos[i].Key, infos[i].LastModified)
		return err
	})
	var errs []error
	var parked []delivery.Parked
	for i, err := range readErrs {
		if errors.Is(err, objstore.ErrNotFound) {
			done.Found-- // another redrive has handled it
			continue
		}
		if err != nil {
			done.Failed++
			errs = append(errs, err)
			continue
		}
		if r.Filter != nil && !r.Filter(notes[i]) {
			done.Found--
			continue
		}
		if r.OnParked != nil {
			r.OnParked(notes[i])
		}
		parked = append(parked, notes[i])
	}
	if r.DryRun || len(parked) == 0 {
		return errors.Join(errs...)
	}
	if r.Skip {
		return errors.Join(append(errs, r.skip(ctx, parked, done))...)
	}
	enqueued, err := job.Redrive(ctx, r.Staging, r.Jobs, parked)
	done.Enqueued += int64(len(enqueued))
	done.Failed += int64(len(parked) - len(enqueued))
	return errors.Join(append(errs, err)...)
}

// skip closes the debts and deletes the notes that they were parked.
func (r Redrive) skip(ctx context.Context, parked []delivery.Parked, done *RedriveResult) error {
	delivered, unknown := r.readBatches(ctx, parked)
	entries := newEntries(r.Staging, maxCachedFiles)
	skipped := make([]bool, len(parked))
	errs := job.InParallel(len(parked), job.MaxParallel, func(i int) (err error) {
		j := parked[i].Job
		if err = unknown[i]; err == nil {
			err = checkOwed(ctx, entries, j)
		}
		if err == nil {
			skipped[i], err = r.giveUp(ctx, j.File, j.Destination, delivered[i])
		}
		if err != nil {
			err = fmt.Errorf("give up %s at %q: %w", j.File, j.Destination, err)
		}
		return err
	})
	for i, err := range errs {
		switch {
		case err != nil:
			done.Failed++
		case skipped[i]:
			done.Skipped++
		default:
			done.Closed++
		}
	}
	return errors.Join(errs...)
}

// checkOwed returns an error unless the ledger owes the file. Otherwise the receipt might close a debt that is yet to come,
// if the ledger was restored to an older state and entries are to get numbers that others had.
func checkOwed(ctx context.Context, entries *ledger.Cache, j delivery.Job) error {
	e, err := entries.Entry(ctx, j.File.Log(), j.File.Seq)
	if errors.Is(err, ledger.ErrNotFound) || err == nil && (j.File.Index >= len(e.Files) || !isOwed(&e.Files[j.File.Index], j.Destination)) {
		return errors.New("the ledger does not owe it: `sealift verify` says what to do with the note")
	}
	return err
}

// readBatches tells which of the debts have a receipt in a batch, and of which that is not known.
func (r Redrive) readBatches(ctx context.Context, parked []delivery.Parked) (delivered []bool, unknown []error) {
	delivered, unknown = make([]bool, len(parked)), make([]error, len(parked))
	byEntry := map[ledger.EntryRef][]int{} // indexes in parked
	for i := range parked {
		e := parked[i].Job.File.Entry()
		byEntry[e] = append(byEntry[e], i)
	}
	entries := slices.Collect(maps.Keys(byEntry))
	job.InParallel(len(entries), job.MaxParallel, func(n int) error {
		e := entries[n]
		set, err := receipt.ListBatched(ctx, r.Staging, e.Log, e.Seq)
		for _, i := range byEntry[e] {
			j := parked[i].Job
			_, delivered[i] = set[receipt.PairOf(j.File, j.Destination)]
			unknown[i] = err
		}
		return nil
	})
	return delivered, unknown
}

// skipTTL is how long the lease of a debt lasts if we die while closing it.
const skipTTL = time.Minute

// giveUp closes a debt in the same way as a copier that delivered, under its lease: 1. receipt  2.
// marker. The next holder of the lease finds the marker. A debt that a copier is working on is not
// given up. delivered says that a batch has a receipt of it. skipped is false if the debt is closed
// but was not given up.
func (r Redrive) giveUp(ctx context.Context, file delivery.FileRef, destination string, delivered bool) (skipped bool, err error) {
	if r.Leases != nil {
		held, err := r.Leases.Acquire(ctx, delivery.LeaseName(file, destination), skipTTL)
		if errors.Is(err, lease.ErrHeld) {
			return false, fmt.Errorf("a copier is just trying it, run it again: %w", err)
		}
		if err != nil {
			return false, err
		}
		defer func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
			defer cancel()
			_ = held.Release(ctx) // it expires by itself
		}()
	}
	if !delivered {
		if skipped, err = r.writeSkipped(ctx, file, destination); err != nil {
			return false, err
		}
	}
	if r.Leases != nil {
		if err := r.Leases.Mark(ctx, delivery.DoneMarker(file, destination), doneTTL); err != nil {
			return false, err
		}
	}
	return skipped, r.Staging.Delete(ctx, delivery.ParkedKey(file, destination))
}

// writeSkipped writes the receipt that a debt was given up. It returns false if there is another
// one, which stands.
func (r Redrive) writeSkipped(ctx context.Context, file delivery.FileRef, destination string) (bool, error) {
	err := receipt.Write(ctx, r.Staging, delivery.Receipt{
		File: file, Destination: destination, Outcome: delivery.Skipped, Worker: r.Worker[:min(len(r.Worker), delivery.MaxWorker)], At: time.Now().UnixMilli(),
	})
	if err != nil {
		return false, err
	}
	switch there, err := receipt.ReadSingle(ctx, r.Staging, file, destination); {
	case errors.Is(err, delivery.ErrBadReceipt): // it closes the debt all the same
		return false, nil
	case err != nil:
		return false, err
	default:
		return there.Outcome == delivery.Skipped, nil
	}
}
