package verify

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
)

// walk is the verification of one chain. One goroutine runs it; the checks of files, which need
// requests, run concurrently.
type walk struct {
	*verifier
	log    ledger.Log
	chain  *ledger.Chain
	state  state
	staged *stagedSet
	group  *errgroup.Group

	receipts *receiptStream
	failures int // entries that the store failed to return
}

// maxEntryFailures is how many entries of a chain may fail before the store is considered down.
const maxEntryFailures = 10

// span is a range of entries without gaps.
type span struct{ first, last int64 }

func (v *verifier) verifyChain(ctx context.Context, l ledger.Log) error {
	w := &walk{verifier: v, log: l, chain: ledger.NewChain(v.staging, l)}
	w.state = state{walk: w}
	// Objects are listed before entries are read: an object that is named by none of these was
	// named by no entry when it was listed.
	var err error
	if w.staged, err = v.listStaged(ctx, l); err != nil {
		return err
	}
	spans, err := w.listSpans(ctx)
	if err != nil || len(spans) == 0 {
		return err
	}
	first := spans[0].first
	if first > 0 { // with Since: the next entry is compared with the one before it
		e, err := w.chain.Entry(ctx, first-1)
		where := fmt.Sprintf("%s entry %d", l, first-1)
		switch {
		case err == nil:
			w.state.startFrom(e)
		case errors.Is(err, ledger.ErrCorrupt):
			w.report.addProblem(EntryCorrupt, where, "%v", err)
		case !errors.Is(err, ledger.ErrNotFound): // already reported
			w.report.addUnread(fmt.Sprintf("%s: %v", where, err))
		}
	}
	if w.receipts, err = v.streamReceipts(ctx, l, first); err != nil {
		return err
	}
	defer w.receipts.stop()
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(v.cfg.Concurrency)
	w.group = group
	err = w.verifySpans(gctx, spans)
	if gerr := group.Wait(); gerr != nil { // its failure cancelled gctx
		err = gerr
	}
	if err != nil {
		return err
	}
	if err := w.checkStrayReceipts(ctx); err != nil {
		return err
	}
	w.countStrayStaged()
	return nil
}

// listSpans lists the entries that exist, oldest first.
//
// Invariant: I1, entry n exists only if 0..n-1 do.
func (w *walk) listSpans(ctx context.Context) ([]span, error) {
	var spans []span // newest first
	expected := int64(-1)
	prefix := "ledger/" + w.log.String() + "/"
	for info, err := range objstore.All(ctx, w.staging, prefix) {
		if err != nil {
			return nil, err
		}
		_, seq, ok := ledger.ParseEntryKey(info.Key)
		if !ok {
			w.report.addProblem(ChainForeign, info.Key, "is no ledger entry")
			continue
		}
		if !w.cfg.Until.IsZero() && info.LastModified.After(w.cfg.Until) {
			continue
		}
		if info.LastModified.Before(w.cfg.Since) {
			if len(spans) > 0 && seq != expected {
				w.reportGap(seq+1, expected)
			}
			expected = -1 // older entries are not checked
			break
		}
		if n := len(spans); n > 0 && seq == expected {
			spans[n-1].first = seq
		} else {
			if n > 0 {
				w.reportGap(seq+1, expected)
			}
			spans = append(spans, span{seq, seq})
		}
		expected = seq - 1
	}
	if expected >= 0 {
		w.reportGap(0, expected)
	}
	for i, j := 0, len(spans)-1; i < j; i, j = i+1, j-1 {
		spans[i], spans[j] = spans[j], spans[i]
	}
	return spans, nil
}

func (w *walk) reportGap(first, last int64) {
	w.damaged[w.log] = true
	if first == last {
		w.report.addProblem(ChainGap, fmt.Sprintf("%s entry %d", w.log, first), "the entry is missing, and later ones exist")
		return
	}
	w.report.addProblem(ChainGap, fmt.Sprintf("%s entry %d", w.log, first), "entries %d to %d are missing, and later ones exist", first, last)
}

