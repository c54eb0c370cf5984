// Package ledgertest makes ledgers for the tests of other packages: files, packs, entries and
// receipts that say what a test cares about, and something valid for the rest. It is only for
// tests; the rotator writes the real ones.
//
// It promises ledgers in which pkg/verify finds nothing wrong, unless a test asks for something
// wrong. It does not make the lines of files: their content may be any bytes.
package ledgertest

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"testing"
	"time"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
)

// Hour is the default hour of files, in unix milliseconds.
const Hour = int64(1_795_356_000_000)

// File completes f, which may be empty, to a file with that content, alone in its staged object. By
// default its source is web, its hour is Hour, and it holds every offset, each with the line {}.
func File(l ledger.Log, f ledger.File, content []byte) ledger.File {
	f.Source, f.Hour = cmp.Or(f.Source, "web"), cmp.Or(f.Hour, Hour)
	f.Received = cmp.Or(f.Received, f.Hour+1)
	f.Last = max(f.First, f.Last)
	f.Records = cmp.Or(f.Records, f.Last-f.First+1)
	f.RawBytes, f.GzipBytes = cmp.Or(f.RawBytes, 3*f.Records), cmp.Or(f.GzipBytes, int64(len(content)))
	f.RawCRC64, f.SHA256 = cmp.Or(f.RawCRC64, "0123456789abcdef"), cmp.Or(f.SHA256, sum(content))
	f.Reason = cmp.Or(f.Reason, "hour")
	f.StagedKey = delivery.StagedKey(l, &f)
	return f
}

// Pack puts the files of entry seq into one object, one after the other, with that content, and
// returns its key.
func Pack(l ledger.Log, seq int64, files []ledger.File, content []byte) (key string) {
	first, last, size := files[0].First, files[0].Last, int64(0)
	for i := range files {
		f := &files[i]
		f.StagedAt, size = size, size+f.GzipBytes
		first, last = min(first, f.First), max(last, f.Last)
	}
	key = delivery.PackKey(l, seq, first, last, sum(content))
	for i := range files {
		files[i].StagedKey, files[i].PackBytes = key, size
	}
	return key
}

func sum(content []byte) string {
	h := sha256.Sum256(content)
	return hex.EncodeToString(h[:])
}

// Init returns the first entry of a log, written at that time.
func Init(l ledger.Log, at time.Time) *ledger.Entry {
	return &ledger.Entry{
		Version: ledger.EntryVersion, Kind: ledger.KindInit, Attempt: "a0", Topic: l.Topic, Incarnation: l.Incarnation, Partition: l.Partition, WrittenAt: at.UnixMilli(),
	}
}

// Next returns the entry after head that seals files, with the same owner and time. Its watermark
// is after the files' last record.
func Next(head *ledger.Entry, files ...ledger.File) *ledger.Entry {
	e := &ledger.Entry{
		Version: ledger.EntryVersion, Seq: head.Seq + 1, Kind: ledger.KindSeal, Attempt: fmt.Sprint("a", head.Seq+1), Owner: head.Owner,
		Topic: head.Topic, Incarnation: head.Incarnation, Partition: head.Partition, Files: files, LowWatermark: head.LowWatermark, WrittenAt: head.WrittenAt,
	}
	for _, f := range files {
		e.LowWatermark = max(e.LowWatermark, f.Last+1)
	}
	return e
}

// Append writes an entry and returns it.
func Append(t testing.TB, staging objstore.Store, e *ledger.Entry) *ledger.Entry {
	t.Helper()
	if err := ledger.NewChain(staging, e.Log()).Append(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	return e
}

// Put stores an object, overwriting any that exists.
func Put(t testing.TB, store objstore.Store, key string, body []byte) {
	t.Helper()
	if _, err := store.Put(t.Context(), key, bytes.NewReader(body), objstore.PutOptions{}); err != nil {
		t.Fatal(err)
	}
}

// Receipt stores r as the destination's receipt for file i of an entry. The default outcome is
// delivered.
func Receipt(t testing.TB, staging objstore.Store, e *ledger.Entry, i int, destination string, r delivery.Receipt) {
	t.Helper()
	r.File, r.Destination, r.Outcome = delivery.Ref(e, i), destination, cmp.Or(r.Outcome, delivery.Delivered)
	Put(t, staging, delivery.ReceiptKey(r.File, destination), r.Encode())
}

// Batch stores receipts of an entry as one batch, as a copier writes it, and returns its key. Each
// receipt needs the index of its file and its destination.
func Batch(t testing.TB, staging objstore.Store, e *ledger.Entry, receipts ...delivery.Receipt) string {
	t.Helper()
	for i := range receipts {
		receipts[i].File, receipts[i].Outcome = delivery.Ref(e, receipts[i].File.Index), delivery.Delivered
	}
	batch := delivery.EncodeBatch(receipts)
	key := delivery.BatchKey(e.Log(), e.Seq, batch)
	Put(t, staging, key, batch)
	return key
}
