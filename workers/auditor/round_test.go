package auditor

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/lease"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore/objstoretest"
)

// Whatever else runs audits, what is known to be owed does not look delivered until another auditor
// exports the metrics of the chain.
func TestOtherAuditsDoNotHideWhatIsOwed(t *testing.T) {
	owed := func(t *testing.T, reg *prometheus.Registry) (n float64, reported bool) {
		n, reported = gather(t, reg)["sealift_auditor_destination_parked_files"]
		return n, reported
	}
	scheduled := func(t *testing.T, a *Auditor) Report {
		report, err := a.audit(t.Context(), true)
		require.NoError(t, err)
		return report
	}
	for name, c := range map[string]struct {
		other    func(t *testing.T, r *rig) // audits, in addition to the role
		skipped  int
		reported bool // reported by the role
	}{
		"nobody":          {func(*testing.T, *rig) {}, 0, true},
		"itself":          {func(t *testing.T, r *rig) { scheduled(t, r.Auditor) }, 0, true},
		"on_demand":       {func(t *testing.T, r *rig) { auditOnDemand(t, r, nil) }, 0, true},
		"on_demand_force": {func(t *testing.T, r *rig) { auditOnDemand(t, r, func(c *Config) { c.Force = true }) }, 0, true},
		"dry_run":         {func(t *testing.T, r *rig) { auditOnDemand(t, r, func(c *Config) { c.DryRun = true }) }, 0, true},
		"scheduled_and_done": {func(t *testing.T, r *rig) {
			require.Equal(t, 1, scheduled(t, r.newAuditor(nil)).Chains)
		}, 1, false},
		"scheduled_and_running": {func(t *testing.T, r *rig) { holdLease(t, r) }, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			r, reg := newRig(t, nil), prometheus.NewRegistry()
			e := r.seal(log0, time.Hour, []string{one}, "a")
			r.park(e, 0, one)
			role := r.Auditor
			role.metrics = newMetrics(reg)
			scheduled(t, role)
			r.expireMarkers()

			c.other(t, r)
			require.Equal(t, c.skipped, scheduled(t, role).Skipped)
			n, reported := owed(t, reg)
			require.Equal(t, c.reported, reported)
			if reported {
				require.EqualValues(t, 1, n)
			}
		})
	}
}

// expireMarkers makes all markers expire.
func (r *rig) expireMarkers() {
	r.redis.FastForward(time.Hour)
	clear(r.markedUntil)
}

func auditOnDemand(t *testing.T, r *rig, change func(*Config)) {
	_, err := r.newAuditor(change).Audit(t.Context())
	require.NoError(t, err)
}

func holdLease(t *testing.T, r *rig) *lease.Lease {
	held, err := r.deps.Leases.Acquire(t.Context(), "audit/"+log0.String(), time.Minute)
	require.NoError(t, err)
	t.Cleanup(func() { _ = held.Release(t.Context()) })
	return held
}

// beforeReceipts calls do once, before the receipts of an entry are listed.
func (r *rig) beforeReceipts(do func()) {
	do = sync.OnceFunc(do)
	r.deps.Staging = objstoretest.Before{Store: r.deps.Staging, Do: func(_ context.Context, op, prefix string) error {
		if op == "list" && strings.HasPrefix(prefix, "receipts/") {
			do()
		}
		return nil
	}}
}

// An audit on demand may take long; the role does not wait for it.
func TestAuditOnDemandDoesNotBlockTheScheduledOne(t *testing.T) {
	for name, dry := range map[string]bool{"dry_run": true, "real": false} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(c *Config) { c.DryRun = dry })
			r.seal(log0, time.Hour, []string{one}, "a")
			role, report := r.newAuditor(nil), Report{}
			r.beforeReceipts(func() {
				var err error
				report, err = role.audit(t.Context(), true)
				require.NoError(t, err)
			})
			r.audit()
			require.Equal(t, 1, report.Chains)
			require.Zero(t, report.Skipped)
		})
	}
}

// An audit on demand takes no lease: otherwise a scheduled audit at that moment would leave the
// chain out for an hour.
func TestAuditOnDemandTakesNoLease(t *testing.T) {
	r := newRig(t, nil)
	r.seal(log0, time.Hour, []string{one}, "a")
	held := holdLease(t, r)
	require.Equal(t, 1, r.audit().Skipped)
	require.NoError(t, held.Release(t.Context()))
	require.Equal(t, 1, r.audit().Chains)
	require.Equal(t, held.Fence+1, holdLease(t, r).Fence, "the audit on demand took the lease")
}

func TestDryRunIgnoresLeases(t *testing.T) {
	r := newRig(t, func(c *Config) { c.DryRun = true })
	r.seal(log0, time.Hour, []string{one}, "a")
	holdLease(t, r)
	require.EqualValues(t, 1, r.audit().Missing)
}

// If another auditor was walking a chain when its turn came, and has finished by the end of the
// audit, the metrics of the chain are the other's.
func TestMetricsAreHandedOver(t *testing.T) {
	r, reg := newRig(t, nil), prometheus.NewRegistry()
	later := log0
	later.Partition = 1
	for _, l := range []ledger.Log{log0, later} {
		r.park(r.seal(l, time.Hour, []string{one}, "a"), 0, one)
	}
	r.metrics = newMetrics(reg)
	r.auditOnSchedule()
	require.EqualValues(t, 2, gather(t, reg)["sealift_auditor_destination_parked_files"])
	r.expireMarkers()

	holdLease(t, r)
	r.beforeReceipts(func() { // by now the other auditor is done with the first chain
		require.NoError(t, r.deps.Leases.Mark(t.Context(), auditedMarker(log0), time.Minute))
	})
	report := r.auditOnSchedule()
	require.Equal(t, 1, report.Skipped)
	require.EqualValues(t, 1, gather(t, reg)["sealift_auditor_destination_parked_files"])
}
