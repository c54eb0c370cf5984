package auditor

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sealift/sealift/pkg/ablation"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/job"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
)

// mostAtOnce is how many entries are looked at between two looks at the clock.
const mostAtOnce = 64

// collect deletes the staged files of entries that are closed and have been
// kept for long enough. It notes now and then how far it came: a backlog may
// take longer than a process lives. Of a scheduled audit it ends with the chain's
// share of time, and the next goes on: the audit of other chains waits.
func (w *walk) collect(ctx context.Context) error {
	noted, begun := w.hint.Collected, time.Now()
	defer func() { w.spent += time.Since(begun) }()
	for some := int64(1); w.hint.Collected < w.hint.Through; some = min(2*some, mostAtOnce) { // of most chains one is young
		more, err := w.collectSome(ctx, min(w.hint.Collected+some, w.hint.Through))
		if err != nil || !more {
			return err
		}
		if w.share > 0 && time.Since(begun) >= w.share {
			if w.due(ctx) {
				w.report.Behind = 1
			}
			return nil
		}
		if w.hint.Collected-noted >= batchEntries {
			noted = w.hint.Collected
			if err := w.note(ctx, w.hint); err != nil {
				return err
			}
		}
	}
	return nil
}

// due reports whether there is another entry with files whose turn to be collected
// has come, or whether that cannot be known.
func (w *walk) due(ctx context.Context) bool {
	for seq := w.hint.Collected + 1; seq <= w.hint.Through; seq++ {
		if _, isOpen := slices.BinarySearch(w.hint.Open, seq); isOpen {
			continue
		}
		e, err := w.chain.Entry(ctx, seq)
		if err != nil {
			return true
		}
		if len(e.Files) == 0 {
			continue
		}
		old, err := w.age(ctx, e)
		return err != nil || old >= w.cfg.Retain
	}
	return false
}

// collectSome collects the entries that are next, up to one, in any order, and
// moves Collected past those in front that were looked at. More is false if one
// is too young, as are those after it.
func (w *walk) collectSome(ctx context.Context, through int64) (more bool, err error) {
	first := w.hint.Collected + 1
	turns, files := make([]turn, through-first+1), make([]int, through-first+1)
	errs := job.SomeAtOnce(len(turns), atOnce, func(i int) (err error) {
		turns[i], files[i], err = w.collectInTurn(ctx, first+int64(i))
		return err
	})
	for i, t := range turns {
		if errs[i] != nil || t == young {
			return false, errs[i]
		}
		if t == keep {
			at, _ := slices.BinarySearch(w.hint.Open, first+int64(i))
			w.hint.Open = slices.Insert(w.hint.Open, at, first+int64(i))
		}
		w.hint.Collected++
		w.report.Collected += int64(files[i]) // not those behind one that fails: their turn comes again
	}
	return true, nil
}

// turn is what became of an entry whose turn to be collected it was.
type turn int

const (
	past  turn = iota // its files are gone, or it is open
	keep              // its files are to be kept for now
	young             // its turn has not come
)

// collectInTurn returns also how many files are gone.
func (w *walk) collectInTurn(ctx context.Context, seq int64) (t turn, files int, err error) {
	if _, isOpen := slices.BinarySearch(w.hint.Open, seq); isOpen && !ablation.On(ablation.DeletesUndelivered) {
		return past, 0, nil
	}
	e, err := w.chain.Entry(ctx, seq)
	if err != nil {
		return young, 0, err
	}
	old, err := w.age(ctx, e)
	if err != nil || old < w.cfg.Retain {
		return young, 0, err
	}
	if len(e.Files) == 0 {
		return past, 0, nil
	}
	receipts, err := listReceipts(ctx, w.deps.Staging, e)
	if err != nil {
		return young, 0, err
	}
	if !receipts.complete(e) && !ablation.On(ablation.DeletesUndelivered) {
		return young, 0, fmt.Errorf("%w: entry %d was closed", errContradiction, e.Seq)
	}
	if gone, err := w.collectEntry(ctx, e, receipts); err != nil || gone {
		return past, len(e.Files), err
	}
	return keep, 0, nil
}

