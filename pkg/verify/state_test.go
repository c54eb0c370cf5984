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

// sealed returns a file of a source in the first hour.
func sealed(source string, first, last, records int64) ledger.File {
	return ledgertest.File(testLog, ledger.File{
		Source: source, Hour: hour0, First: first, Last: last, Records: records, RawBytes: 10 * records, SHA256: strings.Repeat("ab", 32), Owed: []string{"ws/a"},
	}, []byte("12345"))
}

// packed puts the files of entry seq into one pack.
func packed(seq int64, files ...ledger.File) []ledger.File {
	ledgertest.Pack(testLog, seq, files, bytes.Repeat([]byte("12345"), len(files)))
	return files
}

// link describes an entry: its watermark, its files, and what is sealed above.
type link struct {
	low     int64
	files   []ledger.File
	through map[string]int64
	skipped int64
	copies  int64 // duplicates skipped
}

func problemsOf(allowGaps bool, links ...link) (*Report, []Kind) {
	v := &verifier{cfg: Config{AllowGaps: allowGaps}, report: newReport(time.Now(), Config{Examples: 100})}
	s := state{walk: &walk{verifier: v, log: testLog}}
	for i, l := range append([]link{{}}, links...) {
		e := &ledger.Entry{Seq: int64(i), Attempt: fmt.Sprint(i), LowWatermark: l.low, Files: l.files, Topic: "events", Incarnation: "1", Partition: 3}
		if l.skipped > 0 {
			e.Skipped = map[string]int64{"x": l.skipped}
		}
		if l.copies > 0 {
			e.Skipped = map[string]int64{ledger.SkippedDuplicate: l.copies}
		}
		for _, source := range []string{"a", "b", "c"} {
			if o, ok := l.through[source]; ok {
				e.SealedThrough = append(e.SealedThrough, ledger.SealedStream{Source: source, Hour: hour0, Offset: o})
			}
		}
		s.next(e)
	}
	var kinds []Kind
	for _, p := range v.report.Examples {
		kinds = append(kinds, p.Kind)
	}
	return v.report, kinds
}

