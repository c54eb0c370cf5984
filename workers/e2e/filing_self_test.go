package e2e

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestFilingReportsProblems: five records of a topic are in three files, and the sixth, which
// repeats the message of the first, is skipped. If the ledger says anything else, exactly that
// problem is reported.
func TestFilingReportsProblems(t *testing.T) {
	for hazard, c := range map[string]struct {
		change func(chain map[int64]*bookEntry)
		says   string
	}{
		"good":                   {func(map[int64]*bookEntry) {}, ""},
		"entry_missing":          {func(c map[int64]*bookEntry) { c[3], c[1] = c[1], nil }, "entry 1 is missing"},
		"jobs_of_itself":         {func(c map[int64]*bookEntry) { c[2].DispatchedThrough = 2 }, "the jobs of entry 2 were written"},
		"record_in_no_file":      {func(c map[int64]*bookEntry) { c[2].Files = nil }, "offset 4 of source web is in no file"},
		"record_in_two_files":    {func(c map[int64]*bookEntry) { c[2].Files[0].First, c[2].Files[0].Records = 3, 2 }, "offset 3 of source web is in two files"},
		"fewer_than_there_are":   {func(c map[int64]*bookEntry) { c[1].Files[0].Records = 1 }, "says 1 records from 0 to 1, the topic has 2"},
		"of_another_hour":        {func(c map[int64]*bookEntry) { c[1].Files[0].Hour += 3_600_000 }, "offset 0 of source web is in no file"},
		"copy_that_is_not_told":  {func(c map[int64]*bookEntry) { c[2].Skipped = nil }, "1 records are in no file, the ledger counts 0"},
		"skipped_for_its_poison": {func(c map[int64]*bookEntry) { c[2].Skipped = map[string]int64{"not_a_json_object": 1} }, "skipped 1 records: not_a_json_object"},
	} {
		t.Run(hazard, func(t *testing.T) {
			file := func(first, last, records int64) bookFile {
				return bookFile{Source: "web", First: first, Last: last, Records: records, StagedKey: fmt.Sprint("data/", first)}
			}
			books := newBooks(nil, "events")
			books.chains[0] = map[int64]*bookEntry{
				0: {Kind: "init"},
				1: {Seq: 1, Kind: "seal", Files: []bookFile{file(0, 1, 2), file(2, 3, 2)}},
				2: {Seq: 2, Kind: "seal", Files: []bookFile{file(4, 4, 1)}, Skipped: map[string]int64{"duplicate_message": 1}, DispatchedThrough: 1},
			}
			c.change(books.chains[0])
			g := newFiling(books)
			for offset := range int64(6) {
				_, err := g.record(dumped{source: "web", offset: offset, line: fmt.Appendf(nil, `{"messageId":"m%d"}`, offset%5)})
				require.NoError(t, err)
			}
			g.checkCoverage()
			if c.says == "" {
				require.Empty(t, g.problems)
				return
			}
			require.Contains(t, fmt.Sprint(g.problems), c.says)
		})
	}
}
