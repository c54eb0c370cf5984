package copier

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/job"
	"github.com/sealift/sealift/pkg/lease"
	"github.com/sealift/sealift/pkg/objstore"
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
	// Only says which parked jobs are meant; nil: all.
	Only func(delivery.Parked) bool
	// Each is called with every parked job before anything is done about it; may be nil.
	Each func(delivery.Parked)
}

// Redriven says what a redrive did.
type Redriven struct {
	Found    int64 `json:"found"`
	Enqueued int64 `json:"enqueued"`
	Skipped  int64 `json:"skipped"`
	Closed   int64 `json:"closed"` // could not be given up: delivered meanwhile, or expired
	Failed   int64 `json:"failed"` // could not be read, enqueued or given up
}

const (
	redrivePage  = 1000 // jobs listed per request, S3's maximum
	redriveBatch = 500  // jobs enqueued at once
)

// Run redrives the jobs. If it is run again after an error, it continues with what is left. A job
// that was enqueued twice is delivered once.
func (r Redrive) Run(ctx context.Context) (Redriven, error) {
	var done Redriven
	var errs []error
	prefix := delivery.ParkedPrefix(r.Destination)
	for after := ""; ; {
		infos, err := r.Staging.List(ctx, prefix, after, redrivePage)
		if err != nil {
			return done, errors.Join(append(errs, err)...)
		}
		for chunk := range slices.Chunk(infos, redriveBatch) {
			done.Found += int64(len(chunk))
			if err := r.batch(ctx, chunk, &done); err != nil {
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

func (r Redrive) batch(ctx context.Context, infos []objstore.Info, done *Redriven) error {
	notes := make([]delivery.Parked, len(infos))
	unread := job.InParallel(len(infos), job.MaxParallel, func(i int) (err error) {
		notes[i], err = job.ReadNote(ctx, r.Staging, infos[i].Key, infos[i].LastModified)
		return err
	})
	var errs []error
	var parked []delivery.Parked
	for i, err := range unread {
		if errors.Is(err, objstore.ErrNotFound) {
			done.Found-- // another redrive has handled it
			continue
		}
		if err != nil {
			done.Failed++
			errs = append(errs, err)
			continue
		}
		if r.Only != nil && !r.Only(notes[i]) {
			done.Found--
			continue
		}
		if r.Each != nil {
			r.Each(notes[i])
		}
		parked = append(parked, notes[i])
	}
	if r.DryRun || len(parked) == 0 {
		return errors.Join(errs...)
	}
	if r.Skip {
		return errors.Join(append(errs, r.skip(ctx, parked, done))...)
	}
	gone, err := job.Redrive(ctx, r.Staging, r.Jobs, parked)
	done.Enqueued += int64(len(gone))
	done.Failed += int64(len(parked) - len(gone))
	return errors.Join(append(errs, err)...)
}

// skip closes the debts and deletes the notes that they were parked.
func (r Redrive) skip(ctx context.Context, parked []delivery.Parked, done *Redriven) error {
	skipped := make([]bool, len(parked))
	errs := job.InParallel(len(parked), job.MaxParallel, func(i int) (err error) {
		of := parked[i].Job
		if skipped[i], err = r.giveUp(ctx, of.File, of.Destination); err != nil {
			err = fmt.Errorf("give up %s at %q: %w", of.File, of.Destination, err)
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

// skipTTL is how long the lease of a debt lasts if we die while closing it.
const skipTTL = time.Minute

// maxReceipt is larger than any receipt.
const maxReceipt = 1 << 20 // 1 MiB

// giveUp closes a debt in the same way as a copier that delivered, under its lease: 1. receipt  2.
// marker. The next holder of the lease finds the marker. A debt that a copier is working on is not
// given up. skipped is false if the debt is closed but was not given up.
func (r Redrive) giveUp(ctx context.Context, file delivery.FileRef, destination string) (skipped bool, err error) {
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
	receipt := delivery.Receipt{
		File: file, Destination: destination, Outcome: delivery.Skipped, Worker: r.Worker[:min(len(r.Worker), delivery.MaxWorker)], At: time.Now().UnixMilli(),
	}
	if err := WriteReceipt(ctx, r.Staging, receipt); err != nil {
		return false, err
	}
	// The first receipt stands, and it may be another's.
	b, err := objstore.Read(ctx, r.Staging, delivery.ReceiptKey(file, destination), maxReceipt)
	if err != nil && !errors.Is(err, objstore.ErrTooLarge) {
		return false, err
	}
	if there, err := delivery.DecodeReceipt(b); err == nil { // an unreadable receipt closes the debt all the same
		skipped = there.Outcome == delivery.Skipped
	}
	if r.Leases != nil {
		if err := r.Leases.Mark(ctx, delivery.DoneMarker(file, destination), doneTTL); err != nil {
			return false, err
		}
	}
	return skipped, r.Staging.Delete(ctx, delivery.ParkedKey(file, destination))
}
