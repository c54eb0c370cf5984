package verify

import (
	"context"
	"errors"
	"slices"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/receipt"
)

// recordSource records a file's source and the workspaces that it is owed to.
func (v *verifier) recordSource(f *ledger.File) {
	if v.sources[f.Source] == nil {
		v.sources[f.Source] = map[string]bool{}
	}
	for _, dest := range f.Owed {
		v.sources[f.Source][delivery.WorkspaceOf(dest)] = true
	}
}

// sourceMayGoTo reports whether a source's files may go to a destination: a source belongs to one
// workspace, which is not known if its files were never owed to anybody.
func (v *verifier) sourceMayGoTo(source, dest string) bool {
	workspaces := v.sources[source]
	return len(workspaces) == 0 || workspaces[delivery.WorkspaceOf(dest)]
}

// belongsIn reports whether the file's object belongs in the bucket: because the file is owed to
// the destination or ordered for it, or to another one of the same workspace that shares the place
// now, or did when the file was delivered, as its receipts tell. Destinations of two workspaces
// never share one.
//
// Invariant: I7.
func (o *file) belongsIn(ctx context.Context, b *bucket, key string, receipts func() (receipt.Set, error)) (bool, error) {
	if o.owedOrOrdered(b.id) {
		return true, nil
	}
	candidates := slices.Clone(o.f.Owed)
	for _, order := range o.orders {
		candidates = append(candidates, order.Destinations...)
	}
	for _, dest := range candidates {
		if delivery.WorkspaceOf(dest) != delivery.WorkspaceOf(b.id) || !o.owedOrOrdered(dest) {
			continue
		}
		if o.buckets.open(ctx, dest).site() == b.site() {
			return true, nil
		}
		set, err := receipts()
		if err != nil {
			return false, err
		}
		found, ok := set[receipt.PairOf(o.ref, dest)]
		if !ok {
			continue
		}
		for _, one := range allReceipts(found) {
			r, err := one.Read(ctx, o.verifier.staging)
			switch {
			case err == nil && r.Bucket == b.Name && r.Key == key:
				return true, nil
			case err != nil && !errors.Is(err, objstore.ErrNotFound) && !errors.Is(err, delivery.ErrBadReceipt):
				return false, err
			}
		}
	}
	return false, nil
}

// owedOrOrdered reports whether the file is owed to a destination, or a replay was ordered to put
// it to the same place.
func (o *file) owedOrOrdered(dest string) bool {
	return slices.Contains(o.f.Owed, dest) || slices.ContainsFunc(o.orders, func(order *delivery.Order) bool {
		return order.View == "" && order.Covers(o.e, o.f, dest)
	})
}
