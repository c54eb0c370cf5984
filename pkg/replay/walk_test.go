package replay

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/ledger/ledgertest"
	"github.com/sealift/sealift/pkg/objstore"
)

// A replay of the last hours, or of some offsets, does not read years of ledger entries; and it
// reads everything that it needs.
func TestWalkReadsOnlyWhatTheOrderSelects(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*delivery.Order)
		rule   string
		copies int
		reads  int
	}{
		"all":                     {everything, "", 400, 402},
		"since":                   {func(o *delivery.Order) { o.Since = hour + 396*3_600_000 }, "", 4, 20},
		"since_by_devices_clocks": {func(o *delivery.Order) { o.Since = hour + 396*3_600_000 }, ledger.RouterRule("header", "json:timestamp"), 4, 403},
		"since_by_a_former_rule":  {func(o *delivery.Order) { o.Since = hour + 396*3_600_000 }, "former", 4, 403},
		"since_in_the_future":     {func(o *delivery.Order) { o.Since = hour + 500*3_600_000 }, "", 0, 20},
		"offsets": {func(o *delivery.Order) {
			o.Offsets = []delivery.Range{{First: 100, Last: 101}, {First: 104, Last: 104}}
		}, "", 3, 40},
		"offsets_not_written_yet": {func(o *delivery.Order) { o.Offsets = []delivery.Range{{First: 900, Last: 1000}} }, "", 0, 40},
		"both":                    {func(o *delivery.Order) { o.Since, o.Offsets = hour+390*3_600_000, []delivery.Range{{Last: 391}} }, "", 2, 40},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			for i := range int64(400) {
				f := ledgertest.File(testLog, ledger.File{Source: "web", Hour: hour + i*3_600_000, First: i, Owed: []string{one}}, []byte("content"))
				ledgertest.Put(t, r.staging, f.StagedKey, []byte("content"))
				e := ledgertest.Next(r.head, f)
				e.WrittenAt, e.Router = f.Hour+3_600_000, c.rule
				if c.rule == "former" { // and back to the default since
					e.Router, e.RouterFrom = "", min(i, 10)
				}
				r.head = ledgertest.Append(t, r.staging, e)
			}
			o := r.order("r", c.change)
			reads := 0
			r.staging.SetFault(func(op objstore.Op) objstore.Fault {
				if op.Name == "get" && strings.HasPrefix(op.Key, "ledger/") {
					reads++
				}
				return objstore.Fault{}
			})
			tally, err := r.run().Count(t.Context(), o)
			require.NoError(t, err)
			require.EqualValues(t, c.copies, tally.Copies)
			require.LessOrEqual(t, reads, c.reads)
			if c.reads > 400 { // the whole chain has to be read
				require.Greater(t, reads, 400)
			}
		})
	}
}

// Files reach above the watermark, and streams are sealed in any order: a range of offsets finds
// every file that overlaps with it.
func TestOffsetRangeFindsEveryOverlappingFile(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 0))
			r := newRig(t)
			sources := []string{"a", "b", "c"}
			pending, through := map[string][]int64{}, map[string]int64{}
			var entries []*ledger.Entry
			for offset := int64(0); offset < 200; {
				for range rnd.Int64N(12) {
					source := sources[rnd.IntN(3)]
					pending[source] = append(pending[source], offset)
					offset++
				}
				var files []ledger.File
				for _, source := range sources {
					if n := len(pending[source]); n > 0 && rnd.IntN(3) == 0 {
						at := pending[source][:1+rnd.IntN(n)]
						pending[source] = pending[source][len(at):]
						f := ledger.File{Source: source, First: at[0], Last: at[len(at)-1], Records: int64(len(at)), Owed: []string{one}}
						files = append(files, ledgertest.File(testLog, f, []byte(fmt.Sprint(source, at))))
						through[source] = f.Last
					}
				}
				e := ledgertest.Next(r.head, files...)
				e.LowWatermark = offset
				for _, waiting := range pending {
					if len(waiting) > 0 {
						e.LowWatermark = min(e.LowWatermark, waiting[0])
					}
				}
				for _, source := range sources {
					if last, ok := through[source]; ok && last >= e.LowWatermark {
						e.SealedThrough = append(e.SealedThrough, ledger.SealedStream{Source: source, Hour: ledgertest.Hour, Offset: last})
					}
				}
				r.head = ledgertest.Append(t, r.staging, e)
				entries = append(entries, e)
			}
			for range 50 {
				o := r.order(fmt.Sprint("r", rnd.Uint64()), func(o *delivery.Order) {
					for range 1 + rnd.IntN(2) {
						first := rnd.Int64N(210)
						o.Offsets = append(o.Offsets, delivery.Range{First: first, Last: first + rnd.Int64N(10)})
					}
				})
				var want, got []string
				for _, e := range entries {
					for i := range e.Files {
						if o.Selects(e, &e.Files[i]) {
							want = append(want, e.Files[i].StagedKey)
						}
					}
				}
				for e, err := range walk(t.Context(), r.staging, o, r.catalog.Snapshot()) {
					require.NoError(t, err)
					for _, f := range e.files {
						got = append(got, e.Files[f.index].StagedKey)
					}
				}
				require.Equal(t, want, got, "%v", o.Offsets)
			}
		})
	}
}

// Partitions are walked in order although they are read concurrently, and of each only what the
// order covers.
func TestPartitionsAreWalkedInOrder(t *testing.T) {
	r := newRig(t)
	var want []string
	heads := map[int]int64{}
	for p := range 40 {
		l := testLog
		l.Partition = p
		if p > 0 {
			ledgertest.Append(t, r.staging, ledgertest.Init(l, time.UnixMilli(hour)))
		}
		head, err := ledger.NewChain(r.staging, l).Entry(t.Context(), 0)
		require.NoError(t, err)
		for i := range int64(p % 4) {
			e := ledgertest.Next(head, ledgertest.File(l, ledger.File{Source: "web", First: i, Owed: []string{one}}, []byte(fmt.Sprint(p, i))))
			head = ledgertest.Append(t, r.staging, e)
			if heads[p] = min(head.Seq, 2); e.Seq <= 2 {
				want = append(want, e.Files[0].StagedKey)
			}
		}
	}
	o := &delivery.Order{ID: "r", Topic: testLog.Topic, Incarnation: testLog.Incarnation, Heads: heads, From: delivery.FromAuto}
	var got []string
	for e, err := range walk(t.Context(), r.staging, o, r.catalog.Snapshot()) {
		require.NoError(t, err)
		got = append(got, e.Files[0].StagedKey)
	}
	require.Equal(t, want, got)
	require.True(t, slices.IsSorted(got))
}
