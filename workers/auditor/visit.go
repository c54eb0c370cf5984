package auditor

import (
	"context"
	"time"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/receipt"
)

// visitResult is what a visit found.
type visitResult struct {
	entryState
	attempt     string // the entry's
	pairs       []pair // nil: not judged, or known to the hint
	seen        *seen  // nil: the entry has to be read again
	collectable bool   // at or below hint.Collected, and some of its staged objects may be deleted now
}

// entryState is the result of visiting an entry.
type entryState int

const (
	entryClosed entryState = iota // nothing left to do
	entryOpen                     // has to be visited again
	entryTooNew                   // left alone
)

// visit compares one entry with its receipts, and returns the debts that nobody is working on. Where
// a destination is down for long, most entries have the receipts that they had at the last visit;
// these are listed, and not read again.
func (w *walk) visit(ctx context.Context, seq int64) ([]debt, visitResult, error) {
	known, ok := w.hint.Seen[seq]
	if !ok || w.mayBeCollectable(seq, known) {
		return w.visitUnknown(ctx, seq, nil)
	}
	receipts, err := listReceipts(ctx, w.deps.Staging, w.log, seq)
	if err != nil {
		return nil, visitResult{entryState: entryOpen}, err
	}
	if receipts.digest != known.Listing {
		return w.visitUnknown(ctx, seq, &receipts)
	}
	missing, err := w.findMissing(ctx, seq, w.open[seq])
	return missing.debts, visitResult{entryState: entryOpen, seen: &known}, err
}

// visitUnknown visits an entry of which the hint does not know enough. listed are its receipts; nil:
// they are not listed yet.
func (w *walk) visitUnknown(ctx context.Context, seq int64, listed *listing) ([]debt, visitResult, error) {
	v := visitResult{entryState: entryOpen}
	e, err := w.chain.Entry(ctx, seq)
	if err != nil {
		return nil, v, err
	}
	v.attempt = e.Attempt
	if len(e.Files) == 0 {
		v.entryState = entryClosed
		return nil, v, nil
	}
	old, err := w.entryAge(ctx, e)
	if err != nil {
		return nil, v, err
	}
	if old < w.cfg.Grace {
		v.entryState = entryTooNew // whatever is missing: its owner may be enqueuing it
		missing, err := w.findMissingIfForced(ctx, e)
		return missing, v, err
	}
	var digest string
	if v.pairs, digest, err = w.readPairs(ctx, e, listed); err != nil {
		return nil, v, err
	}
	objects := objectsOf(e, v.pairs)
	missing, err := w.findMissing(ctx, seq, w.uncounted(seq, v.pairs))
	left := false
	if seq <= w.hint.Collected && w.reopened[seq] { // otherwise everything is already deleted, or its turn is yet to come
		var collectable []stagedObject
		collectable, left = w.collectableOf(seq, objects)
		v.collectable = len(collectable) > 0
	}
	if !v.collectable && !left && len(missing.debts)+missing.others == 0 {
		v.entryState = entryClosed
	} else if digest != "" {
		v.seen = &seen{Listing: digest, Kept: w.keptSince(seq, objects)}
	}
	return missing.debts, v, err
}

// uncounted returns the pairs of an entry without those that the last audit counted as closed.
func (w *walk) uncounted(seq int64, pairs []pair) []pair {
	if seq > w.hint.Through {
		return pairs
	}
	wasOpen := map[receipt.Pair]bool{}
	for _, p := range w.open[seq] {
		wasOpen[p.key()] = true
	}
	var left []pair
	for _, p := range pairs {
		if p.receipt == nil || wasOpen[p.key()] {
			left = append(left, p)
		}
	}
	return left
}

// findMissingIfForced counts what a young entry owes as too new or, if Force is set, returns the
// debts without a receipt. The owner may be enqueuing these as well; a second job is harmless.
// Nothing else is concluded or noted about such an entry.
func (w *walk) findMissingIfForced(ctx context.Context, e *ledger.Entry) ([]debt, error) {
	if !w.cfg.Force {
		w.mu.Lock()
		w.report.TooNew += int64(e.Debts())
		w.mu.Unlock()
		return nil, nil
	}
	pairs, _, err := w.readPairs(ctx, e, nil)
	if err != nil {
		return nil, err
	}
	missing, err := w.findMissing(ctx, e.Seq, pairs)
	return missing.debts, err
}

// readPairs returns the owed pairs of an entry with their receipts, in the order of files, and the
// digest of the listing, or "" if not everything in it was understood. listed are the receipts; nil:
// they are not listed yet.
func (w *walk) readPairs(ctx context.Context, e *ledger.Entry, listed *listing) (pairs []pair, digest string, err error) {
	if listed == nil {
		found, err := listReceipts(ctx, w.deps.Staging, w.log, e.Seq)
		if err != nil {
			return nil, "", err
		}
		listed = &found
	}
	receipts, understood, err := listed.read(ctx, w.deps.Staging, w.log, e.Seq, receipt.MaxParallelReads)
	if err != nil {
		return nil, "", err
	}
	if understood {
		digest = listed.digest
	}
	pairs, err = loadPairs(ctx, w.deps.Staging, e, receipts)
	return pairs, digest, err
}

// missingPairs is what an entry lacks: debts to enqueue, and the number of those that are parked or
// queued.
type missingPairs struct {
	debts  []debt
	others int
}

func (w *walk) findMissing(ctx context.Context, seq int64, pairs []pair) (missingPairs, error) {
	var m missingPairs
	for _, p := range pairs {
		dest := p.destination
		if p.receipt != nil {
			w.count(dest, func(d *counts) {
				if d.Owed++; p.receipt.outcome == delivery.Delivered {
					d.Delivered++
				} else {
					d.GivenUp++
				}
			})
			continue
		}
		ref := p.ref(w.log)
		if w.parked.markOpen(ref, dest) {
			m.others++
			w.count(dest, func(d *counts) { d.Owed++; d.Parked++; d.raiseOldest(w.now, p.received()) })
			continue
		}
		queued, err := w.decideQueued(ctx, ref, dest, w.reopened[seq])
		if err != nil {
			return m, err
		}
		if queued {
			m.others++
			w.count(dest, func(d *counts) { d.Owed++; d.Queued++; d.raiseOldest(w.now, p.received()) })
			continue
		}
		m.debts = append(m.debts, debt{ref, dest})
		w.count(dest, func(d *counts) { d.Owed++; d.Missing++; d.raiseOldest(w.now, p.received()) })
	}
	w.mu.Lock()
	w.report.Entries++
	w.mu.Unlock()
	return m, nil
}

func (w *walk) count(dest string, add func(*counts)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	d := w.report.destinations[dest]
	if d == nil {
		d = &counts{}
		w.report.destinations[dest] = d
	}
	add(d)
}

// entryAge returns how long ago the entry was written, by its owner's clock or, if that was ahead
// of ours, by the store's. Otherwise the entry would be too new for as long as the clock was ahead.
func (w *walk) entryAge(ctx context.Context, e *ledger.Entry) (time.Duration, error) {
	if d := w.now.Sub(time.UnixMilli(e.WrittenAt)); d >= 0 {
		return d, nil
	}
	info, err := w.deps.Staging.Head(ctx, ledger.EntryKey(w.log, e.Seq))
	return max(w.now.Sub(info.LastModified), 0), err
}
