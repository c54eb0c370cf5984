package auditor

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

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

// listing is what is listed of an entry's receipts.
type listing struct {
	objects []objstore.Info
	digest  string // the same only if no object was added, deleted or stored again
}

func listReceipts(ctx context.Context, staging objstore.Store, l ledger.Log, seq int64) (listing, error) {
	var found listing
	sum := sha256.New()
	for info, err := range objstore.All(ctx, staging, delivery.ReceiptPrefix(l, seq)) {
		if err != nil {
			return listing{}, err
		}
		found.objects = append(found.objects, info)
		fmt.Fprintf(sum, "%q %q %d\n", info.Key, info.ETag, info.LastModified.UnixMilli())
	}
	found.digest = hex.EncodeToString(sum.Sum(nil)[:16])
	return found, nil
}

// read reads the receipts, atOnce batches at a time. understood means that all objects were: what
// one of them closes may become known later, for instance to a later release.
func (r listing) read(ctx context.Context, staging objstore.Store, l ledger.Log, seq int64, atOnce int) (set receipt.Set, understood bool, err error) {
	understood = true
	set, err = receipt.FromListing(ctx, staging, l, seq, r.objects, atOnce, func(string, error) { understood = false })
	return set, understood, err
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
