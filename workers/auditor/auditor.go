// Package auditor is the role that makes sure that nothing owed is forgotten: it walks the ledger,
// compares what is owed with the receipts, and enqueues a copy job for what has neither a receipt
// nor a job (I10). It also deletes staged files that have been kept for long enough (I4), and those
// that no ledger entry can ever name (I11). Jobs that were parked only because of their
// destination's state in the catalog are enqueued again when that has changed.
//
// It is correct whatever Redis, the job topic or its own notes have lost: everything that it acts
// on was read from the ledger and the receipts. Several auditors at once are harmless. It delivers
// nothing itself, and leaves all other parked jobs to people.
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
	Minute int           // the minute of the hour; only used when Every is 1h
	Grace  time.Duration // younger entries are left alone, unless Force is set; 0: no entry is
	Retain time.Duration // delivered staged files are kept this long; default 168h
	// Full audits every chain from its first entry, whatever earlier audits noted, and looks for
	// orphans.
	Full bool
	// Force audits even what another auditor is auditing or has just audited. It also enqueues jobs
	// that a retry tier may still hold, and jobs of entries younger than Grace.
	Force bool
	// DryRun enqueues and deletes nothing, and notes nothing.
	DryRun bool
}

// Deps are what an auditor works with.
type Deps struct {
	Staging objstore.Store
	Jobs    job.Producer
	Leases  *lease.Client // nil: every auditor does all the work
	// Unowned returns the partitions of the events topic that are assigned to no appender; nil:
	// they are not watched.
	Unowned func(ctx context.Context) ([]int, error)
	// Catalog tells which destinations are enabled, disabled or gone. nil: reports do not say, and
	// parked jobs stay parked.
	Catalog *catalog.Live
	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// Auditor is the role. Audit may be called at any time, also while it runs.
type Auditor struct {
	cfg         Config
	deps        Deps
	metrics     *metrics
	parkedReads parkedReads
	otherTopics sync.Map // topics that are not audited and for which that was logged
	// idleVisits is minIdleVisits, except in tests.
	idleVisits int
	// Used by scheduled audits, which never run concurrently:
	markedUntil        map[ledger.Log]time.Time // when our marker of each chain that we audited expires
	behind             map[ledger.Log]bool      // chains with garbage that there was no time to delete
	orphansPutOffSince map[ledger.Log]time.Time // since when a chain's search for orphans has been put off for lack of time
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
	return &Auditor{
		idleVisits: minIdleVisits, cfg: cfg, deps: deps, metrics: newMetrics(deps.Metrics), parkedReads: parkedReads{readUntil: map[string]int64{}},
		markedUntil: map[ledger.Log]time.Time{}, behind: map[ledger.Log]bool{}, orphansPutOffSince: map[ledger.Log]time.Time{},
	}, nil
}

// Run audits when it is time, and watches the owners of the partitions and the catalog, until ctx
// ends; it returns nil. A failed audit is logged, and the next one makes up for it.
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
		timer := time.NewTimer(time.Until(a.nextAudit(time.Now())))
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

// nextAudit returns the time of the next audit: at Minute of every hour, or Every after now. A
// random delay is added so that auditors do not coincide.
func (a *Auditor) nextAudit(now time.Time) time.Time {
	if a.cfg.Every != time.Hour {
		return now.Add(a.cfg.Every + jitter.N(a.cfg.Every/10+1))
	}
	at := now.UTC().Truncate(time.Hour).Add(time.Duration(a.cfg.Minute) * time.Minute)
	if !at.After(now) {
		at = at.Add(time.Hour)
	}
	return at.Add(jitter.N(time.Minute))
}

// Audit audits all chains once, now. The report covers what could be audited; the error joins the
// errors of the chains that could not.
func (a *Auditor) Audit(ctx context.Context) (Report, error) { return a.audit(ctx, false) }

func (a *Auditor) audit(ctx context.Context, scheduled bool) (Report, error) {
	r := newReport(time.Now())
	err := a.auditAll(ctx, scheduled, r)
	r.finish(time.Now(), a.deps.Catalog)
	a.metrics.recordAudit(r, err)
	return *r, err
}

func (a *Auditor) auditAll(ctx context.Context, scheduled bool, r *Report) error {
	logs, err := ledger.FindLogs(ctx, a.deps.Staging, "", "", func(key string) {
		a.deps.Log.WarnContext(ctx, "object below ledger/ is no entry, and is passed over: find out who wrote it, and delete it", "key", key)
	})
	if err != nil {
		return err
	}
	logs = a.withoutOtherTopics(ctx, logs)
	parked := newParkedSet()
	if err := a.listParked(ctx, parked, ""); err != nil {
		return err
	}
	orders, err := a.listReplays(ctx)
	if err != nil {
		return err
	}
	round := &round{Auditor: a, scheduled: scheduled, parked: parked, orders: orders, report: r, walked: map[ledger.Log]bool{}}
	if scheduled {
		round.garbageTime, round.orphanTime = a.cfg.Every/2, a.cfg.Every/4
		slices.SortStableFunc(logs, func(x, y ledger.Log) int { return cmp.Compare(a.scheduleRank(x), a.scheduleRank(y)) })
	}
	errs := round.walkAll(ctx, logs)
	// After the walks, so that missing jobs are not delayed by reading everything parked (I10).
	r.Redriven, err = a.redrive(ctx, parked)
	errs = append(errs, err, a.sweepParked(ctx, parked, round.walked), orders.sweep(ctx, time.Now().Add(a.sweepBudget(scheduled))))
	round.recheckHeldByOthers(ctx)
	a.foldRequests(ctx) // last: nothing waits for it, and there may be weeks of pages
	return errors.Join(errs...)
}

// withoutOtherTopics returns the chains of the topic, including those of former incarnations, which
// may still owe something. For every other topic it logs once that its chains are not audited.
func (a *Auditor) withoutOtherTopics(ctx context.Context, logs []ledger.Log) []ledger.Log {
	return slices.DeleteFunc(logs, func(l ledger.Log) bool {
		if l.Topic == a.cfg.Topic {
			return false
		}
		if _, logged := a.otherTopics.LoadOrStore(l.Topic, true); !logged {
			a.deps.Log.WarnContext(ctx, "the ledger of another topic is not audited: what it owes is not enqueued again, and its staged files stay. "+
				"If kafka.events_topic was changed, run `sealift --set kafka.events_topic=TOPIC audit` until it owes nothing", "topic", l.Topic)
		}
		return true
	})
}

// scheduleRank sorts chains for a scheduled audit. Those whose search for orphans was put off come
// first, longest wait first; otherwise the searches of others would be due again before their turn.
// Those that are behind with their garbage come last, because they get all the time that the others
// leave.
func (a *Auditor) scheduleRank(l ledger.Log) int64 {
	since, waits := a.orphansPutOffSince[l]
	switch {
	case a.behind[l]:
		return math.MaxInt64
	case waits:
		return since.UnixNano()
	}
	return math.MaxInt64 - 1
}

// foldRequests folds copiers' pages of request counts so that they do not pile up. A failure does
// not fail the audit, because nothing is decided by them.
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

// isQueued reports whether a job for the debt is known to be waiting in a topic.
func (a *Auditor) isQueued(ctx context.Context, ref delivery.FileRef, dest string) (bool, error) {
	if a.cfg.Force {
		return false, nil
	}
	return a.deps.Leases.Marked(ctx, delivery.QueuedMarker(ref, dest))
}
