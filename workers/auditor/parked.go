package auditor

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/objstore"
)

// parkedSet are the keys of parked jobs, with whether their debts were found
// open in this audit.
type parkedSet struct {
	mu   sync.Mutex // guards open
	open map[string]bool
}

func (a *Auditor) listParked(ctx context.Context) (*parkedSet, error) {
	p := &parkedSet{open: map[string]bool{}}
	for info, err := range objstore.All(ctx, a.deps.Staging, delivery.ParkedPrefix("")) {
		if err != nil {
			return nil, err
		}
		p.open[info.Key] = false
	}
	return p, nil
}

// missing reports whether a debt, which has no receipt, is parked.
func (p *parkedSet) missing(key string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, parked := p.open[key]; !parked {
		return false
	}
	p.open[key] = true
	return true
}

// sweepParked deletes the parked jobs whose debts were closed in the meantime,
// as by a second job for the same debt.
func (a *Auditor) sweepParked(ctx context.Context, p *parkedSet) error {
	if a.cfg.DryRun {
		return nil
	}
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(p.open)) {
		open := p.open[key]
		ref, dest, ok := delivery.ParseParkedKey(key)
		if open || !ok {
			continue
		}
		_, err := a.deps.Staging.Head(ctx, delivery.ReceiptKey(ref, dest))
		if errors.Is(err, objstore.ErrNotFound) {
			continue
		}
		if err == nil {
			err = a.deps.Staging.Delete(ctx, key)
		}
		if err != nil {
			errs = append(errs, err)
			if ctx.Err() != nil {
				break
			}
		}
	}
	return errors.Join(errs...)
}
