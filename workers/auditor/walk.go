package auditor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealift/sealift/pkg/ledger"
)

const (
	entriesPerBatch = 1000 // the hint is stored after this many
	entriesAtOnce   = 8    // entries at once; batches of receipts are read as many at once for each
)

// walk is one audit of one chain.
type walk struct {
	*Auditor
	log    ledger.Log
	chain  *ledger.Chain
	parked *parkedSet
	orders *replays
	now    time.Time
	hint   hint
	head   *ledger.Entry
	// reopened are the entries that the hint left open, or that this audit had visited before it
	// started over.
	reopened        map[int64]bool
	open            map[int64][]pair // the debts that the hint left open, by entry
	withoutRedis    bool             // Redis does not answer, and is not asked again
	enqueueReopened bool             // without Redis, enqueue again what was already open at the last audit
	accountsChanged bool             // the hint's accounts have changed
	visitedAll      bool             // everything that had to be visited was
	collectable     []int64          // entries at or below hint.Collected that have staged objects which may be deleted now
	allowed         allowance
	spent           spent
	orphansPutOff   bool // a search for orphans is due, but there is no time for it

	mu      sync.Mutex // guards report, visited, withoutRedis and hint.Blind during concurrent visits
	report  chainReport
	visited map[int64]visitResult
}

// allowance is the time of the audit that a walk may spend, in addition to its visits.
type allowance struct {
	garbage   time.Duration // for deleting garbage; 0: no limit
	noOrphans bool          // there is no time to search for orphans
}

// spent is the time that a walk has spent.
type spent struct{ garbage, orphans time.Duration }

func newWalk(a *Auditor, l ledger.Log, parked *parkedSet, orders *replays) *walk {
	return &walk{Auditor: a, log: l, chain: ledger.NewChain(a.deps.Staging, l), parked: parked, orders: orders, now: time.Now(), report: newChainReport()}
}

// run audits the chain. If all of it was visited, its report and hint include what was found even
// if there is an error, which then concerns only the deletion of garbage.
func (w *walk) run(ctx context.Context) error {
	h, err := loadHint(ctx, w.deps.Staging, w.log)
	if err != nil {
		return err
	}
	w.head, err = w.chain.Head(ctx) // read after the hint, which cannot be ahead of it
	if errors.Is(err, ledger.ErrEmpty) {
		w.visitedAll = true
		return nil
	}
	if err != nil {
		return err
	}
	if w.hint, err = w.startingHint(ctx, h); err != nil {
		return err
	}
	before := w.hint.withoutAccounts()
	since := w.now.Sub(time.UnixMilli(w.hint.Blind)) // negative if a clock was ahead
	w.enqueueReopened = w.cfg.Force || since < 0 || since >= auditsWithoutRedis*w.cfg.Every
	err = w.visitAndCollect(ctx)
	if errors.Is(err, errContradiction) {
		w.deps.Log.ErrorContext(ctx, "receipts that existed are missing: auditing everything again",
			"topic", w.log.Topic, "partition", w.log.Partition, "err", err)
		for _, seq := range w.hint.Open { // some were kept open just now, after their turn to be collected
			w.reopened[seq] = true
		}
		done := w.report
		w.report, w.hint = newChainReport(), w.hint.restart()
		w.report.Enqueued, w.report.Collected, w.accountsChanged = done.Enqueued, done.Collected, true
		err = w.visitAndCollect(ctx)
	}
	if !w.visitedAll {
		return err
	}
	// What was found is stored, even if deleting garbage failed.
	due := w.hint.orphansDue(w.now)
	orphans := w.cfg.Full || due && !w.allowed.noOrphans
	w.orphansPutOff = due && !orphans
	if orphans {
		w.hint.Orphans = w.now.UnixMilli() // set first, so that a search that never ends is not repeated at every audit
	}
	w.hint = w.hint.consistent()
	if !w.hint.equal(before) || w.accountsChanged {
		err = errors.Join(err, w.storeHint(ctx, w.hint))
	}
	if orphans {
		begun := time.Now()
		err = errors.Join(err, w.collectOrphans(ctx))
		w.spent.orphans = time.Since(begun)
	}
	return err
}

// errContradiction says that a receipt that existed is missing, as after a restore.
var errContradiction = errors.New("the hint and the receipts contradict each other")

