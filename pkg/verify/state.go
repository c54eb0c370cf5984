package verify

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
)

// state is what the chain says up to an entry, as an appender would rebuild it; every entry is
// compared with it. It keeps only the streams that reach above the watermark.
type state struct {
	*walk
	prev    *ledger.Entry           // nil: nothing is known about what came before
	through map[ledger.Stream]int64 // prev.SealedThrough
	balance recordBalance
}

// reset forgets what came before: the next entry cannot be compared with it.
func (s *state) reset() { s.prev, s.balance = nil, recordBalance{} }

// startFrom takes e as true.
func (s *state) startFrom(e *ledger.Entry) {
	s.prev, s.through = e, e.Filter()
	if !s.balance.active && len(e.SealedThrough) == 0 {
		s.balance = recordBalance{active: true, fromEntry: e.Seq, fromWatermark: e.LowWatermark}
	}
}

// check compares e with the state, and moves the state on to e.
func (s *state) check(e *ledger.Entry) {
	where := fmt.Sprintf("%s entry %d", s.log, e.Seq)
	for i := range e.Files {
		s.checkFile(delivery.Ref(e, i), &e.Files[i])
	}
	s.checkPacks(e)
	if s.prev != nil {
		s.checkOrder(where, e)
		s.checkOffsets(where, e)
		if s.balance.active && e.LowWatermark >= s.prev.LowWatermark && e.Skipped[ledger.SkippedLost] == 0 {
			s.checkBalance(where, e)
		}
	}
	wentBack := s.prev != nil && e.LowWatermark < s.prev.LowWatermark
	if e.Skipped[ledger.SkippedLost] > 0 { // its number is only an upper bound
		s.balance = recordBalance{}
	}
	s.startFrom(e)
	if wentBack { // already reported; the balance cannot be based on that
		s.balance = recordBalance{}
	}
}

// checkFile checks the properties of a file that are functions of others.
func (s *state) checkFile(ref delivery.FileRef, f *ledger.File) {
	bad := func(format string, args ...any) { s.report.addProblem(FileNames, describeFile(ref), format, args...) }
	if want := delivery.StagedKey(s.log, f); f.PackBytes == 0 && f.StagedKey != want {
		bad("its staged key is %q, and must be %q", f.StagedKey, want)
	}
	if want := ledger.StreamOf(f.Source, f.Received); want != f.Stream() {
		bad("it was received at %d, which is not in its hour %d", f.Received, f.Hour)
	}
	if !slices.IsSorted(f.Owed) || len(slices.Compact(slices.Clone(f.Owed))) != len(f.Owed) {
		bad("its debts are not sorted, or double: %q", f.Owed)
	}
	if f.RawBytes < 2*f.Records || f.GzipBytes < 1 {
		bad("%d records cannot be %d bytes, %d compressed", f.Records, f.RawBytes, f.GzipBytes)
	}
}

// checkPacks checks that each pack of an entry consists of its files, one after the other and
// nothing else, and is named after them and the entry.
func (s *state) checkPacks(e *ledger.Entry) {
	type pack struct{ first, last, end, bytes int64 }
	packs := map[string]*pack{}
	for i := range e.Files {
		f := &e.Files[i]
		if f.PackBytes == 0 {
			continue
		}
		p := packs[f.StagedKey]
		if p == nil {
			p = &pack{first: f.First, bytes: f.PackBytes}
			packs[f.StagedKey] = p
		}
		if f.StagedAt != p.end || f.PackBytes != p.bytes {
			s.report.addProblem(FileNames, describeFile(delivery.Ref(e, i)), "it lies at byte %d of the %d of its pack %q, and must lie at %d of %d", f.StagedAt, f.PackBytes, f.StagedKey, p.end, p.bytes)
		}
		p.first, p.last, p.end = min(p.first, f.First), max(p.last, f.Last), p.end+f.GzipBytes
	}
	for key, p := range packs {
		where := fmt.Sprintf("%s entry %d", s.log, e.Seq)
		named, ok := delivery.ParseStagedKey(key)
		if want := (delivery.StagedObject{Log: s.log, Pack: true, Seq: e.Seq, First: p.first, Last: p.last, Sum: named.Sum}); !ok || named != want {
			s.report.addProblem(FileNames, where, "its pack %q does not say that it holds offsets %d to %d of this entry", key, p.first, p.last)
		}
		if p.end != p.bytes {
			s.report.addProblem(FileNames, where, "its pack %q has %d bytes, its files %d", key, p.bytes, p.end)
		}
	}
}

// checkOrder checks what may only grow, or may never change.
//
// Invariant: I1.
func (s *state) checkOrder(where string, e *ledger.Entry) {
	bad := func(kind Kind, format string, args ...any) { s.report.addProblem(kind, where, format, args...) }
	if e.LowWatermark < s.prev.LowWatermark {
		bad(Watermark, "its watermark is %d, that of the entry before is %d", e.LowWatermark, s.prev.LowWatermark)
	}
	if e.DispatchedThrough < s.prev.DispatchedThrough {
		bad(EntryOrder, "jobs are dispatched through entry %d, the entry before says %d", e.DispatchedThrough, s.prev.DispatchedThrough)
	}
	if e.CompleteThrough < s.prev.CompleteThrough && s.prev.CompleteThrough <= e.WrittenAt { // else a clock was ahead
		bad(EntryOrder, "it is complete through %d, the entry before through %d", e.CompleteThrough, s.prev.CompleteThrough)
	}
	if e.Cluster != s.prev.Cluster {
		bad(EntryOrder, "it is of Kafka cluster %q, the entry before of %q", e.Cluster, s.prev.Cluster)
	}
	if e.Attempt == s.prev.Attempt {
		bad(EntryOrder, "it has the same attempt %q as the entry before", e.Attempt)
	}
}

