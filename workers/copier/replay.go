package copier

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/destination"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/receipt"
	"github.com/sealift/sealift/pkg/replay"
)

// replayer is the replay lane: it does what replay orders say.
type replayer struct {
	*Copier

	mu     sync.Mutex // guards orders
	orders map[string]*delivery.Order
}

// maxOrders is how many orders are cached, usually a few kB each. When it is reached, the cache is
// cleared.
const maxOrders = 1000

// try does once what a replay's job asks for; the counterpart of Copier.try.
func (r *replayer) try(ctx context.Context, a attempt) error {
	job := a.Job
	order, e, err := r.orderAndEntry(ctx, job)
	if err != nil {
		return err
	}
	f, shared := &e.Files[job.File.Index], ctx
	ctx, addUp := r.countRequests(ctx, job.Destination)
	defer addUp()
	held, err := r.acquireReplayed(ctx, job)
	if err != nil {
		return err
	}
	defer r.release(ctx, held, "")
	delivered, err := exists(ctx, r.deps.Staging, delivery.ReplayReceiptKey(job.Replay, job.File, job.Destination))
	switch {
	case err != nil:
		return r.stagingFailed(err, "look for the replay's receipt")
	case delivered: // its writer may have died before close had finished
		if err := r.deleteFailureNote(ctx, job); err != nil {
			return r.stagingFailed(err, "take back the note of a failure")
		}
		return errMoot
	}
	t, err := r.permittedTarget(job, f)
	if err != nil {
		return err
	}
	t.Prefix = order.Prefix(t.Prefix)
	body, err := r.fetchOrdered(ctx, order, job, f)
	if err != nil {
		return err
	}
	defer body.remove()
	return r.deliver(ctx, a, t, f, body, held, order.Force, func(receipt delivery.Receipt) error {
		return r.recordDelivery(ctx, shared, receipt, e, order.View == "" && isOwed(f, job.Destination))
	})
}

// orderAndEntry returns the order, and the entry of the file, if the job is genuine.
//
// Invariant: I7. The job is only a pointer, and anyone with access to the topic may have written
// it. What is to be delivered to whom is in the order.
func (r *replayer) orderAndEntry(ctx context.Context, job delivery.Job) (*delivery.Order, *ledger.Entry, error) {
	if job.Replay == "" {
		return nil, nil, r.dropForged(ctx, job, "it names no replay")
	}
	order, err := r.order(ctx, job.Replay)
	switch {
	case errors.Is(err, objstore.ErrNotFound):
		return nil, nil, r.dropForged(ctx, job, "no such replay order")
	case errors.Is(err, delivery.ErrBadOrder):
		return nil, nil, r.dropForged(ctx, job, err.Error())
	case err != nil:
		return nil, nil, r.stagingFailed(err, "read the replay's order")
	}
	e, err := r.entry(ctx, job)
	if err != nil {
		return nil, nil, err
	}
	if !order.Covers(e, &e.Files[job.File.Index], job.Destination) {
		return nil, nil, r.dropForged(ctx, job, "the replay's order does not cover it")
	}
	return order, e, nil
}

// order reads an order, or takes it from the cache: orders never change.
func (r *replayer) order(ctx context.Context, id string) (*delivery.Order, error) {
	r.mu.Lock()
	o := r.orders[id]
	r.mu.Unlock()
	if o != nil {
		return o, nil
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	o, err := replay.ReadOrder(ctx, r.deps.Staging, id)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.orders) >= maxOrders {
		clear(r.orders)
	}
	r.orders[id] = o
	return o, nil
}

