package verify

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/receipt"
	"github.com/sealift/sealift/pkg/replay"
)

// listOrders reads the orders of all replays of this topic.
func (v *verifier) listOrders(ctx context.Context) error {
	ids, err := replay.ListIDs(ctx, v.staging)
	if err != nil {
		return err
	}
	for _, id := range ids {
		o, err := replay.ReadOrder(ctx, v.staging, id)
		switch {
		case errors.Is(err, objstore.ErrNotFound):
			if err := v.checkMissingOrder(ctx, id); err != nil {
				return err
			}
		case errors.Is(err, delivery.ErrBadOrder):
			v.report.addProblem(BadOrder, delivery.OrderKey(id), "%v", err)
		case err != nil:
			return err
		case o.Topic == v.cfg.Topic && o.Incarnation == v.cfg.Incarnation:
			v.orders = append(v.orders, o)
		}
	}
	return nil
}

// checkMissingOrder reports receipts for which there has to be an order: the auditor deletes no
// order while one of its receipts is younger than the retention.
func (v *verifier) checkMissingOrder(ctx context.Context, id string) error {
	prefix := delivery.ReplayReceiptsPrefix(id) + v.cfg.Topic + "/" + v.cfg.Incarnation + "/"
	for info, err := range objstore.All(ctx, v.staging, prefix) {
		if err != nil {
			return err
		}
		if v.now.Sub(info.LastModified) < v.cfg.Retain {
			v.report.addProblem(BadOrder, delivery.OrderKey(id), "it is missing, and %q is there", info.Key)
			return nil
		}
	}
	return nil
}

// replayReceipts returns the receipts of replays that put the file's object to the destination
// again, or for the first time.
func (o *file) replayReceipts(ctx context.Context, dest string) ([]delivery.Receipt, error) {
	var all []delivery.Receipt
	for _, order := range o.orders {
		if order.View != "" || !order.Covers(o.e, o.f, dest) {
			continue
		}
		r, err := receipt.Read(ctx, o.verifier.staging, delivery.ReplayReceiptKey(order.ID, o.ref, dest))
		switch {
		case errors.Is(err, objstore.ErrNotFound) || errors.Is(err, delivery.ErrBadReceipt):
		case err != nil:
			return nil, err
		default:
			all = append(all, r)
		}
	}
	return all, nil
}

// wasRebuilt reports whether a replay rebuilt the file from Kafka.
func (o *file) wasRebuilt(ctx context.Context) (bool, error) {
	for _, order := range o.orders {
		if order.From == delivery.FromStaging || !order.Selects(o.e, o.f) {
			continue
		}
		_, err := o.verifier.staging.Head(ctx, delivery.RebuiltKey(order.ID, o.ref))
		if err == nil || !errors.Is(err, objstore.ErrNotFound) {
			return err == nil, err
		}
	}
	return false, nil
}

// verifyReplays compares the receipts of every replay with its order, the ledger and the buckets.
//
// Invariant: I7.
func (v *verifier) verifyReplays(ctx context.Context) error {
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(v.cfg.Concurrency)
	for _, order := range v.orders {
		var current delivery.FileRef // any file of the current entry
		var entry func() (*ledger.Entry, error)
		var receipts func() (receipt.Set, error)
		for info, err := range objstore.All(gctx, v.staging, delivery.ReplayReceiptsPrefix(order.ID)) {
			if err != nil {
				return errors.Join(err, group.Wait())
			}
			job, _, ok := delivery.ParseReplayCopyKey(info.Key)
			if !ok {
				v.report.addProblem(BadReceipt, info.Key, "is no receipt's key")
				continue
			}
			// The keys come in the order of entries: each entry and its own receipts are read once,
			// when the first of the replay's receipts needs them.
			if entry == nil || job.File.Log() != current.Log() || job.File.Seq != current.Seq {
				current = job.File
				entry = sync.OnceValues(func() (*ledger.Entry, error) {
					return ledger.NewChain(v.staging, job.File.Log()).Entry(gctx, job.File.Seq)
				})
				receipts = v.lazyReceipts(gctx, current.Log(), current.Seq)
			}
			entry, receipts := entry, receipts
			group.Go(func() error { return v.verifyReplayReceipt(gctx, order, info.Key, entry, receipts) })
		}
	}
	return group.Wait()
}

// verifyReplayReceipt compares a receipt with its order; entry reads the entry that its key names,
// and receipts those of the entry's debts.
func (v *verifier) verifyReplayReceipt(ctx context.Context, order *delivery.Order, key string, entry func() (*ledger.Entry, error), receipts func() (receipt.Set, error)) error {
	bad := func(format string, args ...any) { v.report.addProblem(BadReceipt, key, format, args...) }
	r, err := receipt.Read(ctx, v.staging, key)
	switch {
	case errors.Is(err, objstore.ErrNotFound):
		return nil
	case errors.Is(err, delivery.ErrBadReceipt):
		bad("%v", err)
		return nil
	case err != nil:
		return err
	}
	if delivery.ReplayReceiptKey(order.ID, r.File, r.Destination) != key {
		bad("it says that it is of %s at %s", describeFile(r.File), r.Destination)
		return nil
	}
	if !v.includesDestination(r.Destination) {
		return nil
	}
	e, err := entry()
	switch {
	case errors.Is(err, ledger.ErrNotFound) && v.damaged[r.File.Log()]:
		return nil // reported for the chain
	case errors.Is(err, ledger.ErrNotFound) || err == nil && r.File.Index >= len(e.Files):
		bad("the ledger has no such file")
		return nil
	case errors.Is(err, ledger.ErrCorrupt):
		return nil // reported for the entry
	case err != nil:
		return err
	}
	f := &e.Files[r.File.Index]
	if v.cfg.Source != "" && f.Source != v.cfg.Source {
		return nil
	}
	if !order.Covers(e, f, r.Destination) {
		v.report.addProblem(NotOwed, key, "replay %s does not cover %s", order.ID, describeFile(r.File))
	}
	v.report.update(func(p *Report) { p.Receipts.Replayed++ })
	inner := delivery.ObjectKey(order.View, r.File.Log(), f)
	if r.Key != inner && !strings.HasSuffix(r.Key, "/"+inner) || r.Records != f.Records {
		bad("it is of %d records at %q, the ledger says %d and the key must end in %q", r.Records, r.Key, f.Records, inner)
		return nil
	}
	if order.View == "" && slices.Contains(f.Owed, r.Destination) {
		// The debt has a receipt for the same object, which is checked only once.
		set, err := receipts()
		if err != nil {
			return err
		}
		if found, ok := set[receipt.PairOf(r.File, r.Destination)]; ok {
			if owedReceipt, err := found.Read(ctx, v.staging); err == nil && owedReceipt.Outcome == delivery.Delivered && owedReceipt.Key == r.Key {
				return nil
			}
		}
	}
	o := &file{walk: &walk{verifier: v, log: r.File.Log()}, e: e, f: f, ref: r.File, view: order.View}
	v.report.updateDestination(r.Destination, func(d *Destination) { d.Replayed++ })
	return v.buckets.verifyObject(ctx, o, r.Destination, r)
}
