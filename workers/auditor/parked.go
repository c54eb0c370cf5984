package auditor

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
)

// parkedSet are the parked jobs, by key.
type parkedSet struct {
	mu    sync.Mutex // guards the notes' open
	notes map[string]*parkedNote
}

type parkedNote struct {
	at   time.Time // when it was stored
	open bool      // its debt was found open in this audit
}

func newParkedSet() *parkedSet { return &parkedSet{notes: map[string]*parkedNote{}} }

// listParkedOf adds the parked jobs of a destination, or of all for "".
func (a *Auditor) listParkedOf(ctx context.Context, p *parkedSet, destination string) error {
	for info, err := range objstore.All(ctx, a.deps.Staging, delivery.ParkedPrefix(destination)) {
		if err != nil {
			return err
		}
		p.notes[info.Key] = &parkedNote{at: info.LastModified}
	}
	return nil
}

// missing reports whether a debt, which has no receipt, is parked.
func (p *parkedSet) missing(key string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.notes[key]
	if n != nil {
		n.open = true
	}
	return n != nil
}

// sweepParked deletes the parked jobs whose debts were closed in the meantime,
// as by a second job for the same debt. Of the debts of a chain that was not
// walked nothing is known, and to ask for each would take too long: whoever walks
// it does.
func (a *Auditor) sweepParked(ctx context.Context, p *parkedSet, walked map[ledger.Log]bool) error {
	if a.cfg.DryRun {
		return nil
	}
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(p.notes)) {
		ref, dest, ok := delivery.ParseParkedKey(key)
		if p.notes[key].open || !ok || !walked[ref.Log()] {
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
