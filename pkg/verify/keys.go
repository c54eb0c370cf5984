package verify

import (
	"strconv"
	"strings"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
)

// receiptEntrySeq returns the entry to which a key below receipts/{log}/ belongs; ok is false if
// there can be no such entry.
func receiptEntrySeq(l ledger.Log, key string) (seq int64, ok bool) {
	rest, _ := strings.CutPrefix(key, receiptsPrefix(l))
	number, _, _ := strings.Cut(rest, "/")
	seq, err := strconv.ParseInt(number, 10, 64)
	return seq, err == nil && seq >= 0 && strings.HasPrefix(key, delivery.ReceiptPrefix(l, seq))
}

// receiptsPrefix is the prefix of all receipts of a chain, which are in the order of entries.
func receiptsPrefix(l ledger.Log) string { return "receipts/" + l.String() + "/" }
