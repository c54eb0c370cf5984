package auditor

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sealift/sealift/pkg/job"
)

// maxEntriesBetweenChecks is the most entries that are collected between two looks at the clock.
const maxEntriesBetweenChecks = 64

// collect deletes the staged objects whose debts were all closed long enough ago: first those of
// entries that were still open when their turn came, then those of the entries whose turn it is
// now. A backlog may take longer than the process lives, so progress is stored now and then. A
// scheduled audit stops when the chain's share of time is used up, because other chains are
// waiting; the next audit continues from there.
func (w *walk) collect(ctx context.Context) error {
	stored, begun := w.hint.Collected, time.Now()
	defer func() { w.spent.garbage += time.Since(begun) }()
	if len(w.collectable) > 0 || w.moreDue(ctx) {
		if err := w.checkClockByHint(ctx); err != nil {
			return err
		}
	}
	timeIsUp := func() bool { return w.allowed.garbage > 0 && time.Since(begun) >= w.allowed.garbage }
	for len(w.collectable) > 0 {
		seqs := w.collectable[:min(len(w.collectable), entriesAtOnce)]
		w.collectable = w.collectable[len(seqs):]
		if _, err := w.collectEntries(ctx, seqs); err != nil {
			return err
		}
		if timeIsUp() {
			if len(w.collectable) > 0 || w.moreDue(ctx) {
				w.report.Behind = 1
			}
			return nil
		}
	}
	for n := int64(1); w.hint.Collected < w.hint.Through; n = min(2*n, maxEntriesBetweenChecks) { // most chains have a young entry next
		var next []int64
		for seq := w.hint.Collected + 1; seq <= min(w.hint.Collected+n, w.hint.Through); seq++ {
			next = append(next, seq)
		}
		more, err := w.collectEntries(ctx, next)
		if err != nil || !more {
			return err
		}
		if timeIsUp() {
			if w.moreDue(ctx) {
				w.report.Behind = 1
			}
			return nil
		}
		if w.hint.Collected-stored >= entriesPerBatch {
			stored = w.hint.Collected
			if err := w.storeHint(ctx, w.hint); err != nil {
				return err
			}
		}
	}
	return nil
}

// moreDue reports whether it is the turn of another entry with files. If that cannot be found out,
// it says yes.
func (w *walk) moreDue(ctx context.Context) bool {
	for seq := w.hint.Collected + 1; seq <= w.hint.Through; seq++ {
		e, err := w.chain.Entry(ctx, seq)
		if err != nil {
			return true
		}
		if len(e.Files) == 0 {
			continue
		}
		old, err := w.entryAge(ctx, e)
		return err != nil || old >= w.cfg.Retain
	}
	return false
}

// collectEntries collects several entries concurrently. It records the results up to the first
// entry that failed or is still too young; those after it are collected again later. more is false
// if there is such an entry.
func (w *walk) collectEntries(ctx context.Context, seqs []int64) (more bool, err error) {
	found := make([]collectResult, len(seqs))
	errs := job.InParallel(len(seqs), entriesAtOnce, func(i int) (err error) {
		found[i], err = w.collectEntry(ctx, seqs[i])
		return err
	})
	for i, seq := range seqs {
		c := found[i]
		if errs[i] != nil || c.tooYoung {
			return false, errs[i]
		}
		at, isOpen := slices.BinarySearch(w.hint.Open, seq)
		if c.objectsLeft && !isOpen {
			w.hint.Open, isOpen = slices.Insert(w.hint.Open, at, seq), true
		}
		if c.files > 0 && isOpen {
			w.hint.setSwept(seq, max(w.hint.Swept[seq], c.latest))
		}
		w.hint.Collected = max(w.hint.Collected, seq)
		w.report.Collected += int64(c.files)
	}
	return true, nil
}

// collectResult is the result of collecting an entry.
type collectResult struct {
	tooYoung    bool  // it is not its turn yet
	files       int   // how many files the deleted objects held
	latest      int64 // unix ms by the store's clock: when the last of these files was delivered
	objectsLeft bool  // some objects stay, because they are owed or not old enough
}

