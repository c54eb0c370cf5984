package auditor

import (
	"context"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
)

// receiptSet holds the receipts of one entry.
type receiptSet map[pairKey]*closing

// pairKey identifies a pair within an entry.
type pairKey struct {
	index       int
	destination string
}

// closing is what a receipt says.
type closing struct {
	outcome delivery.Outcome
	at      int64 // when it was stored, unix ms
}

func (s receiptSet) get(index int, dest string) *closing { return s[pairKey{index, dest}] }

// listReceipts lists the receipts of an entry.
func listReceipts(ctx context.Context, staging objstore.Store, e *ledger.Entry) (receiptSet, error) {
	s := receiptSet{}
	prefix := delivery.ReceiptPrefix(e.Log(), e.Seq)
	for info, err := range objstore.All(ctx, staging, prefix) {
		if err != nil {
			return s, err
		}
		index, dest, ok := delivery.ParseReceiptKey(prefix, info.Key)
		if !ok {
			continue
		}
		c := &closing{outcome: delivery.Delivered, at: info.LastModified.UnixMilli()}
		if index < len(e.Files) && info.Size < delivery.LeastDelivered(delivery.Ref(e, index), dest, &e.Files[index]) {
			if c.outcome, err = readOutcome(ctx, staging, info.Key); err != nil {
				return s, err
			}
		}
		s[pairKey{index, dest}] = c
	}
	return s, nil
}

// maxReceipt is more than the size of any receipt.
const maxReceipt = 64 << 10 // 64 KiB

// readOutcome reads a receipt that is too short to name an object.
func readOutcome(ctx context.Context, staging objstore.Store, key string) (delivery.Outcome, error) {
	b, err := objstore.Read(ctx, staging, key, maxReceipt)
	return outcomeOf(b), err
}

// outcomeOf returns the outcome that a receipt states. A receipt that is not understood still
// closes its debt, as everywhere; `sealift verify` reports what is wrong with it.
func outcomeOf(b []byte) delivery.Outcome {
	r, err := delivery.DecodeReceipt(b)
	if err != nil {
		return delivery.Delivered
	}
	return r.Outcome
}

// pairs returns the owed pairs of the entry.
func (s receiptSet) pairs(e *ledger.Entry) []pair {
	ps := make([]pair, 0, e.Debts())
	for i := range e.Files {
		f := &e.Files[i]
		for _, dest := range f.Owed {
			ps = append(ps, pair{destination: dest, owed: owedFile(e.Seq, i, f), receipt: s.get(i, dest)})
		}
	}
	return ps
}