func (w *walk) visitAndCollect(ctx context.Context) error {
	w.visitedAll, w.collectable = false, nil
	if err := w.visitAll(ctx); err != nil {
		return err
	}
	w.visitedAll = true
	return w.collect(ctx)
}

// startingHint returns the hint that the audit starts from.
func (w *walk) startingHint(ctx context.Context, h hint) (hint, error) {
	is, err := h.belongsTo(ctx, w.chain, w.head.Seq)
	if err != nil {
		return h, err
	}
	if !is {
		w.deps.Log.ErrorContext(ctx, "the ledger is not the one that was audited: it was rolled back, or this is another bucket",
			"topic", w.log.Topic, "partition", w.log.Partition, "entry", w.head.Seq, "audited", h.Through)
		h = emptyHint()
	}
	w.reopened = map[int64]bool{}
	for _, seq := range h.Open {
		w.reopened[seq] = true
	}
	if w.cfg.Full {
		h = h.restart()
	}
	return h, nil
}

func (w *walk) storeHint(ctx context.Context, h hint) error {
	if w.cfg.DryRun {
		return nil
	}
	return h.consistent().store(ctx, w.deps.Staging, w.log)
}

// visitAll visits, batch by batch, the entries that the hint left open, except those that splitIdle
// leaves out, and the entries written since.
func (w *walk) visitAll(ctx context.Context) error {
	frozen := false // an entry was too new: Through stays below it
	debts := w.hint.Accounts.openDebts()
	w.open = w.hint.Accounts.openPairs()
	reopened, left := w.splitIdle(w.hint.Open)
	w.hint.Open = left
	for next := w.hint.Through + 1; len(reopened) > 0 || next <= w.head.Seq; {
		var batch []int64
		for len(batch) < entriesPerBatch && len(reopened) > 0 {
			batch, reopened = append(batch, reopened[0]), reopened[1:]
		}
		for len(batch) < entriesPerBatch && next <= w.head.Seq {
			batch = append(batch, next)
			next++
		}
		if err := w.visitBatch(ctx, batch); err != nil {
			return err
		}
		for _, seq := range batch {
			v := w.visited[seq]
			frozen = frozen || v.entryState == entryTooNew || len(w.hint.Open) >= maxOpen || debts >= maxDebts
			if seq > w.hint.Through && frozen {
				continue
			}
			if v.entryState != entryClosed {
				w.hint.Open = append(w.hint.Open, seq)
			}
			w.hint.setSeen(seq, v.seen)
			if v.collectable {
				w.collectable = append(w.collectable, seq)
			}
			more, err := w.updateAccounts(seq, v)
			if err != nil {
				return err
			}
			debts += more
		}
		if len(batch) == entriesPerBatch {
			h := w.hint
			h.Open = append(slices.Clone(h.Open), reopened...)
			slices.Sort(h.Open)
			if err := w.storeHint(ctx, h); err != nil {
				return err
			}
		}
	}
	slices.Sort(w.hint.Open) // entries that were passed over are in front
	return nil
}

// updateAccounts updates the accounts with the result of a visit, and moves Through past a new
// entry. more is the number of debts added.
func (w *walk) updateAccounts(seq int64, v visitResult) (more int, err error) {
	if seq > w.hint.Through {
		w.hint.Through, w.hint.Attempt = seq, v.attempt
		for _, p := range v.pairs {
			w.hint.Accounts.addNew(p)
			if p.receipt == nil {
				more++
			}
		}
		return more, nil
	}
	for _, p := range v.pairs {
		changed, ok := w.hint.Accounts.update(p)
		if !ok {
			return 0, fmt.Errorf("%w: the receipt of %s at %q is gone", errContradiction, p.ref(w.log), p.destination)
		}
		if changed {
			w.accountsChanged = true
			more--
		}
	}
	return more, nil
}

// visitBatch visits entries concurrently, and enqueues the jobs that are missing.
func (w *walk) visitBatch(ctx context.Context, batch []int64) error {
	w.visited = make(map[int64]visitResult, len(batch))
	var missing []debt
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(entriesAtOnce)
	for _, seq := range batch {
		group.Go(func() error {
			found, v, err := w.visit(gctx, seq)
			w.mu.Lock()
			defer w.mu.Unlock()
			w.visited[seq] = v
			missing = append(missing, found...)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for seq, v := range w.visited {
		if v.entryState == entryClosed { // if the audit starts over, it is not collected a second time
			delete(w.reopened, seq)
		}
	}
	return w.enqueue(ctx, missing)
}