// verifySpans walks the spans.
func (w *walk) verifySpans(ctx context.Context, spans []span) error {
	for _, s := range spans {
		if w.deps.OnFound != nil {
			w.deps.OnFound(s.last - s.first + 1)
		}
	}
	for _, s := range spans {
		if w.state.prev != nil && w.state.prev.Seq != s.first-1 {
			w.state.reset()
		}
		for next := s.first; next <= s.last; {
			for e, err := range w.chain.Entries(ctx, next, s.last, w.cfg.Concurrency) {
				if err != nil {
					err = w.skipEntry(ctx, next, err)
				} else {
					err = w.verifyEntry(ctx, e)
				}
				if err != nil {
					return err
				}
				next++
				if w.deps.OnDone != nil {
					w.deps.OnDone(1)
				}
			}
		}
	}
	return nil
}

// skipEntry continues without an entry, unless the store is down altogether.
func (w *walk) skipEntry(ctx context.Context, seq int64, err error) error {
	where := fmt.Sprintf("%s entry %d", w.log, seq)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, ledger.ErrCorrupt):
		w.report.addProblem(EntryCorrupt, where, "%v", err)
	case errors.Is(err, ledger.ErrNotFound):
		w.report.addProblem(ChainGap, where, "the entry is listed, and not there")
	default:
		if w.failures++; w.failures > maxEntryFailures {
			return err
		}
		w.report.addUnread(fmt.Sprintf("%s: %v", where, err))
	}
	w.state.reset()
	w.damaged[w.log] = true
	return w.receipts.skip(seq)
}

func (w *walk) verifyEntry(ctx context.Context, e *ledger.Entry) error {
	w.state.check(e)
	listed, err := w.receipts.forEntry(e.Seq)
	if err != nil {
		return err
	}
	// It is read whatever the filters are: a receipt's file must exist.
	receipts := sync.OnceValues(func() (*receiptSet, error) { return w.readReceipts(ctx, e, listed) })
	w.group.Go(func() error { _, err := receipts(); return err })
	w.report.update(func(r *Report) {
		r.Entries++
		for reason, n := range e.Skipped {
			r.Skipped[reason] += n
		}
	})
	staged := w.staged.take(e)
	for i := range e.Files {
		f := &e.Files[i]
		w.recordSource(f)
		if w.cfg.Source != "" && f.Source != w.cfg.Source {
			continue
		}
		w.report.update(func(r *Report) {
			r.Files, r.Records, r.Bytes = r.Files+1, r.Records+f.Records, r.Bytes+f.GzipBytes
			if len(f.Owed) == 0 {
				r.Unowed.Files, r.Unowed.Records = r.Unowed.Files+1, r.Unowed.Records+f.Records
			}
		})
		o := file{walk: w, e: e, f: f, ref: delivery.Ref(e, i), staged: staged[i]}
		w.group.Go(func() (err error) {
			if o.receipts, err = receipts(); err != nil {
				return err
			}
			return o.verify(ctx)
		})
	}
	return nil
}

// checkStrayReceipts checks receipts after the last entry that was read. Entries may have been
// written meanwhile.
func (w *walk) checkStrayReceipts(ctx context.Context) error {
	known := int64(-1)
	for w.cfg.Until.IsZero() && w.receipts.more {
		seq, ok := receiptEntrySeq(w.log, w.receipts.next.Key)
		if ok && seq != known {
			_, err := w.chain.Entry(ctx, seq)
			switch {
			case errors.Is(err, ledger.ErrNotFound):
				ok = false
			case err != nil && !errors.Is(err, ledger.ErrCorrupt):
				return err
			default:
				known = seq
			}
		}
		if !ok {
			w.report.addProblem(BadReceipt, w.receipts.next.Key, "it is of no entry of the ledger")
		}
		if err := w.receipts.advance(); err != nil {
			return err
		}
	}
	return nil
}
