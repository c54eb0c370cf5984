package auditor

import (
	"context"
	"errors"
	"slices"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
)

// Debts are the files of a chain that were not delivered when it was last audited. They give the
// size of such a file without reading its entry, which names hundreds of others.
type Debts struct {
	accounts accounts
}

// ReadDebts reads the debts of a chain with three requests. They are empty if no audit noted any.
func ReadDebts(ctx context.Context, staging objstore.Store, l ledger.Log) (Debts, error) {
	h, _, err := currentHint(ctx, staging, ledger.NewChain(staging, l))
	if errors.Is(err, ledger.ErrEmpty) {
		return Debts{}, nil
	}
	if err != nil {
		return Debts{}, err
	}
	return Debts{h.Accounts}, nil
}

// Size returns the size of a file that is owed to a destination; ok is false if it is not among the
// debts.
func (d Debts) Size(ref delivery.FileRef, destination string) (size Sum, ok bool) {
	a := d.accounts[destination]
	if a == nil {
		return Sum{}, false
	}
	i, ok := slices.BinarySearchFunc(a.Debts, owedFile{ref.Seq, int64(ref.Index)}, compareOwed)
	if !ok {
		return Sum{}, false
	}
	return a.Debts[i].sum(), true
}
