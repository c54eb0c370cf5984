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
// Of two auditors one walks a chain, and each has the metrics of those that it
// walked last. A scheduled audit that finds a chain done by another's gives up
// its metrics of it; one on demand, whose metrics nobody sees, must not keep the
// scheduled one from its work.
type round struct {
	*Auditor
	scheduled bool
	parked    *parkedSet
	orders    *replays
	garbage   time.Duration // what is left of the time for garbage; only used when scheduled
	orphans   time.Duration // of that to look for orphans in, likewise
	report    *Report
	walked    map[ledger.Log]bool
	held      []ledger.Log // by another auditor, which was not done with them
}

// walkAll walks the chains one after another.
func (r *round) walkAll(ctx context.Context, logs []ledger.Log) (errs []error) {
	for i, log := range logs {
		if ctx.Err() != nil {
			return append(errs, ctx.Err())
		}
		if err := r.one(ctx, log, len(logs)-i); err != nil {
			r.report.Failed++
			errs = append(errs, fmt.Errorf("audit ledger %s: %w", log, err))
		}
	}
	return errs
}

// one audits a chain unless another auditor does, or just did. Left is how many
// there are still, with this one, to share the time for garbage.
func (r *round) one(ctx context.Context, log ledger.Log, left int) error {
	release, ours := r.claim(ctx, log)
	if !ours {
		r.report.Skipped++
		return nil
	}
	defer release()
	w := newWalk(r.Auditor, log, r.parked, r.orders)
	if r.scheduled {
		w.allowed = allowance{garbage: max(1, r.garbage/time.Duration(left)), noOrphans: r.orphans <= 0}
	}
	err := w.run(ctx)
	if r.scheduled {
		r.garbage -= w.spent.garbage
		r.orphans -= w.spent.orphans
		r.behind[log] = w.report.Behind > 0
		switch {
		case w.putOff && r.putOff[log].IsZero():
			r.putOff[log] = w.now
		case !w.putOff && w.whole: // otherwise it was not asked whether the look is due
			delete(r.putOff, log)
		}
	}
	if !w.whole {
		return err
	}
	r.walked[log] = true
	r.report.add(&w.report)
	r.metrics.chain(log, &w.report, r.cfg.DryRun)
	if err == nil && r.scheduled && r.deps.Leases != nil {
		_ = r.deps.Leases.Mark(ctx, auditedMarker(log), r.cfg.Every/2) // only saves work
		r.marked[log] = time.Now().Add(r.cfg.Every / 2)
	}
	return err
}

func auditedMarker(l ledger.Log) string { return "audited/" + l.String() }

// claim reports whether the chain is ours to audit. On demand it only looks
// whether another auditor has it.
func (r *round) claim(ctx context.Context, log ledger.Log) (release func(), ours bool) {
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
		r.held = append(r.held, log)
		return release, false
	case err != nil:
		r.deps.Log.DebugContext(ctx, "auditing without a lease", "err", err)
		return release, true
	}
	return func() { _ = held.Release(context.WithoutCancel(ctx)) }, true
}

// auditedByAnother reports whether another scheduled audit of the chain is over,
// and then forgets its metrics, which the other has. While a marker of ours
// stands, as after an audit that took long, there is no telling, and the chain
// is audited.
func (r *round) auditedByAnother(ctx context.Context, log ledger.Log) bool {
	if time.Now().Before(r.marked[log]) {
		return false
	}
	done, err := r.deps.Leases.Marked(ctx, auditedMarker(log))
	if err != nil || !done {
		return false
	}
	r.metrics.forget(log)
	return true
}

// handOver looks again at the chains that others had in work. Of one that is not
// done yet the metrics stay, old as they are: to have none means that all is
// delivered.
func (r *round) handOver(ctx context.Context) {
	for _, log := range r.held {
		r.auditedByAnother(ctx, log)
	}
}
