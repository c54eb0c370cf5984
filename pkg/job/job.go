// Package job enqueues copy jobs, and enqueues parked jobs again, for all roles and commands that
// do this. The format is that of pkg/delivery; the topics are the caller's.
//
// It promises that a job that could not be enqueued again is still parked, or will be found by the
// auditor. A job may be enqueued twice; it is delivered once.
package job

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/stream"
)

// Producer writes records to a topic. *stream.Producer implements it.
type Producer interface {
	Produce(ctx context.Context, records ...stream.Record) error
}

// Record returns the record of a job.
func Record(j delivery.Job) stream.Record {
	return stream.Record{Key: j.RecordKey(), Value: j.Encode(), Time: time.Now()}
}

// maxNote is larger than any note.
const maxNote = 1 << 20 // 1 MiB

// ReadNote reads the note of a parked job, or of a delivery that a replay could not make, which was
// stored at the given time. For a note that makes no sense it returns what delivery.NoteAt makes of
// it; for a missing one, objstore.ErrNotFound.
func ReadNote(ctx context.Context, staging objstore.Store, key string, stored time.Time) (delivery.Parked, error) {
	b, err := objstore.Read(ctx, staging, key, maxNote)
	if err != nil && !errors.Is(err, objstore.ErrTooLarge) {
		return delivery.Parked{}, fmt.Errorf("read parked job %q: %w", key, err)
	}
	return delivery.NoteAt(key, b, err, stored)
}

// Redrive enqueues parked jobs again, and returns those that it enqueued. It deletes their notes
// first: otherwise, if a copier parks a job again immediately, its new note would be deleted. If
// Kafka does not accept the jobs, the notes are put back. If the process dies in between, the
// auditor finds the debts.
func Redrive(ctx context.Context, staging objstore.Store, jobs Producer, parked []delivery.Parked) ([]delivery.Parked, error) {
	errs := InParallel(len(parked), MaxParallel, func(i int) error { return staging.Delete(ctx, noteKey(parked[i])) })
	var deleted []delivery.Parked
	var records []stream.Record
	for i, p := range parked {
		if errs[i] == nil {
			deleted = append(deleted, p)
			records = append(records, Record(delivery.Job{File: p.Job.File, Destination: p.Job.Destination}))
		}
	}
	if len(deleted) == 0 {
		return nil, errors.Join(errs...)
	}
	if err := jobs.Produce(ctx, records...); err != nil {
		err = fmt.Errorf("enqueue %d parked jobs: %w", len(deleted), err)
		return nil, errors.Join(append(errs, err, putBack(ctx, staging, deleted))...)
	}
	return deleted, errors.Join(errs...)
}

// putBack parks jobs again, except those that have been parked again in the meantime.
func putBack(ctx context.Context, staging objstore.Store, parked []delivery.Parked) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	return errors.Join(InParallel(len(parked), MaxParallel, func(i int) error {
		_, err := staging.Put(ctx, noteKey(parked[i]), bytes.NewReader(parked[i].Encode()), objstore.PutOptions{IfAbsent: true, ContentType: "application/json"})
		if errors.Is(err, objstore.ErrExists) {
			return nil
		}
		return err
	})...)
}

func noteKey(p delivery.Parked) string { return delivery.ParkedKey(p.Job.File, p.Job.Destination) }

// MaxParallel is how many requests are made concurrently.
const MaxParallel = 16

// InParallel calls do for 0 to n-1, up to most at a time, and returns the errors.
func InParallel(n, most int, do func(i int) error) []error {
	errs := make([]error, n)
	var group errgroup.Group
	group.SetLimit(most)
	for i := range n {
		group.Go(func() error {
			errs[i] = do(i)
			return nil
		})
	}
	_ = group.Wait() // always nil, so that one failure does not stop the others
	return errs
}
