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
	err := forEach(ctx, w.deps.Staging, prefix, func(info objstore.Info) error {
		if index, dest, ok := delivery.ParseReceiptKey(prefix, info.Key); ok {
			s.of[fmt.Sprintf("%d/%s", index, dest)] = true
			if info.LastModified.After(s.latest) {
				s.latest = info.LastModified
			}
		}
		return nil
	})
	return s, err
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

// forEach calls fn for every object with the prefix.
func forEach(ctx context.Context, store objstore.Store, prefix string, fn func(objstore.Info) error) error {
	for after := ""; ; {
		infos, err := store.List(ctx, prefix, after, 1000)
		if err != nil {
			return err
		}
		for _, info := range infos {
			if err := fn(info); err != nil {
				return err
			}
			after = info.Key
		}
		if len(infos) < 1000 {
			return nil
		}
	}
}
