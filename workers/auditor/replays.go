package auditor

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/replay"
)

// replays are the orders given, or worked at, within the retention: staged
// files that one of them is still to deliver are not collected.
type replays struct {
	staging objstore.Store
	log     *slog.Logger
	orders  []*delivery.Order

	mu   sync.Mutex      // guards over
	over map[string]bool // by id; asked for when it matters, once an audit
}

// listReplays reads the orders, and returns those that have had their time.
func (a *Auditor) listReplays(ctx context.Context, now time.Time) (*replays, []string, error) {
	ids, err := replay.IDs(ctx, a.deps.Staging)
	if err != nil {
		return nil, nil, err
	}
	r, past := &replays{staging: a.deps.Staging, log: a.deps.Log, over: map[string]bool{}}, []string(nil)
	for _, id := range ids {
		o, err := replay.ReadOrder(ctx, a.deps.Staging, id)
		switch {
		case errors.Is(err, objstore.ErrNotFound): // it was written first, and goes last
			past = append(past, id)
		case errors.Is(err, delivery.ErrBadOrder): // a later release's, perhaps
			a.deps.Log.ErrorContext(ctx, "replay order is not understood; it holds nothing back, and stays", "replay", id, "err", err)
		case err != nil:
			return nil, nil, err
		default:
			young, err := a.young(ctx, id, now)
			if err != nil {
				return nil, nil, err
			}
			if young {
				r.orders = append(r.orders, o)
			} else {
				past = append(past, id)
			}
		}
	}
	return r, past, nil
}

// young reports whether a replay was ordered, or did anything, within the
// retention: it may take longer than that, and a copier drops the jobs of an
// order that is not there.
func (a *Auditor) young(ctx context.Context, id string, now time.Time) (bool, error) {
	for _, prefix := range []string{delivery.OrderKey(id), delivery.ReplayPrefix(id)} { // most are told by their order
		for info, err := range objstore.All(ctx, a.deps.Staging, prefix) {
			if err != nil || now.Sub(info.LastModified) < a.cfg.Retain { // by the store's clock
				return err == nil, err
			}
		}
	}
	return false, nil
}

// need reports whether an order that is not over selects a file of the entry.
//
// Invariant: I4, staged files go only when nothing is to be delivered of them.
func (r *replays) need(ctx context.Context, e *ledger.Entry) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range r.orders {
		if !slices.ContainsFunc(e.Files, func(f ledger.File) bool { return o.Selects(e, &f) }) {
			continue
		}
		if _, asked := r.over[o.ID]; !asked { // which lists all its receipts
			s, err := replay.ReadStatus(ctx, r.staging, o.ID)
			switch {
			case errors.Is(err, delivery.ErrBadOrder): // a later release's, perhaps
				r.log.ErrorContext(ctx, "plan of a replay is not understood; staged files that it may need are kept", "replay", o.ID, "err", err)
			case err != nil:
				return true, err
			}
			r.over[o.ID] = err == nil && s.Over()
		}
		if !r.over[o.ID] {
			return true, nil
		}
	}
	return false, nil
}

// sweepReplays deletes all that belongs to replays whose time is over; the
// order goes last.
func (a *Auditor) sweepReplays(ctx context.Context, ids []string) error {
	if a.cfg.DryRun {
		return nil
	}
	for _, id := range ids {
		// One that is still ordered may have been resumed since the audit began.
		if _, err := a.deps.Staging.Head(ctx, delivery.OrderKey(id)); err == nil {
			young, err := a.young(ctx, id, time.Now())
			if err != nil {
				return err
			}
			if young {
				continue
			}
		} else if !errors.Is(err, objstore.ErrNotFound) {
			return err
		}
		for info, err := range objstore.All(ctx, a.deps.Staging, delivery.ReplayPrefix(id)) {
			if err != nil {
				return err
			}
			if info.Key == delivery.OrderKey(id) {
				continue
			}
			if err := a.deps.Staging.Delete(ctx, info.Key); err != nil {
				return err
			}
		}
		if err := a.deps.Staging.Delete(ctx, delivery.OrderKey(id)); err != nil {
			return err
		}
		a.deps.Log.InfoContext(ctx, "expired replay deleted", "replay", id)
	}
	return nil
}
