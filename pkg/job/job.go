// Package job queues copy jobs, and queues again what was parked, for all roles
// and commands that do. The bytes are pkg/delivery's, the topics the caller's.
//
// It promises that a job which could not be queued again is parked still, or
// would be found by the auditor. A job may be queued twice: it is delivered once.
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

// Producer writes records to a topic; *stream.Producer is one.
type Producer interface {
	Produce(ctx context.Context, records ...stream.Record) error
}

// Record is a job as it is queued.
func Record(j delivery.Job) stream.Record {
	return stream.Record{Key: j.RecordKey(), Value: j.Encode(), Time: time.Now()}
}

// maxNote is more than a note has.
const maxNote = 1 << 20 // 1 MiB

// Note reads the note of a parked job, or of what a replay could not deliver,
// that was stored then. One that makes no sense is told as delivery.NoteAt does;
// that there is none is objstore.ErrNotFound.
func Note(ctx context.Context, staging objstore.Store, key string, stored time.Time) (delivery.Parked, error) {
	b, err := objstore.Read(ctx, staging, key, maxNote)
	if err != nil && !errors.Is(err, objstore.ErrTooLarge) {
		return delivery.Parked{}, fmt.Errorf("read parked job %q: %w", key, err)
	}
	return delivery.NoteAt(key, b, err, stored)
}

// Redrive gives parked jobs another start, and returns those that have it. The
// notes go before the jobs come: a copier that parks a job again at once must not
// have its fresh note deleted. They come back if Kafka does not take the jobs;
// if we die in between, the auditor finds the debts.
func Redrive(ctx context.Context, staging objstore.Store, jobs Producer, parked []delivery.Parked) ([]delivery.Parked, error) {
	errs := SomeAtOnce(len(parked), AtOnce, func(i int) error { return staging.Delete(ctx, noteKey(parked[i])) })
	var gone []delivery.Parked
	var records []stream.Record
	for i, p := range parked {
		if errs[i] == nil {
			gone = append(gone, p)
			records = append(records, Record(delivery.Job{File: p.Job.File, Destination: p.Job.Destination}))
		}
	}
	if len(gone) == 0 {
		return nil, errors.Join(errs...)
	}
	if err := jobs.Produce(ctx, records...); err != nil {
		err = fmt.Errorf("enqueue %d parked jobs: %w", len(gone), err)
		return nil, errors.Join(append(errs, err, putBack(ctx, staging, gone))...)
	}
	return gone, errors.Join(errs...)
}

// putBack parks jobs again, but for those that somebody has parked meanwhile.
func putBack(ctx context.Context, staging objstore.Store, parked []delivery.Parked) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	return errors.Join(SomeAtOnce(len(parked), AtOnce, func(i int) error {
		_, err := staging.Put(ctx, noteKey(parked[i]), bytes.NewReader(parked[i].Encode()), objstore.PutOptions{IfAbsent: true, ContentType: "application/json"})
		if errors.Is(err, objstore.ErrExists) {
			return nil
		}
		return err
	})...)
}

func noteKey(p delivery.Parked) string { return delivery.ParkedKey(p.Job.File, p.Job.Destination) }

// AtOnce is how many requests are made at once.
const AtOnce = 16

// SomeAtOnce does 0 to n-1, up to most at a time, and returns their errors.
func SomeAtOnce(n, most int, do func(i int) error) []error {
	errs := make([]error, n)
	var group errgroup.Group
	group.SetLimit(most)
	for i := range n {
		group.Go(func() error {
			errs[i] = do(i)
			return nil
		})
	}
	_ = group.Wait() // nil: one that fails does not keep the others from being done
	return errs
}
