package verify

import (
	"strconv"
	"strings"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
)

// parseReceiptKey parses the entry, file and destination out of a receipt's key below
// receipts/{log}/; ok is false for any key that delivery.ReceiptKey does not produce.
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

// receiptsPrefix is the prefix of all receipts of a chain, which are in the order of entries.
func receiptsPrefix(l ledger.Log) string { return "receipts/" + l.String() + "/" }