func TestChainsAreHeldAgainstThemselves(t *testing.T) {
	files := func(f ...ledger.File) []ledger.File { return f }
	// b's file is open from offset 1 on, while a's file with 0 to 9 is sealed.
	good := []link{
		{low: 1, files: files(sealed("a", 0, 9, 5)), through: map[string]int64{"a": 9}},
		{low: 20, files: files(sealed("b", 1, 12, 6), sealed("a", 10, 19, 8)), skipped: 1},
		{low: 20},
	}
	for name, test := range map[string]struct {
		change func(l []link)
		allow  bool
		want   []Kind
		gaps   int64
	}{
		"good":                        {change: func([]link) {}},
		"overlap_within_the_filter":   {change: func(l []link) { l[1].files[1] = sealed("a", 9, 19, 8) }, want: []Kind{Overlap}},
		"overlap_below_the_watermark": {change: func(l []link) { l[2].files = files(sealed("c", 19, 19, 1)) }, want: []Kind{Overlap, Overcounted}},
		"overlap_in_one_entry":        {change: func(l []link) { l[1].files[1] = sealed("b", 11, 19, 8) }, want: []Kind{Overlap}},
		"filter_forgets":              {change: func(l []link) { l[0].through = nil }, want: []Kind{SealedThrough}},
		"filter_exceeds":              {change: func(l []link) { l[0].through["a"] = 11 }, want: []Kind{SealedThrough, Overlap}},
		"filter_invents":              {change: func(l []link) { l[0].through["c"] = 5 }, want: []Kind{SealedThrough}},
		"filter_keeps":                {change: func(l []link) { l[2].through = map[string]int64{"a": 19} }, want: []Kind{SealedThrough}},
		"a_record_too_few":            {change: func(l []link) { l[1].files[0].Records-- }, want: []Kind{Unaccounted}, gaps: 1},
		"a_record_too_many":           {change: func(l []link) { l[1].files[0].Records++ }, want: []Kind{Overcounted}},
		"gaps_that_kafka_has":         {change: func(l []link) { l[1].files[0].Records-- }, allow: true, gaps: 1},
		"skipped_twice":               {change: func(l []link) { l[1].skipped++ }, want: []Kind{Overcounted}},
		// Of a's 2 records one is below 8 and one is not: 7 offsets are certainly missing, long
		// before the filter is empty again.
		"bounds_while_files_reach_above": {change: func(l []link) {
			l[0].low, l[0].files[0].Records = 8, 2
			l[1].files[0], l[1].files[1].Records, l[1].skipped = sealed("b", 8, 12, 5), 6, 0
		}, want: []Kind{Unaccounted}, gaps: 7},
		"copies_counted_with_a_file_above": {change: func(l []link) {
			l[0].copies, l[1].skipped, l[1].files[0].Records = 3, 0, 4
		}},
		"copies_counted_twice": {change: func(l []link) {
			l[0].copies, l[1].skipped, l[1].files[0].Records, l[1].copies = 3, 0, 4, 3
		}, want: []Kind{Overcounted}},
		"copies_counted_by_nobody": {change: func(l []link) {
			l[1].skipped, l[1].files[0].Records = 0, 4
		}, want: []Kind{Unaccounted}, gaps: 3},
		"pack":                  {change: func(l []link) { l[1].files = packed(2, l[1].files...) }},
		"pack_of_another_entry": {change: func(l []link) { l[1].files = packed(3, l[1].files...) }, want: []Kind{FileNames}},
		"pack_of_other_offsets": {change: func(l []link) {
			l[1].files = packed(2, l[1].files...)
			for i := range l[1].files {
				l[1].files[i].StagedKey = delivery.PackKey(testLog, 2, 0, 19, l[1].files[i].SHA256)
			}
		}, want: []Kind{FileNames}},
		"pack_with_a_gap":                 {change: func(l []link) { l[1].files = packed(2, l[1].files...); l[1].files[1].StagedAt++ }, want: []Kind{FileNames}},
		"pack_with_more_in_it":            {change: func(l []link) { packed(2, l[1].files...)[0].GzipBytes--; l[1].files[1].StagedAt-- }, want: []Kind{FileNames}},
		"pack_of_two_sizes":               {change: func(l []link) { l[1].files = packed(2, l[1].files...); l[1].files[1].PackBytes++ }, want: []Kind{FileNames}},
		"file_that_is_named_as_if_packed": {change: func(l []link) { packed(2, l[1].files[:1]...)[0].PackBytes = 0 }, want: []Kind{FileNames}},
		"double_debt":                     {change: func(l []link) { l[1].files[0].Owed = []string{"ws/a", "ws/a"} }, want: []Kind{FileNames}},
	} {
		t.Run(name, func(t *testing.T) {
			l := make([]link, len(good))
			for i := range good {
				l[i] = good[i]
				l[i].files = append([]ledger.File{}, good[i].files...)
				l[i].through = map[string]int64{}
				for k, v := range good[i].through {
					l[i].through[k] = v
				}
			}
			test.change(l)
			r, kinds := problemsOf(test.allow, l...)
			require.Equal(t, test.want, kinds, "%v", r.Examples)
			require.Equal(t, test.gaps, r.Gaps)
		})
	}
}

// TestCompleteThroughGoesBackFromTheFutureOnly: CompleteThrough may decrease only if it was ahead
// of the clock.
func TestCompleteThroughGoesBackFromTheFutureOnly(t *testing.T) {
	for name, c := range map[string]struct {
		said int64
		want int64
	}{
		"back":            {said: hour0, want: 1},
		"from_the_future": {said: hour0 + hourLength, want: 0},
	} {
		t.Run(name, func(t *testing.T) {
			v := &verifier{report: newReport(time.Now(), Config{Examples: 1})}
			s := state{walk: &walk{verifier: v, log: testLog}, prev: &ledger.Entry{CompleteThrough: c.said}}
			s.order("entry", &ledger.Entry{Seq: 1, Attempt: "1", CompleteThrough: hour0 - 1, WrittenAt: hour0})
			require.Equal(t, c.want, v.report.Problems)
		})
	}
}
