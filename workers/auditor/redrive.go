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
		if err := a.parkedReads.load(ctx, a.deps.Staging, time.Now()); err != nil {
			return 0, err
		}
	}
	s := a.deps.Catalog.Snapshot()
	unread, latest := a.parkedReads.unread(p, func(dest string) bool { return stateOf(s, dest) == enabled })
	var redriven int64
	var errs []error
	for chunk := range slices.Chunk(unread, jobsPerBatch) {
		parked, err := a.readHeldByCatalog(ctx, chunk)
		if err != nil {
			return redriven, errors.Join(append(errs, err)...)
		}
		n, err := a.enqueueUnparked(ctx, p, parked)
		redriven += int64(n)
		if err != nil {
			errs = append(errs, err)
			if n == 0 { // otherwise only single notes failed, which hold up no others
				break
			}
		}
	}
	if len(errs) == 0 { // otherwise all of them are read again
		if b := a.parkedReads.markRead(latest, time.Now()); b != nil && !a.cfg.DryRun {
			errs = append(errs, storeParkedReads(ctx, a.deps.Staging, b))
		}
	}
	return redriven, errors.Join(errs...)
}

// readHeldByCatalog reads parked jobs and returns those that only the catalog held back.
func (a *Auditor) readHeldByCatalog(ctx context.Context, unread []debt) ([]delivery.Parked, error) {
	notes := make([]delivery.Parked, len(unread))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(entriesAtOnce)
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

// enqueueUnparked enqueues jobs anew, takes those that succeeded out of the set, and returns how
// many.
func (a *Auditor) enqueueUnparked(ctx context.Context, p *parkedSet, parked []delivery.Parked) (int, error) {
	enqueued, err := parked, error(nil)
	if !a.cfg.DryRun && len(parked) > 0 {
		enqueued, err = job.Redrive(ctx, a.deps.Staging, a.deps.Jobs, parked)
	}
	for _, n := range enqueued {
		p.remove(n.Job.File, n.Job.Destination)
	}
	if a.cfg.DryRun || len(enqueued) == 0 {
		return len(enqueued), err
	}
	a.metrics.redriven.Add(float64(len(enqueued)))
	a.deps.Log.InfoContext(ctx, "destinations are back: parked jobs are tried again", "jobs", len(enqueued), "first", enqueued[0].Job.Destination)
	for _, n := range enqueued {
		// This only saves a second job.
		if a.deps.Leases == nil || a.deps.Leases.Mark(ctx, delivery.QueuedMarker(n.Job.File, n.Job.Destination), a.cfg.Every*3/2) != nil {
			break
		}
	}
	return len(enqueued), err
}

// catalogSpreadTime is the time within which a change of the catalog reaches all copiers: one that
// does not know it yet would park the jobs again.
const catalogSpreadTime = 15 * time.Second

// watchCatalog redrives what is parked for destinations that have become enabled, once all copiers
// know that, until ctx ends. The next audit makes up for failures.
//
// At the start these are all enabled destinations, because nobody knows what changed while no
// auditor was running. The catalog is looked at as soon as it changes, even during a redrive,
// because jobs may have been parked for a destination that was disabled only for a moment.
func (a *Auditor) watchCatalog(ctx context.Context) {
	var work sync.WaitGroup
	defer work.Wait()
	dueAt := map[string]time.Time{}
	for {
		changed := a.deps.Catalog.Changed()
		due, next := a.dueDestinations(dueAt, time.Now())
		if len(due) > 0 {
			work.Go(func() {
				if err := a.redriveDestinations(ctx, due); err != nil && ctx.Err() == nil {
					a.deps.Log.WarnContext(ctx, "parked jobs of destinations that are back wait for the next audit", "err", err)
				}
			})
		}
		var timer <-chan time.Time
		if !next.IsZero() {
			timer = time.After(time.Until(next))
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-timer:
		}
	}
}

// dueDestinations returns the destinations to look at now, and the time of the next look; zero:
// there is none. dueAt has, for each enabled destination, when to look at what is parked for it, or
// zero if that is done.
func (a *Auditor) dueDestinations(dueAt map[string]time.Time, now time.Time) (due []string, next time.Time) {
	current := a.enabledDestinations()
	maps.DeleteFunc(dueAt, func(id string, _ time.Time) bool { return !current[id] })
	at := now.Add(catalogSpreadTime + jitter.N(catalogSpreadTime/3))
	for id := range current {
		destDue, known := dueAt[id]
		switch {
		case !known:
			destDue = at
			dueAt[id] = destDue
		case destDue.IsZero():
			continue
		case !now.Before(destDue):
			due, dueAt[id] = append(due, id), time.Time{}
			continue
		}
		if next.IsZero() || destDue.Before(next) {
			next = destDue
		}
	}
	return due, next
}

// redriveDestinations redrives what is parked for these destinations.
func (a *Auditor) redriveDestinations(ctx context.Context, destinations []string) error {
	if len(destinations) > 100 {
		destinations = []string{""} // lists all of them, with fewer requests
	}
	p := newParkedSet()
	for _, id := range destinations {
		if err := a.listParked(ctx, p, id); err != nil {
			return err
		}
	}
	_, err := a.redrive(ctx, p)
	return err
}

func (a *Auditor) enabledDestinations() map[string]bool {
	s, ids := a.deps.Catalog.Snapshot(), map[string]bool{}
	for _, t := range s.Destinations() {
		if stateOf(s, t.ID) == enabled {
			ids[t.ID] = true
		}
	}
	return ids
}
