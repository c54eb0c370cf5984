package verify

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/ledger/ledgertest"
	"github.com/sealift/sealift/pkg/objstore"
)

// With a source, what is parked of other sources may be far more than what is verified.
func TestEntryIsReadOnceForAllThatIsParkedOfOtherSources(t *testing.T) {
	staging := objstore.NewMemory("staging")
	head := ledgertest.Append(t, staging, ledgertest.Init(testLog, time.Now()))
	var files []ledger.File
	for i := range int64(20) {
		files = append(files, sealedFile("b", i, i, 1))
		ledgertest.Put(t, staging, files[i].StagedKey, []byte("12345"))
	}
	e := ledgertest.Append(t, staging, ledgertest.Next(head, files...))
	for i := range e.Files {
		ledgertest.Put(t, staging, delivery.ParkedKey(delivery.Ref(e, i), "ws/a"), nil)
	}
	reads := 0
	staging.SetFault(func(op objstore.Op) objstore.Fault {
		if op.Name == "get" && op.Key == ledger.EntryKey(testLog, e.Seq) {
			reads++
		}
		return objstore.Fault{}
	})
	r, err := Verify(t.Context(), Config{Topic: "events", Partition: -1, Source: "a"}, Deps{Staging: staging})
	require.NoError(t, err)
	require.Empty(t, r.Examples)
	require.Equal(t, 2, reads, "once on the walk, once for what is parked")
}

// Before an old debt is reported, its receipt and parked job are looked up again, since it may have
// been delivered or parked during the walk.
func TestOldDebtsAreLookedUpAgain(t *testing.T) {
	for hazard, c := range map[string]struct {
		key  func(r delivery.Receipt) string // of what is stored meanwhile
		want [3]int64                        // problems, closed, parked
	}{
		"delivered":            {func(r delivery.Receipt) string { return delivery.ReceiptKey(r.File, r.Destination) }, [3]int64{0, 1, 0}},
		"delivered_in_a_batch": {func(r delivery.Receipt) string { return delivery.BatchKey(testLog, r.File.Seq, r.Encode()) }, [3]int64{0, 1, 0}},
		"parked":               {func(r delivery.Receipt) string { return delivery.ParkedKey(r.File, r.Destination) }, [3]int64{0, 0, 1}},
		"neither":              {func(delivery.Receipt) string { return "other" }, [3]int64{1, 0, 0}},
	} {
		t.Run(hazard, func(t *testing.T) {
			staging := objstore.NewMemory("staging")
			head := ledgertest.Append(t, staging, ledgertest.Init(testLog, time.UnixMilli(0)))
			f := sealedFile("a", 0, 4, 5)
			ledgertest.Put(t, staging, f.StagedKey, []byte("12345"))
			e := ledgertest.Append(t, staging, ledgertest.Next(head, f))
			r := delivery.Receipt{File: delivery.Ref(e, 0), Destination: "ws/a", Outcome: delivery.Delivered}
			meanwhile := func(int64) { ledgertest.Put(t, staging, c.key(r), r.Encode()) }
			report, err := Verify(t.Context(), Config{Topic: "events", Partition: -1}, Deps{Staging: staging, OnDone: meanwhile})
			require.NoError(t, err)
			require.Equal(t, c.want, [3]int64{report.Problems, report.Closed, report.Parked}, "%v", report.Examples)
			if report.Problems > 0 {
				require.Equal(t, Debt, report.Examples[0].Kind)
				require.Contains(t, report.Examples[0].Fix, "redriven within copier.park_after")
			}
		})
	}
}
