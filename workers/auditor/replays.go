package auditor

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/job"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/replay"
)

// replays are the orders given, or worked on, within the retention: staged files that one of them
// is yet to deliver are not collected.
type replays struct {
	*Auditor

	lock   chan struct{}           // a lock of capacity 1 that waits with a context; guards orders and next
	orders map[string]*replayState // by id
	next   time.Time               // when to look for new orders again
}

// replayState is what is known about a replay.
type replayState struct {
	order     *delivery.Order // nil: it holds nothing back
	at        time.Time       // when it was ordered or resumed, by the store's clock
	expired   bool            // its retention has passed
	overKnown bool            // over is known; it is looked up only when it matters
	over      bool
}

// refreshInterval is how old our knowledge of orders may be when a staged file is deleted: an audit
// may take an hour, and orders are given meanwhile.
const refreshInterval = time.Second

// listReplays reads the orders.
func (a *Auditor) listReplays(ctx context.Context) (*replays, error) {
	r := &replays{Auditor: a, lock: make(chan struct{}, 1), orders: map[string]*replayState{}}
	return r, r.refresh(ctx)
}

// refresh reads the orders that were given or resumed since the last look.
func (r *replays) refresh(ctx context.Context) error {
	begun := time.Now()
	ids, err := replay.ListIDs(ctx, r.deps.Staging)
	if err != nil {
		return err
	}
	for _, id := range ids {
		at, err := r.orderedAt(ctx, id)
		if err != nil {
			return err
		}
		if known := r.orders[id]; known != nil && known.at.Equal(at) {
			continue
		}
		if r.orders[id], err = r.read(ctx, id, at); err != nil {
			return err
		}
	}
	r.next = time.Now().Add(max(refreshInterval, 10*time.Since(begun))) // a look takes a while if there are many orders
	return nil
}

// orderedAt returns when a replay was ordered, or last resumed; zero if there is no order any more.
func (a *Auditor) orderedAt(ctx context.Context, id string) (time.Time, error) {
	infos, err := a.deps.Staging.List(ctx, delivery.OrderKey(id), "", 1)
	if err != nil || len(infos) == 0 || infos[0].Key != delivery.OrderKey(id) {
		return time.Time{}, err
	}
	return infos[0].LastModified, nil
}

func (r *replays) read(ctx context.Context, id string, at time.Time) (*replayState, error) {
	o, err := replay.ReadOrder(ctx, r.deps.Staging, id)
	switch {
	case errors.Is(err, objstore.ErrNotFound): // the order is deleted first; the rest of the replay follows
		return &replayState{expired: true}, nil
	case errors.Is(err, delivery.ErrBadOrder): // perhaps from a later release
		r.deps.Log.ErrorContext(ctx, "replay order is not understood; it holds nothing back, and stays", "replay", id, "err", err)
		return &replayState{at: at}, nil
	case err != nil:
		return nil, err
	}
	recent, err := r.withinRetention(ctx, id, at)
	if err != nil {
		return nil, err
	}
	if !recent {
		o = nil
	}
	return &replayState{order: o, at: at, expired: !recent}, nil
}

// withinRetention reports whether a replay was ordered at a time, or did anything, within the
// retention. A replay may take longer than that, and a copier drops jobs whose order does not
// exist.
func (a *Auditor) withinRetention(ctx context.Context, id string, at time.Time) (bool, error) {
	now := time.Now()
	if now.Sub(at) < a.cfg.Retain { // for most replays their order is enough
		return true, nil
	}
	for info, err := range objstore.All(ctx, a.deps.Staging, delivery.ReplayPrefix(id)) {
		if err != nil || now.Sub(info.LastModified) < a.cfg.Retain { // by the store's clock
			return err == nil, err
		}
	}
	return false, nil
}

// needsEntry reports whether an order that is not over selects a file of the entry.
//
// Invariant: I4, staged files are deleted only when nothing of them is yet to be delivered.
func (r *replays) needsEntry(ctx context.Context, e *ledger.Entry) (bool, error) {
	select {
	case r.lock <- struct{}{}:
		defer func() { <-r.lock }()
	case <-ctx.Done():
		return true, ctx.Err()
	}
	if !time.Now().Before(r.next) {
		if err := r.refresh(ctx); err != nil {
			return true, err
		}
	}
	for id, g := range r.orders {
		if g.order == nil || !slices.ContainsFunc(e.Files, func(f ledger.File) bool { return g.order.Selects(e, &f) }) {
			continue
		}
		if !g.overKnown { // this lists all its receipts
			s, err := replay.ReadStatus(ctx, r.deps.Staging, id)
			switch {
			case errors.Is(err, delivery.ErrBadOrder): // perhaps from a later release
				r.deps.Log.ErrorContext(ctx, "plan of a replay is not understood; staged files that it may need are kept", "replay", id, "err", err)
			case err != nil:
				return true, err
			}
			g.overKnown, g.over = true, err == nil && s.Over()
			if g.over { // a resumed one looks like that, too, while what was given up waits to be tried again
				plan, err := r.deps.Staging.Head(ctx, delivery.PlanKey(id))
				if err != nil && !errors.Is(err, objstore.ErrNotFound) {
					return true, err
				}
				g.over = err == nil && !plan.LastModified.Before(g.at)
			}
		}
		if !g.over {
			return true, nil
		}
	}
	return false, nil
}