// collectEntry deletes the staged files of an entry if their time has come,
// and reports whether they are gone.
//
// Invariant: I4. It rests on the receipts that were just listed, never on a
// note; and a file delivered late is kept for as long as one delivered in time.
func (w *walk) collectEntry(ctx context.Context, e *ledger.Entry, receipts receiptSet) (bool, error) {
	if !receipts.complete(e) && !ablation.On(ablation.DeletesUndelivered) || w.now.Sub(receipts.latest) < w.cfg.Retain {
		return false, nil
	}
	if old, err := w.age(ctx, e); err != nil || old < w.cfg.Retain {
		return false, err
	}
	if needed, err := w.orders.need(ctx, e); err != nil || needed {
		return false, err
	}
	deleted := map[string]bool{} // of a pack there is one, of many files
	for i := range e.Files {
		if key := e.Files[i].StagedKey; !deleted[key] {
			if err := w.delete(ctx, key); err != nil {
				return false, err
			}
			deleted[key] = true
		}
	}
	return true, nil
}

func (w *walk) delete(ctx context.Context, key string) error {
	if w.cfg.DryRun {
		return nil
	}
	return w.deps.Staging.Delete(ctx, key)
}

// collectOrphans deletes staged objects of this partition that no entry names
// and none ever will.
//
// Invariant: I11. It is settled (delivery.Staged) which entry names it, if any.
// Nothing is deleted by age: the owner of an object of which it is not may be
// slow, not dead.
//
// It reads all that is staged, so of a scheduled audit no chain is begun when a
// quarter of auditor.every was used for it: its turn comes at the next.
func (w *walk) collectOrphans(ctx context.Context) error {
	x := index{w.head, ledger.NewCache(w.deps.Staging, indexRoom, nil)}
	for info, err := range objstore.All(ctx, w.deps.Staging, delivery.StagedPrefix(w.log)) {
		if err != nil {
			return err
		}
		s, ok := delivery.ParseStagedKey(info.Key)
		if ablation.On(ablation.DeletesUncovered) && ok && !s.Settled(w.head) && w.now.Sub(info.LastModified) > w.cfg.Retain {
			if err := w.delete(ctx, info.Key); err != nil {
				return err
			}
		}
		if !ok || s.Log != w.log || !s.Settled(w.head) {
			continue
		}
		if named, err := x.names(ctx, info.Key, s); err != nil {
			return err
		} else if named {
			continue
		}
		if err := w.delete(ctx, info.Key); err != nil {
			return err
		}
		w.report.Orphans++
		if !w.cfg.DryRun {
			w.deps.Log.InfoContext(ctx, "orphan deleted", "file", info.Key, "age", time.Since(info.LastModified))
		}
	}
	return nil
}

// index finds the entry that covers a record.
type index struct {
	head    *ledger.Entry
	entries *ledger.Cache
}

// names reports whether an entry names the staged object, which is settled.
func (x index) names(ctx context.Context, key string, s delivery.Staged) (bool, error) {
	seq, err := x.sealer(ctx, s)
	if err != nil {
		return true, err
	}
	if seq == 0 {
		// Older than the chain: it began above, after another was lost. What
		// may be all that is left of it is not ours to delete.
		return true, nil
	}
	e, err := x.entry(ctx, seq)
	if err != nil {
		return true, err
	}
	return slices.ContainsFunc(e.Files, func(f ledger.File) bool { return f.StagedKey == key }), nil
}

// sealer returns the number of the entry that alone can name the object, 0 if
// it is older than the chain. The key of a pack says it; of a file it is the
// first entry that covers the record at s.Last, for that sealed the file which
// holds it.
func (x index) sealer(ctx context.Context, s delivery.Staged) (int64, error) {
	if s.Pack {
		first, err := x.entry(ctx, 0)
		if err != nil || s.First < first.LowWatermark {
			return 0, err
		}
		return s.Seq, nil
	}
	low, high := int64(0), x.head.Seq // the answer is in [low, high]
	for low < high {
		middle := low + (high-low)/2
		e, err := x.entry(ctx, middle)
		if err != nil {
			return 0, err
		}
		if e.Covers(s.Stream, s.Last) {
			high = middle
		} else {
			low = middle + 1
		}
	}
	return low, nil
}

func (x index) entry(ctx context.Context, seq int64) (*ledger.Entry, error) {
	e, err := x.entries.Entry(ctx, x.head.Log(), seq)
	if err != nil {
		return nil, fmt.Errorf("look for the entry of a staged object: %w", err)
	}
	return e, nil
}

// indexRoom is some 4,000 entries of usual size, and some 100 MB at most.
const indexRoom = 200_000
