package verify

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/ledger/ledgertest"
)

const hour0 = int64(1_699_999_200_000)

var testLog = ledger.Log{Topic: "events", Incarnation: "1", Partition: 3}

// sealedFile returns a file of a source in the first hour.
func sealedFile(source string, first, last, records int64) ledger.File {
	return ledgertest.File(testLog, ledger.File{
		Source: source, Hour: hour0, First: first, Last: last, Records: records, RawBytes: 10 * records, SHA256: strings.Repeat("ab", 32), Owed: []string{"ws/a"},
	}, []byte("12345"))
}

// inOnePack puts the files of entry seq into one pack.
func inOnePack(seq int64, files ...ledger.File) []ledger.File {
	ledgertest.Pack(testLog, seq, files, bytes.Repeat([]byte("12345"), len(files)))
	return files
}

// entrySpec describes an entry: its watermark, its files, and what is sealed above.
type entrySpec struct {
	low        int64
	files      []ledger.File
	through    map[string]int64
	skipped    int64
	duplicates int64 // duplicates skipped
}

func checkEntries(allowGaps bool, links ...entrySpec) (*Report, []Kind) {
	v := &verifier{cfg: Config{AllowGaps: allowGaps}, report: newReport(time.Now(), Config{MaxExamples: 100})}
	s := state{walk: &walk{verifier: v, log: testLog}}
	for i, l := range append([]entrySpec{{}}, links...) {
		e := &ledger.Entry{Seq: int64(i), Attempt: fmt.Sprint(i), LowWatermark: l.low, Files: l.files, Topic: "events", Incarnation: "1", Partition: 3}
		if l.skipped > 0 {
			e.Skipped = map[string]int64{"x": l.skipped}
		}
		if l.duplicates > 0 {
			e.Skipped = map[string]int64{ledger.SkippedDuplicate: l.duplicates}
		}
		for _, source := range []string{"a", "b", "c"} {
			if o, ok := l.through[source]; ok {
				e.SealedThrough = append(e.SealedThrough, ledger.SealedStream{Source: source, Hour: hour0, Offset: o})
			}
		}
		s.check(e)
	}
	var kinds []Kind
	for _, p := range v.report.Examples {
		kinds = append(kinds, p.Kind)
	}
	return v.report, kinds
}