// sweepAtOnce is the number of concurrent deletions: some hundred per second.
const sweepAtOnce = 32

// sweepBatch is the number of deletions between two looks at the clock.
const sweepBatch = 1000

// sweepBudget is how long an audit may take to delete replays; somebody is waiting for an audit on
// demand.
func (a *Auditor) sweepBudget(scheduled bool) time.Duration {
	if scheduled {
		return a.cfg.Every / 10
	}
	return min(a.cfg.Every/10, time.Minute)
}

// sweep deletes everything that belongs to replays whose retention has passed, until its time is
// up: a large one has millions of objects, and the next audit continues.
func (r *replays) sweep(ctx context.Context, until time.Time) error {
	if r.cfg.DryRun {
		return nil
	}
	checked := false
	for _, id := range slices.Sorted(maps.Keys(r.orders)) {
		if !r.orders[id].expired {
			continue
		}
		if !time.Now().Before(until) {
			return nil
		}
		if !checked {
			if err := r.checkClock(ctx); err != nil {
				return err
			}
			checked = true
		}
		//  1. the order  2. the rest, so that nobody can resume a replay that is half deleted.
		if forgotten, err := r.deleteOrder(ctx, id); err != nil || !forgotten {
			if err != nil {
				return err
			}
			continue
		}
		if err := r.sweepReplay(ctx, id, until); err != nil {
			return err
		}
	}
	return nil
}

// clockKey is stored to learn the store's time. It has fewer parts than the key of a hint.
const clockKey = hintPrefix + "clock.json"

// checkClock returns an error if our clock is ahead of the store's: otherwise the retention of
// replays that are still running might seem to have passed.
func (a *Auditor) checkClock(ctx context.Context) error {
	now := time.Now()
	if _, err := a.deps.Staging.Put(ctx, clockKey, strings.NewReader("{}"), objstore.PutOptions{ContentType: "application/json"}); err != nil {
		return err
	}
	return a.checkNotAhead(ctx, clockKey, now)
}

// deleteOrder deletes the order, unless the replay was resumed since the audit began, and reports
// whether the order is gone.
func (r *replays) deleteOrder(ctx context.Context, id string) (bool, error) {
	at, err := r.orderedAt(ctx, id)
	if err != nil || at.IsZero() {
		return err == nil, err
	}
	if recent, err := r.withinRetention(ctx, id, at); err != nil || recent {
		return false, err
	}
	// Listing what a large replay did took minutes, so look again.
	if again, err := r.orderedAt(ctx, id); err != nil || !again.Equal(at) {
		return false, err
	}
	return true, r.deps.Staging.Delete(ctx, delivery.OrderKey(id))
}

// sweepReplay deletes the rest of a replay whose order is deleted.
func (r *replays) sweepReplay(ctx context.Context, id string, until time.Time) error {
	for after, deleted := "", 0; time.Now().Before(until); {
		infos, err := r.deps.Staging.List(ctx, delivery.ReplayPrefix(id), after, sweepBatch)
		if err != nil {
			return err
		}
		// Somebody may have read the order just before it was deleted, and stored it again.
		if at, err := r.orderedAt(ctx, id); err != nil || !at.IsZero() {
			return err
		}
		err = errors.Join(job.InParallel(len(infos), sweepAtOnce, func(i int) error { return r.deps.Staging.Delete(ctx, infos[i].Key) })...)
		if err != nil {
			return err
		}
		deleted += len(infos)
		if len(infos) < sweepBatch {
			r.deps.Log.InfoContext(ctx, "expired replay deleted", "replay", id, "objects", deleted)
			return nil
		}
		after = infos[len(infos)-1].Key
	}
	r.deps.Log.InfoContext(ctx, "expired replay deleted in part; the next audit continues", "replay", id)
	return nil
}
