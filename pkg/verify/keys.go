package verify

import (
	"math"
	"strconv"
	"strings"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
)

// parseEntryKey is the inverse of ledger.EntryKey; ok is false for any key
// that it does not give.
func parseEntryKey(key string) (l ledger.Log, seq int64, ok bool) {
	part := strings.Split(key, "/")
	if len(part) != 5 || part[1] == "" || part[2] == "" {
		return ledger.Log{}, 0, false
	}
	p, err1 := strconv.Atoi(part[3])
	n, err2 := strconv.ParseInt(strings.TrimSuffix(part[4], ".json"), 10, 64)
	l = ledger.Log{Topic: part[1], Incarnation: part[2], Partition: p}
	return l, math.MaxInt64 - n, err1 == nil && err2 == nil && n >= 0 && ledger.EntryKey(l, math.MaxInt64-n) == key
}

// parseReceiptKey reads the entry, file and destination of a receipt's key
// below receipts/{log}/; ok is false for any key that delivery.ReceiptKey does
// not give.
func parseReceiptKey(l ledger.Log, key string) (ref delivery.FileRef, destination string, ok bool) {
	rest, below := strings.CutPrefix(key, receiptsPrefix(l))
	number, _, _ := strings.Cut(rest, "/")
	seq, err := strconv.ParseInt(number, 10, 64)
	if !below || err != nil || seq < 0 {
		return delivery.FileRef{}, "", false
	}
	index, destination, ok := delivery.ParseReceiptKey(delivery.ReceiptPrefix(l, seq), key)
	ref = delivery.FileRef{Topic: l.Topic, Incarnation: l.Incarnation, Partition: l.Partition, Seq: seq, Index: index}
	return ref, destination, ok
}

// receiptsPrefix lists all receipts of a chain, by entry.
func receiptsPrefix(l ledger.Log) string { return "receipts/" + l.String() + "/" }