func TestInconsistentChainsAreReported(t *testing.T) {
	files := func(f ...ledger.File) []ledger.File { return f }
	// b's file is open from offset 1 on, while a's file with 0 to 9 is sealed.
	good := []entrySpec{
		{low: 1, files: files(sealedFile("a", 0, 9, 5)), through: map[string]int64{"a": 9}},
		{low: 20, files: files(sealedFile("b", 1, 12, 6), sealedFile("a", 10, 19, 8)), skipped: 1},
		{low: 20},
	}
	for name, test := range map[string]struct {
		change func(l []entrySpec)
		allow  bool
		want   []Kind
		gaps   int64
	}{
		"good":                              {change: func([]entrySpec) {}},
		"overlap_within_the_filter":         {change: func(l []entrySpec) { l[1].files[1] = sealedFile("a", 9, 19, 8) }, want: []Kind{Overlap}},
		"overlap_below_the_watermark":       {change: func(l []entrySpec) { l[2].files = files(sealedFile("c", 19, 19, 1)) }, want: []Kind{Overlap, Overcounted}},
		"overlap_in_one_entry":              {change: func(l []entrySpec) { l[1].files[1] = sealedFile("b", 11, 19, 8) }, want: []Kind{Overlap}},
		"filter_lacks_a_file":               {change: func(l []entrySpec) { l[0].through = nil }, want: []Kind{SealedThrough}},
		"filter_exceeds_a_file":             {change: func(l []entrySpec) { l[0].through["a"] = 11 }, want: []Kind{SealedThrough, Overlap}},
		"filter_has_a_stream_without_files": {change: func(l []entrySpec) { l[0].through["c"] = 5 }, want: []Kind{SealedThrough}},
		"filter_keeps_a_passed_stream":      {change: func(l []entrySpec) { l[2].through = map[string]int64{"a": 19} }, want: []Kind{SealedThrough}},
		"a_record_too_few":                  {change: func(l []entrySpec) { l[1].files[0].Records-- }, want: []Kind{Unaccounted}, gaps: 1},
		"a_record_too_many":                 {change: func(l []entrySpec) { l[1].files[0].Records++ }, want: []Kind{Overcounted}},
		"gaps_that_kafka_has":               {change: func(l []entrySpec) { l[1].files[0].Records-- }, allow: true, gaps: 1},
		"skipped_twice":                     {change: func(l []entrySpec) { l[1].skipped++ }, want: []Kind{Overcounted}},
		// Of a's 2 records one is below 8 and one is not: 7 offsets are certainly missing, long
		// before the filter is empty again.
		"bounds_while_files_reach_above": {change: func(l []entrySpec) {
			l[0].low, l[0].files[0].Records = 8, 2
			l[1].files[0], l[1].files[1].Records, l[1].skipped = sealedFile("b", 8, 12, 5), 6, 0
		}, want: []Kind{Unaccounted}, gaps: 7},
		"duplicates_counted_with_a_file_above": {change: func(l []entrySpec) {
			l[0].duplicates, l[1].skipped, l[1].files[0].Records = 3, 0, 4
		}},
		"duplicates_counted_twice": {change: func(l []entrySpec) {
			l[0].duplicates, l[1].skipped, l[1].files[0].Records, l[1].duplicates = 3, 0, 4, 3
		}, want: []Kind{Overcounted}},
		"duplicates_not_counted": {change: func(l []entrySpec) {
			l[1].skipped, l[1].files[0].Records = 0, 4
		}, want: []Kind{Unaccounted}, gaps: 3},
		"pack":                  {change: func(l []entrySpec) { l[1].files = inOnePack(2, l[1].files...) }},
		"pack_of_another_entry": {change: func(l []entrySpec) { l[1].files = inOnePack(3, l[1].files...) }, want: []Kind{FileNames}},
		"pack_of_other_offsets": {change: func(l []entrySpec) {
			l[1].files = inOnePack(2, l[1].files...)
			for i := range l[1].files {
				l[1].files[i].StagedKey = delivery.PackKey(testLog, 2, 0, 19, l[1].files[i].SHA256)
			}
		}, want: []Kind{FileNames}},
		"pack_with_a_gap":                 {change: func(l []entrySpec) { l[1].files = inOnePack(2, l[1].files...); l[1].files[1].StagedAt++ }, want: []Kind{FileNames}},
		"pack_with_more_in_it":            {change: func(l []entrySpec) { inOnePack(2, l[1].files...)[0].GzipBytes--; l[1].files[1].StagedAt-- }, want: []Kind{FileNames}},
		"pack_of_two_sizes":               {change: func(l []entrySpec) { l[1].files = inOnePack(2, l[1].files...); l[1].files[1].PackBytes++ }, want: []Kind{FileNames}},
		"file_that_is_named_as_if_packed": {change: func(l []entrySpec) { inOnePack(2, l[1].files[:1]...)[0].PackBytes = 0 }, want: []Kind{FileNames}},
		"duplicate_debt":                  {change: func(l []entrySpec) { l[1].files[0].Owed = []string{"ws/a", "ws/a"} }, want: []Kind{FileNames}},
	} {
		t.Run(name, func(t *testing.T) {
			l := make([]entrySpec, len(good))
			for i := range good {
				l[i] = good[i]
				l[i].files = append([]ledger.File{}, good[i].files...)
				l[i].through = map[string]int64{}
				for k, v := range good[i].through {
					l[i].through[k] = v
				}
			}
			test.change(l)
			r, kinds := checkEntries(test.allow, l...)
			require.Equal(t, test.want, kinds, "%v", r.Examples)
			require.Equal(t, test.gaps, r.Gaps)
		})
	}
}

// TestCompleteThroughMayDecreaseOnlyFromTheFuture: CompleteThrough may decrease only if it was
// ahead of the clock.
func TestCompleteThroughMayDecreaseOnlyFromTheFuture(t *testing.T) {
	for name, c := range map[string]struct {
		said int64
		want int64
	}{
		"back":            {said: hour0, want: 1},
		"from_the_future": {said: hour0 + hourLength, want: 0},
	} {
		t.Run(name, func(t *testing.T) {
			v := &verifier{report: newReport(time.Now(), Config{MaxExamples: 1})}
			s := state{walk: &walk{verifier: v, log: testLog}, prev: &ledger.Entry{CompleteThrough: c.said}}
			s.checkOrder("entry", &ledger.Entry{Seq: 1, Attempt: "1", CompleteThrough: hour0 - 1, WrittenAt: hour0})
			require.Equal(t, c.want, v.report.Problems)
		})
	}
}