// collectEntry deletes those staged objects of an entry that may be deleted.
//
// Invariant: I4. It relies on the receipts that it has just listed, never on a note; and a file
// that was delivered late is kept for as long as any other.
func (w *walk) collectEntry(ctx context.Context, seq int64) (collectResult, error) {
	e, err := w.chain.Entry(ctx, seq)
	if err != nil {
		return collectResult{}, err
	}
	if old, err := w.entryAge(ctx, e); err != nil || old < w.cfg.Retain {
		late := seq <= w.hint.Collected // its turn came before staging.retain was raised
		return collectResult{tooYoung: !late, objectsLeft: late}, err
	}
	if len(e.Files) == 0 {
		return collectResult{}, nil
	}
	pairs, _, err := w.readPairs(ctx, e, nil)
	if err != nil {
		return collectResult{}, err
	}
	objects := objectsOf(e, pairs)
	if !w.hint.isOpen(seq) && slices.ContainsFunc(objects, func(o stagedObject) bool { return o.open > 0 }) {
		return collectResult{}, fmt.Errorf("%w: entry %d was closed", errContradiction, seq)
	}
	collectable, left := w.collectableOf(e.Seq, objects)
	if len(collectable) == 0 {
		return collectResult{objectsLeft: left}, nil
	}
	if needed, err := w.orders.needsEntry(ctx, e); err != nil || needed {
		return collectResult{objectsLeft: true}, err
	}
	done := collectResult{objectsLeft: left}
	for _, o := range collectable {
		if err := w.delete(ctx, o.key); err != nil {
			return collectResult{}, err
		}
		done.files, done.latest = done.files+o.files, max(done.latest, o.latest)
	}
	return done, nil
}

// maxClockAhead is how far our clock may be ahead of the store's.
const maxClockAhead = 5 * time.Minute

// checkClockByHint returns an error if our clock is ahead of the store's: otherwise everything
// delivered today might seem to have been kept for long enough. It stores the hint in order to
// compare the time that the store gives it.
func (w *walk) checkClockByHint(ctx context.Context) error {
	if w.cfg.DryRun {
		return nil // nothing is deleted
	}
	if err := w.storeHint(ctx, w.hint); err != nil {
		return err
	}
	return w.checkNotAhead(ctx, hintKey(w.log), w.now)
}

// checkNotAhead returns an error if now is ahead of the time at which, by the store's clock, the
// object was stored. The object must have just been put.
func (a *Auditor) checkNotAhead(ctx context.Context, key string, now time.Time) error {
	info, err := a.deps.Staging.Head(ctx, key)
	if err != nil {
		return err
	}
	if ahead := now.Sub(info.LastModified); ahead > maxClockAhead && !info.LastModified.IsZero() {
		return fmt.Errorf("nothing is deleted: this host's clock is %s ahead of the staging store's; let NTP set it", ahead.Round(time.Second))
	}
	return nil
}

// collectableOf returns the staged objects of an entry that may be deleted now, and whether others
// are left. Objects that were deleted before, according to the hint, are neither.
func (w *walk) collectableOf(seq int64, objects []stagedObject) (collectable []stagedObject, left bool) {
	limit := w.closedUntil()
	for _, o := range objects {
		switch {
		case !o.closed() || o.latest > limit:
			left = true
		case !w.wasDeleted(seq, o):
			collectable = append(collectable, o)
		}
	}
	return collectable, left
}

// wasDeleted reports whether a staged object of an entry was deleted, according to the hint.
func (w *walk) wasDeleted(seq int64, o stagedObject) bool {
	until, swept := w.hint.Swept[seq]
	return swept && o.latest <= until && until <= w.closedUntil() // otherwise a clock was ahead, or staging.retain was raised
}

// keptSince returns what seen.Kept is to say about an entry.
func (w *walk) keptSince(seq int64, objects []stagedObject) (since int64) {
	for _, o := range objects {
		if !o.closed() || w.wasDeleted(seq, o) {
			continue
		}
		if closed := max(o.latest, 1); since == 0 || closed < since { // 1: its files are owed to nobody
			since = closed
		}
	}
	return since
}

// mayBeCollectable reports whether staged objects of an entry may have become old enough to be
// deleted since it was read.
func (w *walk) mayBeCollectable(seq int64, s seen) bool {
	return seq <= w.hint.Collected && s.Kept > 0 && s.Kept <= w.closedUntil()
}

// closedUntil is the latest time, in unix ms, by which objects must have been closed to be deleted
// now.
func (w *walk) closedUntil() int64 { return w.now.Add(-w.cfg.Retain).UnixMilli() }

func (w *walk) delete(ctx context.Context, key string) error {
	if w.cfg.DryRun {
		return nil
	}
	return w.deps.Staging.Delete(ctx, key)
}
