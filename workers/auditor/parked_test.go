package auditor

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/objstore/objstoretest"
)

func TestParkedJobsOfClosedDebtsAreSwept(t *testing.T) {
	r := newRig(t, nil)
	e := r.seal(log0, time.Hour, []string{one, two}, "a")
	closedLater, open := r.park(e, 0, one), r.park(e, 0, two)
	require.EqualValues(t, 2, r.audit().Parked)
	r.deliver(e, 0, one)
	require.EqualValues(t, 1, r.audit().Parked)
	require.False(t, r.exists(closedLater))
	require.True(t, r.exists(open))
	require.Empty(t, r.jobs.take(), "a parked job was enqueued")
}

// An audit looks for the receipts of parked debts only if it walked their chain and did not see
// them open. Other chains are another auditor's, and where a hundred thousand files are parked,
// asking for each would take half an hour.
func TestParkedJobsOfChainsNotWalkedStay(t *testing.T) {
	r := newRig(t, nil)
	another := log0
	another.Partition = 1
	var open, closed []string
	for _, l := range []ledger.Log{log0, another} {
		e := r.seal(l, time.Hour, []string{one}, "a", "b")
		open = append(open, r.park(e, 0, one))
		closed = append(closed, r.park(e, 1, one))
		r.deliver(e, 1, one)
	}
	listed := map[string]int{}
	r.staging.SetFault(func(op objstore.Op) objstore.Fault {
		if op.Name == "list" && strings.HasPrefix(op.Key, "receipts/") {
			listed[op.Key]++
		}
		return objstore.Fault{}
	})
	other := r.newAuditor(nil)
	require.NoError(t, other.deps.Leases.Mark(t.Context(), "audited/"+log0.String(), time.Minute))
	report, err := other.audit(t.Context(), true)
	require.NoError(t, err)
	require.Equal(t, 1, report.Skipped)
	require.Equal(t, map[string]int{delivery.ReceiptPrefix(another, 1): 2}, listed, "want one listing by the walk and one for the parked jobs")
	require.Equal(t, []bool{true, false}, []bool{r.exists(closed[0]), r.exists(closed[1])})
	r.audit()
	require.Equal(t, map[string]int{delivery.ReceiptPrefix(log0, 1): 2, delivery.ReceiptPrefix(another, 1): 3}, listed)
	require.False(t, r.exists(closed[0]))
	for _, key := range open {
		require.True(t, r.exists(key))
	}
}

// When a thousand parked jobs are closed, their notes are deleted concurrently.
func TestParkedJobsAreSweptInParallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigWithoutRedis(t)
		e := r.seal(log0, time.Hour, []string{one}, slices.Repeat([]string{"a"}, 500)...)
		for i := range e.Files {
			r.park(e, i, one)
			r.deliver(e, i, one)
		}
		r.deps.Staging = objstoretest.Slow(r.deps.Staging, time.Second, "delete")
		begun := time.Now()
		r.audit()
		require.Less(t, time.Since(begun), time.Minute)
		require.Zero(t, r.count("parked/"))
	})
}
