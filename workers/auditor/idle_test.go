package auditor

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
)

// countVisits counts, from now on, the entries whose receipts are listed.
func (r *rig) countVisits() map[string]int {
	n := map[string]int{}
	r.staging.SetFault(func(op objstore.Op) objstore.Fault {
		if op.Name == "list" && strings.HasPrefix(op.Key, "receipts/") {
			n[op.Key]++
		}
		return objstore.Fault{}
	})
	return n
}

// sealIdle seals entries with two files, one delivered and one parked.
func (r *rig) sealIdle(n int) (entries []*ledger.Entry) {
	for range n {
		e := r.seal(log0, time.Hour, []string{one}, "delivered", "parked")
		r.deliver(e, 0, one)
		r.park(e, 1, one)
		entries = append(entries, e)
	}
	return entries
}

// Where a destination has been down for weeks, an audit does not read again everything that is
// parked: each idle entry is visited once a day, and all of them are counted every time.
func TestIdleEntriesAreVisitedOnceADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigWithoutRedis(t)
		r.idleVisits = 3
		r.sealIdle(240)
		require.EqualValues(t, 240, r.audit().Parked)
		visits := r.countVisits()
		for range 24 {
			before := len(visits)
			report := r.audit()
			require.EqualValues(t, 240, report.Parked)
			require.Equal(t, report.Parked+report.Delivered, report.Owed)
			require.Equal(t, report.Owed, report.Destinations[0].Owed)
			require.GreaterOrEqual(t, report.OldestUndeliveredSeconds, 3600.0)
			require.LessOrEqual(t, len(visits)-before, 240/24+1)
			require.EqualValues(t, 240/24+1, report.Entries)
			time.Sleep(time.Hour)
		}
		require.Len(t, visits, 240)
		require.Empty(t, r.jobs.take())
	})
}

// If there are only a few idle entries, they are visited at every audit.
func TestFewIdleEntriesAreAllVisited(t *testing.T) {
	r := newRig(t, nil)
	r.sealIdle(minIdleVisits)
	r.audit()
	visits := r.countVisits()
	require.EqualValues(t, minIdleVisits, r.audit().Entries)
	require.Len(t, visits, minIdleVisits)
}

// Invariant: I10. Whatever happens to a parked debt, its entry is visited: at the next audit if its
// note is gone, within a day if a receipt came.
func TestIdleEntriesAreVisitedWhenTheyChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigWithoutRedis(t)
		r.idleVisits = 1
		entries := r.sealIdle(50)
		r.audit()
		key := func(i int) string { return delivery.ParkedKey(delivery.Ref(entries[i], 1), one) }
		require.NoError(t, r.staging.Delete(t.Context(), key(40)))
		report := r.audit()
		require.EqualValues(t, 1, report.Missing)
		require.EqualValues(t, 49, report.Parked)
		require.Equal(t, []delivery.Job{{Version: 1, File: delivery.Ref(entries[40], 1), Destination: one}}, r.jobs.take())

		r.deliver(entries[20], 1, one)
		r.deliver(entries[40], 1, one)
		for range 24 {
			r.audit()
			time.Sleep(time.Hour)
		}
		require.False(t, r.exists(key(20)), "the note of a closed debt remains")
		require.EqualValues(t, 48, r.audit().Parked)
		require.Len(t, r.storedHint(log0).Accounts[one].Debts, 48)

		r.cfg.Full = true
		visits := r.countVisits()
		require.EqualValues(t, 48, r.audit().Parked)
		require.Len(t, visits, 50)
	})
}

// The number of an audit's requests does not grow with what is parked.
func TestRequestsDoNotGrowWithParkedJobs(t *testing.T) {
	requests := func(parked int) (n int) {
		r := newRig(t, nil)
		r.sealIdle(parked)
		r.audit()
		r.audit()
		r.staging.SetFault(func(objstore.Op) objstore.Fault { n++; return objstore.Fault{} })
		require.EqualValues(t, parked, r.audit().Parked)
		return n
	}
	few, many := requests(2*minIdleVisits), requests(20*minIdleVisits)
	t.Log("requests of an audit with few and with many parked jobs:", few, many)
	require.Less(t, many, few+4)
}
