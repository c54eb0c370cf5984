package verify

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/ledger/ledgertest"
	"github.com/sealift/sealift/pkg/objstore"
)

// entryOfDeliveredFiles returns a staging bucket with one entry of n delivered files, and a replay
// of all of them.
func entryOfDeliveredFiles(t testing.TB, n int) *objstore.Memory {
	staging := objstore.NewMemory("staging")
	head := ledgertest.Append(t, staging, ledgertest.Init(testLog, time.UnixMilli(0)))
	var files []ledger.File
	for i := range int64(n) {
		files = append(files, fileInHour(1, fmt.Sprintf("s%05d", i), 10*i, 10*i+9))
	}
	e := ledgertest.Append(t, staging, ledgertest.Next(head, files...))
	order := delivery.Order{ID: "r", Topic: "events", Incarnation: "1", Heads: map[int]int64{testLog.Partition: e.Seq}, From: delivery.FromAuto}
	ledgertest.Put(t, staging, delivery.OrderKey(order.ID), order.Encode())
	for i := range e.Files {
		f := &e.Files[i]
		ledgertest.Put(t, staging, f.StagedKey, []byte("12345"))
		r := delivery.Receipt{File: delivery.Ref(e, i), Destination: "ws/a", Outcome: delivery.Delivered, Bucket: "b", Key: delivery.ObjectKey("", testLog, f), SHA256: f.SHA256, Bytes: 5, Records: f.Records}
		ledgertest.Receipt(t, staging, e, i, "ws/a", r)
		r.Replay = order.ID
		ledgertest.Put(t, staging, delivery.ReplayReceiptKey(order.ID, r.File, "ws/a"), r.Encode())
	}
	return staging
}

// An entry is read once for all receipts of a replay that belong to its files.
func TestReplaysReadAnEntryOnce(t *testing.T) {
	staging := entryOfDeliveredFiles(t, 50)
	var reads atomic.Int64
	staging.SetFault(func(op objstore.Op) objstore.Fault {
		if op.Name == "get" && strings.HasPrefix(op.Key, "ledger/") {
			reads.Add(1)
		}
		return objstore.Fault{}
	})
	r, err := Verify(t.Context(), Config{Topic: "events", Partition: -1}, Deps{Staging: staging})
	require.NoError(t, err)
	require.True(t, r.OK(), "%v", r.Examples)
	require.EqualValues(t, 50, r.Receipts.Replayed)
	require.EqualValues(t, 2+1, reads.Load(), "two reads by the walk and one for the replay")
}

// BenchmarkVerifyOneEntry verifies few and many files in one entry: the cost per file must not grow
// with their number.
func BenchmarkVerifyOneEntry(b *testing.B) {
	for _, n := range []int{1_000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			staging := entryOfDeliveredFiles(b, n)
			for b.Loop() {
				r, err := Verify(context.Background(), Config{Topic: "events", Partition: -1}, Deps{Staging: staging})
				if err != nil || !r.OK() || r.Receipts.Delivered != int64(n) {
					b.Fatal(err, r.Examples)
				}
				b.ReportMetric(r.TookSeconds/float64(n)*1e6, "µs/file")
			}
		})
	}
}
