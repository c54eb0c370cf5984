package main

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
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/receipt"
)

const toLake = "ws_AAAAAAAAAAAAAAAA/lake"

// seedBatches returns a ledger of two entries with eight files each. Of the first, the files 0 and
// 3 to
// 5 are delivered and 1 is given up. Of the second, all files are delivered.
func seedBatches(t *testing.T) (*objstore.Memory, []*ledger.Entry) {
	staging, l := objstore.NewMemory("staging"), ledger.Log{Topic: "sealift.events", Incarnation: "1"}
	head := ledgertest.Append(t, staging, ledgertest.Init(l, time.Now()))
	var entries []*ledger.Entry
	for range 2 {
		var files []ledger.File
		for i := range 8 {
			files = append(files, ledgertest.File(l, ledger.File{First: head.LowWatermark + int64(i), Owed: []string{toLake}}, fmt.Append(nil, head.Seq, i)))
		}
		head = ledgertest.Append(t, staging, ledgertest.Next(head, files...))
		entries = append(entries, head)
	}
	e := entries[0]
	ledgertest.Receipt(t, staging, e, 0, toLake, delivery.Receipt{SHA256: strings.Repeat("ab", 100)}) // too long for one that names no object
	for _, i := range []int{1, 3} {
		ledgertest.Receipt(t, staging, e, i, toLake, delivery.Receipt{Outcome: delivery.Skipped})
	}
	ledgertest.Batch(t, staging, e, deliveredReceipt(0), deliveredReceipt(3), deliveredReceipt(4))
	good, foreign := deliveredReceipt(5), deliveredReceipt(6)
	good.File, good.Outcome = delivery.Ref(e, 5), delivery.Delivered
	foreign.File, foreign.Outcome = delivery.Ref(entries[1], 6), delivery.Delivered
	bad := append(delivery.EncodeBatch([]delivery.Receipt{foreign, good}), "hello\n"...)
	ledgertest.Put(t, staging, delivery.BatchKey(l, e.Seq, bad), bad)
	ledgertest.Batch(t, staging, entries[1], deliveredReceipt(0), deliveredReceipt(1), deliveredReceipt(2), deliveredReceipt(3), deliveredReceipt(4), deliveredReceipt(5), deliveredReceipt(6), deliveredReceipt(7))
	return staging, entries
}

func deliveredReceipt(file int) delivery.Receipt {
	return delivery.Receipt{File: delivery.FileRef{Index: file}, Destination: toLake}
}

func TestLedgerShowWithReceiptsInBatches(t *testing.T) {
	staging, _ := seedBatches(t)
	var out bytes.Buffer
	v := ledgerShow{services: &services{staging: staging}, out: &out, entries: 10, seq: -1}
	v.cfg.Kafka.EventsTopic, v.cfg.Kafka.Incarnation = "sealift.events", "1"
	require.NoError(t, v.showChain(t.Context()))
	var got []string
	for line := range strings.Lines(out.String()) {
		if _, after, is := strings.Cut(line, "  hour  "); is {
			got = append(got, strings.TrimSpace(after))
		}
	}
	yes, no, given := "delivered 1/1", "delivered 0/1  not yet to "+toLake, "delivered 0/1  given up for "+toLake
	require.Equal(t, []string{yes, yes, yes, yes, yes, yes, yes, yes, yes, given, no, yes, yes, yes, no, no}, got)

	out.Reset()
	v.seq, v.asJSON = 1, true
	require.NoError(t, v.showChain(t.Context()))
	have := `["` + toLake + `"]`
	require.Contains(t, out.String(), `"receipts":[`+strings.Join([]string{have, have, `[]`, have, have, have, `[]`, `[]`}, ",")+`]`)
	require.Contains(t, out.String(), `"given_up":[[],`+have+`,[],[],[],[],[],[]]`)
}

// Each refresh takes one listing for each entry that owes something, and none for others.
func TestDebtsAreClosedByBatches(t *testing.T) {
	staging, entries := seedBatches(t)
	var asked []string
	staging.SetFault(func(op objstore.Op) objstore.Fault {
		if op.Name != "get" && strings.HasPrefix(op.Key, "receipts/") {
			asked = append(asked, op.Name+" "+op.Key)
		}
		return objstore.Fault{}
	})
	first, second := "list "+delivery.ReceiptPrefix(entries[0].Log(), 1), "list "+delivery.ReceiptPrefix(entries[0].Log(), 2)
	w := &debts{staging: staging, topic: "sealift.events", incarnation: "1", next: map[ledger.Log]int64{}, open: map[ledger.EntryRef][]receipt.Pair{}}
	for _, want := range []struct {
		added, closed int64
		asked         []string
	}{
		{16, 5 + 8, []string{first, second}},
		{0, 5 + 8, []string{first}},
		{0, 8 + 8, []string{first}},
		{0, 8 + 8, nil},
	} {
		asked = nil
		added, err := w.refresh(t.Context())
		require.NoError(t, err)
		require.Equal(t, want.added, added)
		require.Equal(t, want.closed, w.closed)
		require.ElementsMatch(t, want.asked, asked)
		if added == 0 {
			ledgertest.Batch(t, staging, entries[0], deliveredReceipt(2), deliveredReceipt(6), deliveredReceipt(7))
		}
	}
	require.Equal(t, w.owed, w.closed)
}
