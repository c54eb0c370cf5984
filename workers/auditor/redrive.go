package auditor

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/jitter"
	"github.com/sealift/sealift/pkg/job"
	"github.com/sealift/sealift/pkg/objstore"
)

// Jobs that were parked only because of the catalog are enqueued again when it has changed: their
// destination was enabled or put back, or its record was corrected. Jobs that wait for somebody to
// fix something at a customer stay parked: only a person knows when that is done.

// redrive enqueues the parked jobs that only waited for the catalog, and takes them out of the set.
// It returns how many.
func (a *Auditor) redrive(ctx context.Context, p *parkedSet) (int64, error) {
	if a.deps.Catalog == nil {
		return 0, nil
	}
	if !a.cfg.Full { // Full reads all of them
		if err := a.stays.load(ctx, a.deps.Staging, time.Now()); err != nil {
			return 0, err
		}
	}
	s := a.deps.Catalog.Snapshot()
	unread, latest := a.stays.unread(p, func(dest string) bool { return stateOf(s, dest) == enabled })
	var returned int64
	var stay []error
	for chunk := range slices.Chunk(unread, batchJobs) {
		parked, err := a.returning(ctx, chunk)
		if err != nil {
			return returned, errors.Join(append(stay, err)...)
		}
		n, err := a.enqueueReturned(ctx, p, parked)
		returned += int64(n)
		if err != nil {
			stay = append(stay, err)
			if n == 0 { // otherwise only single notes failed, which hold up no others
				break
			}
		}
	}
	if len(stay) == 0 { // otherwise all of them are read again
		if b := a.stays.looked(latest, time.Now()); b != nil && !a.cfg.DryRun {
			stay = append(stay, storeStays(ctx, a.deps.Staging, b))
		}
	}
	return returned, errors.Join(stay...)
}

// returning reads parked jobs and returns those that only the catalog held back.
func (a *Auditor) returning(ctx context.Context, unread []debt) ([]delivery.Parked, error) {
	notes := make([]delivery.Parked, len(unread))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i, d := range unread {
		group.Go(func() (err error) {
			notes[i], err = job.ReadNote(gctx, a.deps.Staging, delivery.ParkedKey(d.file, d.destination), time.Time{}) // a note that makes no sense is left to people
			if errors.Is(err, objstore.ErrNotFound) {
				return nil // somebody else was faster
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(notes, func(p delivery.Parked) bool { return !p.ByCatalog() }), nil
}

// enqueueReturned enqueues jobs anew, takes those that succeeded out of the set, and returns how
// many.
func (a *Auditor) enqueueReturned(ctx context.Context, p *parkedSet, parked []delivery.Parked) (int, error) {
	gone, err := parked, error(nil)
	if !a.cfg.DryRun && len(parked) > 0 {
		gone, err = job.Redrive(ctx, a.deps.Staging, a.deps.Jobs, parked)
	}
	for _, n := range gone {
		p.remove(n.Job.File, n.Job.Destination)
	}
	if a.cfg.DryRun || len(gone) == 0 {
		return len(gone), err
	}
	a.metrics.redriven.Add(float64(len(gone)))
	a.deps.Log.InfoContext(ctx, "destinations are back: parked jobs are tried again", "jobs", len(gone), "first", gone[0].Job.Destination)
	for _, n := range gone {
		// This only saves a second job.
		if a.deps.Leases == nil || a.deps.Leases.Mark(ctx, delivery.QueuedMarker(n.Job.File, n.Job.Destination), a.cfg.Every*3/2) != nil {
			break
		}
	}
	return len(gone), err
}

// catalogSpreads is the time within which a change of the catalog reaches all copiers: one that
// does not know it yet would park the jobs again.
const catalogSpreads = 15 * time.Second

// watchCatalog redrives what is parked for destinations that have become enabled, once all copiers
// know that, until ctx ends. The next audit makes up for failures.
//
// At the start these are all enabled destinations, because nobody knows what changed while no
// auditor was running. The catalog is looked at as soon as it changes, even during a redrive,
// because jobs may have been parked for a destination that was disabled only for a moment.
func (a *Auditor) watchCatalog(ctx context.Context) {
	var work sync.WaitGroup
	defer work.Wait()
	looks := map[string]time.Time{}
	for {
		changed := a.deps.Catalog.Changed()
		back, next := a.dueLooks(looks, time.Now())
		if len(back) > 0 {
			work.Go(func() {
				if err := a.redriveOf(ctx, back); err != nil && ctx.Err() == nil {
					a.deps.Log.WarnContext(ctx, "parked jobs of destinations that are back wait for the next audit", "err", err)
				}
			})
		}
		var due <-chan time.Time
		if !next.IsZero() {
			due = time.After(time.Until(next))
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-due:
		}
	}
}

// dueLooks returns the destinations to look at now, and the time of the next look; zero: there is
// none. looks has, for each enabled destination, when to look at what is parked for it, or zero if
// that is done.
func (a *Auditor) dueLooks(looks map[string]time.Time, now time.Time) (due []string, next time.Time) {
	are := a.enabledDestinations()
	maps.DeleteFunc(looks, func(id string, _ time.Time) bool { return !are[id] })
	at := now.Add(catalogSpreads + jitter.N(catalogSpreads/3))
	for id := range are {
		look, known := looks[id]
		switch {
		case !known:
			look = at
			looks[id] = look
		case look.IsZero():
			continue
		case !now.Before(look):
			due, looks[id] = append(due, id), time.Time{}
			continue
		}
		if next.IsZero() || look.Before(next) {
			next = look
		}
	}
	return due, next
}

// redriveOf redrives what is parked for these destinations.
func (a *Auditor) redriveOf(ctx context.Context, destinations []string) error {
	if len(destinations) > 100 {
		destinations = []string{""} // lists all of them, with fewer requests
	}
	p := newParkedSet()
	for _, id := range destinations {
		if err := a.listParkedOf(ctx, p, id); err != nil {
			return err
		}
	}
	_, err := a.redrive(ctx, p)
	return err
}

func (a *Auditor) enabledDestinations() map[string]bool {
	s, ids := a.deps.Catalog.Snapshot(), map[string]bool{}
	for _, w := range s.Workspaces() {
		for _, d := range w.Destinations {
			if id := w.ID + "/" + d.Name; stateOf(s, id) == enabled {
				ids[id] = true
			}
		}
	}
	return ids
}
