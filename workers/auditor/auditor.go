// Package auditor is the role that makes sure that nothing owed is forgotten:
// it walks the ledger, compares what is owed against the receipts, and
// enqueues a copy job for what has neither a receipt nor a job (I10). It also
// deletes staged files that have served their time (I4), and those that no
// ledger entry can ever name (I11). Jobs that were parked because of what the
// catalog said of their destination it enqueues when that is over.
//
// It is right whatever Redis, the job topic or its own notes lost: everything
// it acts upon it has read from the ledger and the receipts. Several auditors
// at once are harmless. It delivers nothing itself, and leaves all other parked
// jobs to people.
package auditor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/jitter"
	"github.com/sealift/sealift/pkg/job"
	"github.com/sealift/sealift/pkg/lease"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/meter"
	"github.com/sealift/sealift/pkg/objstore"
)

// Config says what is audited and when.
type Config struct {
	Topic  string        // the events topic; default sealift.events
	Every  time.Duration // default 1h
	Minute int           // of the hour; only used when Every is 1h
	Grace  time.Duration // younger entries are left alone, unless Force; 0: none are
	Retain time.Duration // delivered staged files are kept this long; default 168h
	// Full audits every chain from its first entry, whatever was noted of
	// former audits, and looks for garbage.
	Full bool
	// Force audits what another auditor has in work or just audited, and
	// enqueues jobs that a retry tier may still hold, also of entries younger
	// than Grace.
	Force bool
	// DryRun enqueues and deletes nothing, and notes nothing.
	DryRun bool
}

