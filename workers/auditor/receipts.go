package auditor

import (
	"context"
	"fmt"
	"time"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
)

// receiptSet holds the receipts of one entry.
type receiptSet struct {
	of     map[string]bool // "index/destination"
	latest time.Time
}

func (s receiptSet) has(index int, dest string) bool {
	return s.of[fmt.Sprintf("%d/%s", index, dest)]
}

// receipts lists the receipts of an entry.
func (w *walk) receipts(ctx context.Context, e *ledger.Entry) (receiptSet, error) {
	s := receiptSet{of: map[string]bool{}}
	prefix := delivery.ReceiptPrefix(w.log, e.Seq)
	for info, err := range objstore.All(ctx, w.deps.Staging, prefix) {
		if err != nil {
			return s, err
		}
		if index, dest, ok := delivery.ParseReceiptKey(prefix, info.Key); ok {
			s.of[fmt.Sprintf("%d/%s", index, dest)] = true
			if info.LastModified.After(s.latest) {
				s.latest = info.LastModified
			}
		}
	}
	return s, nil
}

// complete reports whether every debt of the entry is closed.
func (s receiptSet) complete(e *ledger.Entry) bool {
	for i := range e.Files {
		for _, dest := range e.Files[i].Owed {
			if !s.has(i, dest) {
				return false
			}
		}
	}
	return true
}
