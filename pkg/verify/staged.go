package verify

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/progress"
	"github.com/sealift/sealift/pkg/receipt"
)

// stagedSet has the staged objects of one partition that no entry was seen to name yet, with their
// sizes.
type stagedSet struct {
	sizes map[string]int64
}

// listStaged lists the staged objects of a partition. If only some entries are checked, the objects
// are looked up one by one instead.
func (v *verifier) listStaged(ctx context.Context, l ledger.Log) (*stagedSet, error) {
	s := &stagedSet{}
	if !v.cfg.Since.IsZero() || !v.cfg.Until.IsZero() {
		return s, nil
	}
	s.sizes = map[string]int64{}
	for info, err := range objstore.All(ctx, v.staging, delivery.StagedPrefix(l)) {
		if err != nil {
			return nil, err
		}
		s.sizes[info.Key] = info.Size
	}
	return s, nil
}

// take removes the listed objects that an entry names, and returns for each of its files the size
// of its object, or -1.
func (s *stagedSet) take(e *ledger.Entry) []int64 {
	sizes := make([]int64, len(e.Files))
	for i := range e.Files {
		size, ok := s.sizes[e.Files[i].StagedKey]
		if !ok {
			size = -1
		}
		sizes[i] = size
	}
	for i := range e.Files {
		delete(s.sizes, e.Files[i].StagedKey)
	}
	return sizes
}

// countStrayStaged counts the objects that no entry names: orphans if none ever will, and otherwise
// unsettled, because they may be on their way. Neither is a problem.
//
// Invariant: I11. The newest entry that was read decides. A newer one may name an object that was
// on its way when listed, and one that cannot be read may name anything.
func (w *walk) countStrayStaged() {
	head := w.state.prev
	for key := range w.staged.sizes {
		s, ok := delivery.ParseStagedKey(key)
		orphan := ok && head != nil && !w.damaged[w.log] && s.Settled(head)
		w.report.update(func(r *Report) {
			if orphan {
				r.Staged.Orphans++
			} else {
				r.Staged.Unsettled++
			}
		})
	}
}

// verifyStaged compares the staged object with the file, and reports whether it is there.
//
// Invariant: I3, I4. It may be missing only if every debt is closed and it was kept for long
// enough. Receipts are looked up again once it is found missing, because they existed before it was
// deleted.
func (o *file) verifyStaged(ctx context.Context) (bool, error) {
	size := o.staged
	if size < 0 {
		info, err := o.verifier.staging.Head(ctx, o.f.StagedKey)
		switch {
		case err == nil:
			size = info.Size
		case !errors.Is(err, objstore.ErrNotFound):
			return false, err
		}
	}
	if size < 0 {
		return false, o.checkMissingStaged(ctx)
	}
	o.report.update(func(r *Report) { r.Staged.Present++ })
	if size != o.f.StagedBytes() {
		o.report.addFixableProblem(StagedSize, o.replayFromKafkaCommand(), describeFile(o.ref), "staged object %q has %d bytes, the ledger says %d", o.f.StagedKey, size, o.f.StagedBytes())
		return false, nil
	}
	return true, nil
}

// checkMissingStaged counts a missing staged object as rebuilt or collected, or reports it.
func (o *file) checkMissingStaged(ctx context.Context) error {
	open := 0
	for _, dest := range o.f.Owed {
		if _, closed := o.receipts.Set[receipt.PairOf(o.ref, dest)]; closed {
			continue
		}
		if o.receipts.partial {
			return nil
		}
		latest, err := o.receipts.relist()
		if err != nil {
			return err
		}
		if _, closed := latest[receipt.PairOf(o.ref, dest)]; !closed {
			open++
		}
	}
	rebuilt, err := o.wasRebuilt(ctx)
	if err != nil {
		return err
	}
	switch age := o.age(); {
	case rebuilt:
		o.report.update(func(r *Report) { r.Staged.Rebuilt++ })
	case open > 0:
		o.report.addFixableProblem(StagedMissing, o.replayFromKafkaCommand(), describeFile(o.ref), "staged object %q is missing, and still owed to %s", o.f.StagedKey, progress.Plural(int64(open), "destination"))
	case age < o.cfg.Retain:
		o.report.addFixableProblem(StagedMissing, o.replayFromKafkaCommand(), describeFile(o.ref), "staged object %q is missing %s after it was sealed, and is to be kept for %s; it is delivered, and if staging.retain was raised since, nothing is wrong", o.f.StagedKey, formatDuration(age), formatDuration(o.cfg.Retain))
	default:
		o.report.update(func(r *Report) { r.Staged.Collected++ })
	}
	return nil
}

// verifyStagedContent reads the staged object completely.
func (o *file) verifyStagedContent(ctx context.Context) error {
	mismatches, err := checkBodyWithRetries(ctx, func() (io.ReadCloser, error) { return o.f.Open(ctx, o.verifier.staging) }, o.f)
	switch {
	case errors.Is(err, objstore.ErrNotFound):
		return o.checkMissingStaged(ctx) // deleted just now
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		o.report.addUnread(fmt.Sprintf("staged object %q: %v", o.f.StagedKey, err))
		return nil
	}
	for _, what := range mismatches {
		o.report.addFixableProblem(StagedContent, o.replayFromKafkaCommand(), describeFile(o.ref), "staged object %q: %s", o.f.StagedKey, what)
	}
	o.report.update(func(r *Report) { r.Staged.Read++; r.Staged.ReadBytes += o.f.GzipBytes })
	return nil
}
