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
)

const toLake = "ws_AAAAAAAAAAAAAAAA/lake"

// seedBatches returns staging with a ledger of two entries with eight files each. Of the first, the
// files 0 and 3 to 5 are delivered and 1 is given up. Of the second, all files are delivered.
func seedBatches(t *testing.T) *objstore.Memory {
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
	return staging
}

func deliveredReceipt(file int) delivery.Receipt {
	return delivery.Receipt{File: delivery.FileRef{Index: file}, Destination: toLake}
}

// Whoever has to restore a corrupt entry looks at its neighbours.
func TestLedgerShowsNeighboursOfCorruptEntries(t *testing.T) {
	var out bytes.Buffer
	staging := seedBatches(t)
	v := ledgerShow{services: &services{staging: staging}, out: &out, entries: 10, seq: -1}
	v.cfg.Kafka.EventsTopic, v.cfg.Kafka.Incarnation = "sealift.events", "1"
	l := ledger.Log{Topic: "sealift.events", Incarnation: "1"}
	ledgertest.Put(t, staging, ledger.EntryKey(l, 1), []byte("{"))
	require.ErrorIs(t, v.showChain(t.Context()), ledger.ErrCorrupt)
	require.Contains(t, out.String(), "entry 2 ")
	require.Contains(t, out.String(), "entry 0 ")

	out.Reset()
	l.Partition = 1
	ledgertest.Append(t, staging, ledgertest.Init(l, time.Now()))
	ledgertest.Put(t, staging, ledger.EntryKey(ledger.Log{Topic: l.Topic, Incarnation: "1"}, 2), []byte("{"))
	require.ErrorIs(t, v.showHeads(t.Context()), ledger.ErrCorrupt)
	require.Regexp(t, `(?m)^1 +0 +init`, out.String())
}

func TestLedgerShowWithReceiptsInBatches(t *testing.T) {
	var out bytes.Buffer
	v := ledgerShow{services: &services{staging: seedBatches(t)}, out: &out, entries: 10, seq: -1}
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
