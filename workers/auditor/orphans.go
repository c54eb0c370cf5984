package auditor

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sealift/sealift/pkg/ablation"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
)

// collectOrphans deletes staged objects of this partition that no entry names and none ever will.
//
// Invariant: I11. An object is only considered once it is settled (delivery.StagedObject) which
// entry can name it, if any. Nothing is deleted by age: the owner of an object that is not settled
// may be slow, and not dead.
//
// It lists everything that is staged. So a scheduled audit starts no further searches once they
// have taken a quarter of auditor.every; the next audit continues.
func (w *walk) collectOrphans(ctx context.Context) error {
	x := entryFinder{w.head, ledger.NewCache(w.deps.Staging, entryFinderSize, nil)}
	for info, err := range objstore.All(ctx, w.deps.Staging, delivery.StagedPrefix(w.log)) {
		if err != nil {
			return err
		}
		s, ok := delivery.ParseStagedKey(info.Key)
		settled := s.Settled(w.head) || ablation.On(ablation.DeletesUncovered) && w.now.Sub(info.LastModified) > w.cfg.Retain
		if !ok || s.Log != w.log || !settled {
			continue
		}
		if named, err := x.isNamed(ctx, info.Key, s); err != nil {
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

// entryFinder finds the entry that covers a record.
type entryFinder struct {
	head    *ledger.Entry
	entries *ledger.Cache
}

// isNamed reports whether an entry up to the head names the staged object.
func (x entryFinder) isNamed(ctx context.Context, key string, s delivery.StagedObject) (bool, error) {
	if !s.Settled(x.head) {
		return false, nil
	}
	seq, err := x.sealingEntry(ctx, s)
	if err != nil {
		return true, err
	}
	if seq == 0 {
		// It is older than the chain, which began above it after another was lost. It may be all
		// that is left of that one, so it is not ours to delete.
		return true, nil
	}
	e, err := x.entry(ctx, seq)
	if err != nil {
		return true, err
	}
	return slices.ContainsFunc(e.Files, func(f ledger.File) bool { return f.StagedKey == key }), nil
}

// sealingEntry returns the number of the only entry that can name the object, or 0 if the object is
// older than the chain. A pack's key has that number. For a file it is the first entry that covers
// the record at s.Last, because that entry sealed the file which contains the record.
func (x entryFinder) sealingEntry(ctx context.Context, s delivery.StagedObject) (int64, error) {
	if s.Pack {
		first, err := x.entry(ctx, 0)
		if err != nil || s.First < first.LowWatermark {
			return 0, err
		}
		return s.Seq, nil
	}
	seq, err := x.entries.FirstMatching(ctx, x.head.Log(), x.head.Seq, func(e *ledger.Entry) bool { return e.Covers(s.Stream, s.Last) })
	if err != nil {
		return 0, fmt.Errorf("look for the entry of a staged object: %w", err)
	}
	return seq, nil
}

func (x entryFinder) entry(ctx context.Context, seq int64) (*ledger.Entry, error) {
	e, err := x.entries.Entry(ctx, x.head.Log(), seq)
	if err != nil {
		return nil, fmt.Errorf("look for the entry of a staged object: %w", err)
	}
	return e, nil
}

// entryFinderSize holds some 4,000 entries of usual size, some 100 MB at most.
const entryFinderSize = 200_000
