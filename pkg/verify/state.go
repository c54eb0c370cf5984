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
	books   books
}

// lose says that the next entry cannot be compared with what came before.
func (s *state) lose() { s.prev, s.books = nil, books{} }

// begin takes e as true.
func (s *state) begin(e *ledger.Entry) {
	s.prev, s.through = e, e.Filter()
	if !s.books.open && len(e.SealedThrough) == 0 {
		s.books = books{open: true, from: e.Seq, low: e.LowWatermark}
	}
}

// next compares e with the state, and moves the state on to e.
func (s *state) next(e *ledger.Entry) {
	where := fmt.Sprintf("%s entry %d", s.log, e.Seq)
	for i := range e.Files {
		s.names(delivery.Ref(e, i), &e.Files[i])
	}
	s.packs(e)
	if s.prev != nil {
		s.order(where, e)
		s.offsets(where, e)
		if s.books.open && e.LowWatermark >= s.prev.LowWatermark && e.Skipped[ledger.SkippedLost] == 0 {
			s.account(where, e)
		}
	}
	back := s.prev != nil && e.LowWatermark < s.prev.LowWatermark
	if e.Skipped[ledger.SkippedLost] > 0 { // its number is only an upper bound
		s.books = books{}
	}
	s.begin(e)
	if back { // already reported; the books cannot be based on that
		s.books = books{}
	}
}

// names checks the properties of a file that are functions of others.
func (s *state) names(ref delivery.FileRef, f *ledger.File) {
	bad := func(format string, args ...any) { s.report.problem(FileNames, place(ref), format, args...) }
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

// packs checks that each pack of an entry consists of its files, one after the other and nothing
// else, and is named after them and the entry.
func (s *state) packs(e *ledger.Entry) {
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
			s.report.problem(FileNames, place(delivery.Ref(e, i)), "it lies at byte %d of the %d of its pack %q, and must lie at %d of %d", f.StagedAt, f.PackBytes, f.StagedKey, p.end, p.bytes)
		}
		p.first, p.last, p.end = min(p.first, f.First), max(p.last, f.Last), p.end+f.GzipBytes
	}
	for key, p := range packs {
		where := fmt.Sprintf("%s entry %d", s.log, e.Seq)
		named, ok := delivery.ParseStagedKey(key)
		if want := (delivery.StagedObject{Log: s.log, Pack: true, Seq: e.Seq, First: p.first, Last: p.last, Sum: named.Sum}); !ok || named != want {
			s.report.problem(FileNames, where, "its pack %q does not say that it holds offsets %d to %d of this entry", key, p.first, p.last)
		}
		if p.end != p.bytes {
			s.report.problem(FileNames, where, "its pack %q has %d bytes, its files %d", key, p.bytes, p.end)
		}
	}
}

// order checks what may only grow, or may never change.
//
// Invariant: I1.
func (s *state) order(where string, e *ledger.Entry) {
	bad := func(kind Kind, format string, args ...any) { s.report.problem(kind, where, format, args...) }
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

// offsets checks that the files of each stream are disjoint and increasing, and that the filter
// agrees with the files.
//
// Invariant: I2. A stream that is no longer in the filter is below the watermark, so no later file
// may begin there.
func (s *state) offsets(where string, e *ledger.Entry) {
	through := s.through
	for i := range e.Files {
		f := &e.Files[i]
		at := place(delivery.Ref(e, i))
		if last, ok := through[f.Stream()]; ok && f.First <= last {
			s.report.problem(Overlap, at, "it begins at offset %d, and its stream %s/%d is in files up to %d", f.First, f.Source, f.Hour, last)
		} else if f.First < s.prev.LowWatermark {
			s.report.problem(Overlap, at, "it begins at offset %d, and all below the watermark %d of entry %d is in files already", f.First, s.prev.LowWatermark, s.prev.Seq)
		}
		through[f.Stream()] = max(through[f.Stream()], f.Last)
	}
	said := e.Filter()
	for stream, last := range through {
		if last < e.LowWatermark {
			delete(through, stream)
		} else if got, ok := said[stream]; !ok || got != last {
			s.report.problem(SealedThrough, where, "files of %s/%d reach offset %d, sealed_through says %s", stream.Source, stream.Hour, last, orNothing(got, ok))
		}
	}
	for stream, got := range said {
		if _, ok := through[stream]; !ok {
			s.report.problem(SealedThrough, where, "sealed_through says %d for %s/%d, and no file does", got, stream.Source, stream.Hour)
		}
	}
}

func orNothing(offset int64, ok bool) string {
	if !ok {
		return "nothing"
	}
	return fmt.Sprint(offset)
}

// books compare the number of records with that of offsets, beginning at an entry that has no file
// above its watermark.
type books struct {
	open    bool
	from    int64 // entry
	low     int64 // its watermark
	settled int64 // records below the watermark that are in files or skipped
	above   []reach
	early   []early
}

// early is a number of duplicates that were skipped while the filter reached up to through: some of
// them may be above the watermark until it has passed that offset.
type early struct{ through, records int64 }

// reach is a file with records at or above the watermark.
type reach struct{ first, last, records int64 }

// account compares the number of offsets below the watermark with the records that are in files or
// skipped. For a file that reaches above the watermark, and for duplicates in early, only bounds
// are known; there are few of these, and only what is outside the bounds is reported.
//
// Invariant: I2.
func (s *state) account(where string, e *ledger.Entry) {
	b := &s.books
	for reason, n := range e.Skipped {
		if reason == ledger.SkippedDuplicate && len(e.SealedThrough) > 0 {
			top := slices.MaxFunc(e.SealedThrough, func(x, y ledger.SealedStream) int { return cmp.Compare(x.Offset, y.Offset) })
			b.early = append(b.early, early{top.Offset, n})
			continue
		}
		b.settled += n
	}
	b.early = slices.DeleteFunc(b.early, func(d early) bool {
		if d.through >= e.LowWatermark {
			return false
		}
		b.settled += d.records
		return true
	})
	for i := range e.Files {
		f := &e.Files[i]
		b.above = append(b.above, reach{f.First, f.Last, f.Records})
	}
	b.above = slices.DeleteFunc(b.above, func(r reach) bool {
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
	offsets := e.LowWatermark - b.low
	switch {
	case least > offsets:
		s.report.problem(Overcounted, where, "%d records are in files or skipped since entry %d, and there are only %d offsets", least, b.from, offsets)
		b.settled -= least - offsets // reported once
	case most < offsets:
		s.report.edit(func(r *Report) { r.Gaps += offsets - most })
		if !s.cfg.AllowGaps {
			s.report.problem(Unaccounted, where, "%d offsets below its watermark %d are in no file and were not skipped", offsets-most, e.LowWatermark)
		}
		b.settled += offsets - most
	}
}