// Deps are what an auditor works with.
type Deps struct {
	Staging objstore.Store
	Jobs    job.Producer
	Leases  *lease.Client // nil: every auditor does all the work
	// Unowned returns the partitions of the events topic that no appender is
	// assigned; nil: nobody watches them.
	Unowned func(ctx context.Context) ([]int, error)
	// Catalog says which destinations are disabled or gone, or are back; nil:
	// reports do not, and parked jobs stay parked.
	Catalog *catalog.Live
	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// Auditor is the role. Audit may be called at any time, also while it runs.
type Auditor struct {
	cfg     Config
	deps    Deps
	metrics *metrics
	stays   stays
	others  sync.Map // topics that are not audited, and of which that was said
	// idleVisits is leastIdle, but in tests.
	idleVisits int
	// Of scheduled audits, of which there is one at a time:
	marked map[ledger.Log]time.Time // until when our markers stand, of chains that we audited
	behind map[ledger.Log]bool      // chains with garbage for which there was no time
	putOff map[ledger.Log]time.Time // since when chains wait for their look for orphans, for want of time
}

// New checks the configuration; it does not connect.
func New(cfg Config, deps Deps) (*Auditor, error) {
	cfg.Topic = cmp.Or(cfg.Topic, "sealift.events")
	cfg.Every = cmp.Or(cfg.Every, time.Hour)
	cfg.Retain = cmp.Or(cfg.Retain, 168*time.Hour)
	switch {
	case cfg.Every < time.Second:
		return nil, fmt.Errorf("auditor.every %s: use at least 1s", cfg.Every)
	case cfg.Minute < 0 || cfg.Minute > 59:
		return nil, fmt.Errorf("auditor.minute %d: use 0 to 59", cfg.Minute)
	case cfg.Grace < 0 || cfg.Retain < 0:
		return nil, errors.New("auditor.grace and staging.retain must not be negative")
	}
	m, err := newMetrics(deps.Metrics)
	if err != nil {
		return nil, err
	}
	return &Auditor{idleVisits: leastIdle, cfg: cfg, deps: deps, metrics: m, stays: stays{until: map[string]int64{}}, marked: map[ledger.Log]time.Time{}, behind: map[ledger.Log]bool{}, putOff: map[ledger.Log]time.Time{}}, nil
}

// Run audits when it is time, and watches the owners of the partitions and the
// catalog, until ctx ends; it returns nil. A failed audit is logged, and made good by the next.
func (a *Auditor) Run(ctx context.Context) error {
	var watch sync.WaitGroup
	defer watch.Wait()
	if a.deps.Unowned != nil {
		watch.Go(func() { a.watchOwners(ctx) })
	}
	if a.deps.Catalog != nil {
		watch.Go(func() { a.watchCatalog(ctx) })
	}
	for {
		timer := time.NewTimer(time.Until(a.next(time.Now())))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		r, err := a.audit(ctx, true)
		if ctx.Err() != nil {
			return nil
		}
		level := slog.LevelInfo
		if err != nil {
			level = slog.LevelError
		}
		a.deps.Log.Log(ctx, level, "audited", "report", r, "took", r.Took(), "err", err)
	}
}

// next returns when to audit after now: at the minute of every hour, or every
// so often, each a little later so that auditors do not meet.
func (a *Auditor) next(now time.Time) time.Time {
	if a.cfg.Every != time.Hour {
		return now.Add(a.cfg.Every + jitter.N(a.cfg.Every/10+1))
	}
	at := now.UTC().Truncate(time.Hour).Add(time.Duration(a.cfg.Minute) * time.Minute)
	if !at.After(now) {
		at = at.Add(time.Hour)
	}
	return at.Add(jitter.N(time.Minute))
}

// Audit audits all chains once, now. The report is of what could be audited;
// the error joins those of the chains that could not.
func (a *Auditor) Audit(ctx context.Context) (Report, error) { return a.audit(ctx, false) }

func (a *Auditor) audit(ctx context.Context, scheduled bool) (Report, error) {
	r := newReport(time.Now())
	err := a.auditAll(ctx, scheduled, r)
	r.finish(time.Now(), a.deps.Catalog)
	a.metrics.audited(r, err)
	return *r, err
}

func (a *Auditor) auditAll(ctx context.Context, scheduled bool, r *Report) error {
	logs, err := ledger.FindLogs(ctx, a.deps.Staging, "", "", func(key string) {
		a.deps.Log.WarnContext(ctx, "object below ledger/ is no entry, and is passed over: find out who wrote it, and delete it", "key", key)
	})
	if err != nil {
		return err
	}
	logs = a.audited(ctx, logs)
	parked := newParkedSet()
	if err := a.listParkedOf(ctx, parked, ""); err != nil {
		return err
	}
	orders, err := a.listReplays(ctx)
	if err != nil {
		return err
	}
	round := &round{Auditor: a, scheduled: scheduled, parked: parked, orders: orders, report: r, walked: map[ledger.Log]bool{}}
	if scheduled {
		round.garbage, round.orphans = a.cfg.Every/2, a.cfg.Every/4
		slices.SortStableFunc(logs, func(x, y ledger.Log) int { return cmp.Compare(a.order(x), a.order(y)) })
	}
	errs := round.walkAll(ctx, logs)
	// After the walks: what is missing does not wait until all that is parked was read (I10).
	r.Redriven, err = a.redrive(ctx, parked)
	errs = append(errs, err, a.sweepParked(ctx, parked, round.walked), orders.sweep(ctx, time.Now().Add(a.sweepTime(scheduled))))
	round.handOver(ctx)
	a.foldRequests(ctx) // last: nothing waits for it, and it may be weeks'
	return errors.Join(errs...)
}

// audited are the chains of the topic, of former incarnations, too: what they owe
// is owed. Of those of other topics it is said once that nobody audits them here.
func (a *Auditor) audited(ctx context.Context, logs []ledger.Log) []ledger.Log {
	return slices.DeleteFunc(logs, func(l ledger.Log) bool {
		if l.Topic == a.cfg.Topic {
			return false
		}
		if _, told := a.others.LoadOrStore(l.Topic, true); !told {
			a.deps.Log.WarnContext(ctx, "the ledger of another topic is not audited: what it owes is not enqueued again, and its staged files stay. "+
				"If kafka.events_topic was changed, run `sealift --set kafka.events_topic=TOPIC audit` until it owes nothing", "topic", l.Topic)
		}
		return true
	})
}

// order puts chains that are behind with their garbage last: they have all of the
// time that the others did not need. Those that wait for their look for orphans are
// first, by how long: others' are due again meanwhile.
func (a *Auditor) order(l ledger.Log) int64 {
	since, waits := a.putOff[l]
	switch {
	case a.behind[l]:
		return math.MaxInt64
	case waits:
		return since.UnixNano()
	}
	return math.MaxInt64 - 1
}

// foldRequests keeps copiers' pages from piling up. No audit fails for want of
// it: nothing is decided by them.
func (a *Auditor) foldRequests(ctx context.Context) {
	if a.cfg.DryRun {
		return
	}
	if err := meter.Fold(ctx, a.deps.Staging, a.deps.Log); err != nil && ctx.Err() == nil {
		a.deps.Log.WarnContext(ctx, "copiers' pages of requests stay", "err", err)
	}
}

// Ready returns nil if the staging bucket answers.
func (a *Auditor) Ready(ctx context.Context) error {
	_, err := a.deps.Staging.List(ctx, hintPrefix, "", 1)
	return err
}

// queued reports whether a job for the debt is known to wait in a topic.
func (a *Auditor) queued(ctx context.Context, ref delivery.FileRef, dest string) (bool, error) {
	if a.cfg.Force {
		return false, nil
	}
	return a.deps.Leases.Marked(ctx, delivery.QueuedMarker(ref, dest))
}
