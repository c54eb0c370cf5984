package replay

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/job"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/stream"
)

// ErrFewerCopies says that the catalog no longer allows all copies of an order, and that some of
// those which it does not allow are neither made nor given up. The others were enqueued.
var ErrFewerCopies = errors.New("the catalog does not allow all copies any more")

// ErrOrderExpired says that the order no longer exists: the auditor deletes a replay that has done
// nothing for staging.retain.
var ErrOrderExpired = errors.New("the auditor has deleted the order, because no copy of it was made for staging.retain: order it again")

// ErrRefused says that the order may no longer be given.
var ErrRefused = errors.New("the catalog does not allow the order any more")

// Run carries out an order, up to enqueuing its jobs.
type Run struct {
	Staging objstore.Store
	// Jobs is the producer of the replays' own job topic. Only used by Enqueue.
	Jobs    job.Producer
	Catalog *catalog.Snapshot
	// Kafka rebuilds files that staging does not have; nil: they are lost.
	Kafka *Rebuilder
	// OnTally is called with the tally as it grows; may be nil.
	OnTally func(Tally)
}

// Check returns why the order may not be given, or nil. Count may find another reason.
func (r Run) Check(o *delivery.Order) error {
	if err := o.Validate(); err != nil {
		return err
	}
	for _, d := range o.Destinations {
		t, ok := r.Catalog.Destination(d)
		switch {
		case !ok:
			return fmt.Errorf("destination %q is not in the catalog; `sealift catalog get` lists them", d)
		case !t.IsEnabled:
			return fmt.Errorf("destination %q is disabled; enable it in the catalog first", d)
		case t.RefusalReason != "":
			return fmt.Errorf("destination %q: the catalog is wrong: %s", d, t.RefusalReason)
		}
		for _, source := range o.Sources {
			if err := checkSubscribed(r.Catalog, source, d); err != nil && !errors.Is(err, ErrNotSubscribed) {
				return err
			}
		}
	}
	return nil
}

// Count returns what the order amounts to, and changes nothing. If it names a source of which
// nothing may go to one of its destinations, because the catalog does not send it there and the
// ledger owes nothing, the error is ErrNotSubscribed.
func (r Run) Count(ctx context.Context, o *delivery.Order) (Tally, error) {
	var t Tally
	bounds, err := r.readBounds(ctx, o)
	if err != nil {
		return t, err
	}
	for e, err := range walk(ctx, r.Staging, o, r.Catalog) {
		if err != nil {
			return t, err
		}
		t.addRefusals(e.refused)
		t.Unowed += e.unowed
		at, err := r.locate(ctx, o, e, bounds)
		if err != nil {
			return t, err
		}
		for i, f := range e.files {
			t.addFile(&e.Files[f.index], f.destinations, at[i])
		}
		r.reportTally(t)
	}
	for _, d := range o.Destinations {
		for _, source := range o.Sources {
			if slices.ContainsFunc(t.Rows, func(row Row) bool { return row.Source == source && row.Destination == d }) {
				continue
			}
			if err := checkSubscribed(r.Catalog, source, d); errors.Is(err, ErrNotSubscribed) {
				return t, err
			}
		}
	}
	return t, nil
}

// Enqueue enqueues the jobs of an order at its rate, and then writes its plan. If it runs again, it
// passes over what was delivered; jobs that are enqueued twice are harmless. Files that cannot be
// obtained are noted as failed.
//
// The catalog may have changed since the order was given. If Enqueue runs again, an order that may
// no longer be given is refused (ErrRefused). One that amounts to fewer copies than before keeps
// its plan, or remains without one (ErrFewerCopies).
func (r Run) Enqueue(ctx context.Context, o *delivery.Order, resume bool) (Tally, error) {
	if resume {
		if err := r.Check(o); err != nil {
			return Tally{}, fmt.Errorf("%w: %w; or order a new replay of the others: this one then expires after staging.retain", ErrRefused, err)
		}
		// The same bytes are stored again to renew the order's age: otherwise an old order might be
		// deleted before the replay has done anything.
		if err := put(ctx, r.Staging, delivery.OrderKey(o.ID), o.Encode(), false); err != nil {
			return Tally{}, fmt.Errorf("resume replay %q: %w", o.ID, err)
		}
	}
	q := &enqueuer{Run: r, order: o, resumed: resume, pace: pacer{files: o.FilesPerSecond, bytes: o.BytesPerSecond}}
	err := q.run(ctx)
	return q.tally, err
}

// readBounds returns the offsets that Kafka holds of the topic, if Kafka may be used.
func (r Run) readBounds(ctx context.Context, o *delivery.Order) (map[int]stream.Bounds, error) {
	if o.From == delivery.FromStaging || r.Kafka == nil {
		return nil, nil
	}
	return stream.RetryTransient(ctx, func() (map[int]stream.Bounds, error) { return r.Kafka.Bounds(ctx, o.Topic) })
}

// locate finds out where the bytes of an entry's files are.
func (r Run) locate(ctx context.Context, o *delivery.Order, e coveredEntry, bounds map[int]stream.Bounds) ([]presence, error) {
	at := make([]presence, len(e.files))
	for i, found := range e.files {
		f := &e.Files[found.index]
		at[i] = lost
		if b, ok := bounds[e.Partition]; ok && b.First <= f.First && f.Last < b.End {
			at[i] = inKafka
		}
	}
	if o.From == delivery.FromKafka {
		return at, nil
	}
	objects := map[string][]int{} // files by the object that they are staged in
	for i, found := range e.files {
		key := e.Files[found.index].StagedKey
		objects[key] = append(objects[key], i)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(16)
	for key, files := range objects {
		group.Go(func() error {
			info, err := r.Staging.Head(ctx, key)
			if errors.Is(err, objstore.ErrNotFound) {
				return nil
			}
			for _, i := range files {
				if err == nil && info.Size == e.Files[e.files[i].index].StagedBytes() {
					at[i] = staged
				}
			}
			return err
		})
	}
	return at, group.Wait()
}

func (r Run) reportTally(t Tally) {
	if r.OnTally != nil {
		r.OnTally(t)
	}
}