// permittedTarget returns the destination if the file may be sent there.
func (r *replayer) permittedTarget(job delivery.Job, f *ledger.File) (catalog.Target, error) {
	t, err := r.target(job)
	if err != nil {
		return t, err
	}
	if err = replay.CheckPermitted(r.deps.Catalog.Snapshot(), f, job.Destination); err == nil {
		return t, nil
	}
	class, do := destination.Hopeless, "order it for destinations of the source's own workspace"
	if errors.Is(err, replay.ErrNotSubscribed) {
		do = "subscribe it in the catalog, then: " + retryCommand(job)
		if job.Attempt < maxTriesOutsideCatalog { // the catalog may be late
			class = destination.Transient
		}
	}
	return t, fileFailed(class, "not_permitted", err.Error(), do)
}

// fetchOrdered spools the bytes that the order asks for.
func (r *replayer) fetchOrdered(ctx context.Context, order *delivery.Order, job delivery.Job, f *ledger.File) (*spooledFile, error) {
	var unusable error
	if order.From != delivery.FromKafka {
		body, err := r.fetch(ctx, f)
		if order.From == delivery.FromStaging || !errors.Is(err, errStagedUnusable) {
			return body, err
		}
		unusable = err
	}
	body, err := spoolRebuilt(ctx, r.deps.Staging, r.cfg.SpoolDir, delivery.RebuiltKey(job.Replay, job.File), f)
	switch {
	case err == nil:
		return body, nil
	case errors.Is(err, objstore.ErrNotFound) && unusable != nil:
		return nil, unusable
	case errors.Is(err, objstore.ErrNotFound):
		return nil, fileFailed(destination.Permanent, "rebuilt_missing", "the file was not rebuilt from Kafka", "run it again: "+retryCommand(job))
	case errors.Is(err, errDamaged):
		r.metrics.staged.WithLabelValues("damaged").Inc()
		return nil, fileFailed(destination.Permanent, "rebuilt_damaged", err.Error(), "order a new replay")
	}
	return nil, r.spoolFailed(err, "read the rebuilt file")
}

// recordDelivery writes what follows a delivery: 1. the debt's own receipt, if the file is owed and
// has none  2. the replay's receipt  3. it deletes the note of a failure. Each step is harmless when
// repeated.
func (r *replayer) recordDelivery(ctx, shared context.Context, rec delivery.Receipt, e *ledger.Entry, debt bool) error {
	if debt {
		closed, err := r.receipts.lookUp(ctx, shared, delivery.Job{File: rec.File, Destination: rec.Destination}, e, true)
		if err == nil && !closed { // a second receipt might be in a batch, which counts more than one by itself
			err = r.receipts.write(ctx, rec, e)
		}
		if err != nil {
			return err
		}
		r.setMarker(ctx, delivery.DoneMarker(rec.File, rec.Destination), doneTTL)
	}
	if err := r.writeReplayed(ctx, rec); err != nil {
		return err
	}
	return r.deleteFailureNote(ctx, delivery.Job{File: rec.File, Destination: rec.Destination, Replay: rec.Replay})
}

// writeReplayed is receipt.WriteReplayed with requestTimeout.
func (r *replayer) writeReplayed(ctx context.Context, rec delivery.Receipt) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return receipt.WriteReplayed(ctx, r.deps.Staging, rec)
}

// spoolRebuilt is spoolStaged for an object that was rebuilt from Kafka. It may be compressed differently
// from the original, so its lines, not its bytes, are compared with the ledger.
func spoolRebuilt(ctx context.Context, staging objstore.Store, dir, key string, f *ledger.File) (*spooledFile, error) {
	r, _, err := objstore.GetSteadily(ctx, staging, key)
	if err != nil {
		return nil, err
	}
	s, err := receive(r, dir, key, replay.MaxBytes(f))
	if err != nil {
		return nil, err
	}
	lines, err := replay.Summarize(io.NewSectionReader(s, 0, s.size), f.RawBytes)
	if err == nil && lines != replay.SummaryOf(f) {
		err = fmt.Errorf("it holds %s, want %s", lines, replay.SummaryOf(f))
	}
	if err != nil {
		s.remove()
		return nil, fmt.Errorf("spool %q: %w: %w", key, errDamaged, err)
	}
	return s, nil
}
