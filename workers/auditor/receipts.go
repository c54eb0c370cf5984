package auditor

import (
	"context"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/receipt"
)

// receiptInfo is what a receipt says.
type receiptInfo struct {
	outcome delivery.Outcome
	at      int64 // when the debt's first receipt was stored, unix ms
}

// loadPairs returns the owed pairs of an entry with their receipts, in the order of files.
func loadPairs(ctx context.Context, staging objstore.Store, e *ledger.Entry, receipts receipt.Set) ([]pair, error) {
	ps := make([]pair, 0, e.Debts())
	for i := range e.Files {
		f := &e.Files[i]
		for _, dest := range f.Owed {
			p := pair{destination: dest, owedFile: newOwedFile(e.Seq, i, f)}
			if err := p.loadReceipt(ctx, staging, e, receipts); err != nil {
				return nil, err
			}
			ps = append(ps, p)
		}
	}
	return ps, nil
}

// loadReceipt adds the pair's receipt, if there is one. e is nil if the entry was not read.
func (p *pair) loadReceipt(ctx context.Context, staging objstore.Store, e *ledger.Entry, receipts receipt.Set) error {
	found, ok := receipts[p.key()]
	if !ok {
		return nil
	}
	outcome, err := found.Outcome(ctx, staging, p.key(), e)
	p.receipt = &receiptInfo{outcome: outcome, at: found.StoredAt.UnixMilli()}
	return err
}

func (p *pair) key() receipt.Pair {
	return receipt.Pair{Index: p.index(), Destination: p.destination}
}