// checkOffsets checks that the files of each stream are disjoint and increasing, and that the
// filter agrees with the files.
//
// Invariant: I2. A stream that is no longer in the filter is below the watermark, so no later file
// may begin there.
func (s *state) checkOffsets(where string, e *ledger.Entry) {
	through := s.through
	for i := range e.Files {
		f := &e.Files[i]
		at := describeFile(delivery.Ref(e, i))
		if last, ok := through[f.Stream()]; ok && f.First <= last {
			s.report.addProblem(Overlap, at, "it begins at offset %d, and its stream %s/%d is in files up to %d", f.First, f.Source, f.Hour, last)
		} else if f.First < s.prev.LowWatermark {
			s.report.addProblem(Overlap, at, "it begins at offset %d, and all below the watermark %d of entry %d is in files already", f.First, s.prev.LowWatermark, s.prev.Seq)
		}
		through[f.Stream()] = max(through[f.Stream()], f.Last)
	}
	filter := e.Filter()
	for stream, last := range through {
		if last < e.LowWatermark {
			delete(through, stream)
		} else if got, ok := filter[stream]; !ok || got != last {
			s.report.addProblem(SealedThrough, where, "files of %s/%d reach offset %d, sealed_through says %s", stream.Source, stream.Hour, last, offsetText(got, ok))
		}
	}
	for stream, got := range filter {
		if _, ok := through[stream]; !ok {
			s.report.addProblem(SealedThrough, where, "sealed_through says %d for %s/%d, and no file does", got, stream.Source, stream.Hour)
		}
	}
}

func offsetText(offset int64, ok bool) string {
	if !ok {
		return "nothing"
	}
	return fmt.Sprint(offset)
}

// recordBalance compares the number of records with that of offsets, beginning at an entry that has
// no file above its watermark.
type recordBalance struct {
	active        bool
	fromEntry     int64 // entry
	fromWatermark int64 // its watermark
	settled       int64 // records below the watermark that are in files or skipped
	above         []fileRange
	early         []earlyDuplicates
}

// earlyDuplicates is a number of duplicates that were skipped while the filter reached up to
// through: some of them may be above the watermark until it has passed that offset.
type earlyDuplicates struct{ through, records int64 }

// fileRange is a file with records at or above the watermark.
type fileRange struct{ first, last, records int64 }

// checkBalance compares the number of offsets below the watermark with the records that are in
// files or skipped. For a file that reaches above the watermark, and for duplicates in early, only
// bounds are known; there are few of these, and only what is outside the bounds is reported.
//
// Invariant: I2.
func (s *state) checkBalance(where string, e *ledger.Entry) {
	b := &s.balance
	for reason, n := range e.Skipped {
		if reason == ledger.SkippedDuplicate && len(e.SealedThrough) > 0 {
			top := slices.MaxFunc(e.SealedThrough, func(x, y ledger.SealedStream) int { return cmp.Compare(x.Offset, y.Offset) })
			b.early = append(b.early, earlyDuplicates{top.Offset, n})
			continue
		}
		b.settled += n
	}
	b.early = slices.DeleteFunc(b.early, func(d earlyDuplicates) bool {
		if d.through >= e.LowWatermark {
			return false
		}
		b.settled += d.records
		return true
	})
	for i := range e.Files {
		f := &e.Files[i]
		b.above = append(b.above, fileRange{f.First, f.Last, f.Records})
	}
	b.above = slices.DeleteFunc(b.above, func(r fileRange) bool {
		if r.last >= e.LowWatermark {
			return false
		}
		b.settled += r.records
		return true
	})
	least, most := b.settled, b.settled
	for _, r := range b.above {
		if r.first < e.LowWatermark { // it begins below the watermark and ends above it
			least += max(1, r.records-(r.last-e.LowWatermark+1))
			most += min(r.records-1, e.LowWatermark-r.first)
		}
	}
	for _, d := range b.early {
		most += d.records
	}
	offsets := e.LowWatermark - b.fromWatermark
	switch {
	case least > offsets:
		s.report.addProblem(Overcounted, where, "%d records are in files or skipped since entry %d, and there are only %d offsets", least, b.fromEntry, offsets)
		b.settled -= least - offsets // reported once
	case most < offsets:
		s.report.update(func(r *Report) { r.Gaps += offsets - most })
		if !s.cfg.AllowGaps {
			s.report.addProblem(Unaccounted, where, "%d offsets below its watermark %d are in no file and were not skipped", offsets-most, e.LowWatermark)
		}
		b.settled += offsets - most
	}
}
