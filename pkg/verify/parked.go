package verify

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
)

// parkedSet has the keys of parked jobs for which no debt was seen yet.
type parkedSet struct {
	mu   sync.Mutex // guards keys
	keys map[string]struct{}
}

func listParked(ctx context.Context, staging objstore.Store) (*parkedSet, error) {
	p := &parkedSet{keys: map[string]struct{}{}}
	for info, err := range objstore.All(ctx, staging, delivery.ParkedPrefix("")) {
		if err != nil {
			return nil, fmt.Errorf("list parked jobs: %w", err)
		}
		p.keys[info.Key] = struct{}{}
	}
	return p, nil
}

// take reports whether the debt is parked, and removes its key.
func (p *parkedSet) take(ref delivery.FileRef, destination string) bool {
	key := delivery.ParkedKey(ref, destination)
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.keys[key]
	delete(p.keys, key)
	return ok
}

// checkStrayParked checks the parked jobs of this ledger for which no debt was seen. With
// Config.Source these are all jobs of other sources, which may be a hundred thousand: in the order
// of keys, each entry is read once for a destination.
func (v *verifier) checkStrayParked(ctx context.Context) error {
	entries := ledger.NewCache(v.staging, 100_000, nil)
	for _, key := range slices.Sorted(maps.Keys(v.parked.keys)) {
		ref, dest, ok := delivery.ParseParkedKey(key)
		if ok && (!v.includesLog(ref.Log()) || !v.includesDestination(dest)) {
			continue
		}
		problem := "its key is that of no parked job"
		if ok {
			var err error
			if problem, err = v.strayParkedProblem(ctx, entries, ref, dest); err != nil {
				return err
			}
		}
		if problem == "" {
			continue
		}
		_, err := v.staging.Head(ctx, key)
		switch {
		case errors.Is(err, objstore.ErrNotFound): // redriven meanwhile
		case err != nil:
			return err
		default:
			v.report.addProblem(BadParked, key, "%s", problem)
		}
	}
	return nil
}

// strayParkedProblem says what is wrong with a parked job, or nothing.
func (v *verifier) strayParkedProblem(ctx context.Context, entries *ledger.Cache, ref delivery.FileRef, dest string) (string, error) {
	e, err := entries.Entry(ctx, ref.Log(), ref.Seq)
	switch {
	case errors.Is(err, ledger.ErrNotFound) && v.damaged[ref.Log()]:
		return "", nil // reported for the chain
	case errors.Is(err, ledger.ErrNotFound) || err == nil && ref.Index >= len(e.Files):
		return "the ledger has no such file", nil
	case errors.Is(err, ledger.ErrCorrupt):
		return "", nil // reported for the entry
	case err != nil:
		return "", err
	case !slices.Contains(e.Files[ref.Index].Owed, dest):
		return "the ledger does not owe the file to the destination", nil
	}
	return "", nil // of another source, or of an entry that was written meanwhile
}
