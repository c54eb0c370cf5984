package auditor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sealift/sealift/pkg/lease"
	"github.com/sealift/sealift/pkg/ledger"
)

// round is one audit of all chains.
//
// If there are several auditors, one of them walks each chain, and exports the metrics of the
// chains that it walked last. A scheduled audit that finds a chain audited by another drops its own
// metrics of it. An audit on demand must not keep the scheduled one from its work, since nobody
// sees its metrics.
type round struct {
	*Auditor
	scheduled    bool
	parked       *parkedSet
	orders       *replays
	garbageTime  time.Duration // time left for deleting garbage; only used when scheduled
	orphanTime   time.Duration // time left for searching for orphans; only used when scheduled
	report       *Report
	walked       map[ledger.Log]bool
	heldByOthers []ledger.Log // chains that another auditor was still walking
}

// walkAll walks the chains one after another.
func (r *round) walkAll(ctx context.Context, logs []ledger.Log) (errs []error) {
	for i, log := range logs {
		if ctx.Err() != nil {
			return append(errs, ctx.Err())
		}
		if err := r.auditChain(ctx, log, len(logs)-i); err != nil {
			r.report.Failed++
			errs = append(errs, fmt.Errorf("audit ledger %s: %w", log, err))
		}
	}
	return errs
}

// auditChain audits a chain unless another auditor is auditing it, or just has. left is the number
// of chains, including this one, that share the remaining time for garbage.
func (r *round) auditChain(ctx context.Context, log ledger.Log, left int) error {
	release, claimed := r.claim(ctx, log)
	if !claimed {
		r.report.Skipped++
		return nil
	}
	defer release()
	w := newWalk(r.Auditor, log, r.parked, r.orders)
	if r.scheduled {
		w.allowed = allowance{garbage: max(1, r.garbageTime/time.Duration(left)), noOrphans: r.orphanTime <= 0}
	}
	err := w.run(ctx)
	if r.scheduled {
		r.garbageTime -= w.spent.garbage
		r.orphanTime -= w.spent.orphans
		r.behind[log] = w.report.Behind > 0
		switch {
		case w.orphansPutOff && r.orphansPutOffSince[log].IsZero():
			r.orphansPutOffSince[log] = w.now
		case !w.orphansPutOff && w.visitedAll: // otherwise it is not known whether the search is due
			delete(r.orphansPutOffSince, log)
		}
	}
	if !w.visitedAll {
		return err
	}
	r.walked[log] = true
	r.report.add(&w.report)
	r.metrics.recordChain(log, &w.report, r.cfg.DryRun)
	if err == nil && r.scheduled && r.deps.Leases != nil {
		_ = r.deps.Leases.Mark(ctx, auditedMarker(log), r.cfg.Every/2) // only saves work
		r.markedUntil[log] = time.Now().Add(r.cfg.Every / 2)
	}
	return err
}

func auditedMarker(l ledger.Log) string { return "audited/" + l.String() }

// claim reports whether we should audit the chain. On demand it only checks whether another auditor
// is at it, and takes no lease.
func (r *round) claim(ctx context.Context, log ledger.Log) (release func(), claimed bool) {
	release = func() {}
	if r.deps.Leases == nil || r.cfg.Force || r.cfg.DryRun {
		return release, true
	}
	name := "audit/" + log.String()
	if !r.scheduled {
		held, err := r.deps.Leases.Held(ctx, name)
		return release, err != nil || !held
	}
	if r.auditedByAnother(ctx, log) {
		return release, false
	}
	held, err := r.deps.Leases.Acquire(ctx, name, time.Minute)
	switch {
	case errors.Is(err, lease.ErrHeld):
		r.heldByOthers = append(r.heldByOthers, log)
		return release, false
	case err != nil:
		r.deps.Log.DebugContext(ctx, "auditing without a lease", "err", err)
		return release, true
	}
	return func() { _ = held.Release(context.WithoutCancel(ctx)) }, true
}

// auditedByAnother reports whether another auditor has finished a scheduled audit of the chain. If
// so, our metrics of it are dropped, because the other exports them. While our own marker is valid,
// as after an audit that took long, we cannot tell, and the chain is audited.
func (r *round) auditedByAnother(ctx context.Context, log ledger.Log) bool {
	if time.Now().Before(r.markedUntil[log]) {
		return false
	}
	done, err := r.deps.Leases.Marked(ctx, auditedMarker(log))
	if err != nil || !done {
		return false
	}
	r.metrics.forgetChain(log)
	return true
}

// recheckHeldByOthers checks again the chains that others were walking. If one is not done yet, our
// metrics of it are kept although they are old: no metrics would mean that everything is delivered.
func (r *round) recheckHeldByOthers(ctx context.Context) {
	for _, log := range r.heldByOthers {
		r.auditedByAnother(ctx, log)
	}
}
