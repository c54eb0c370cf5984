package auditor

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/objstore/objstoretest"
)

// Invariant: I4.
func TestStagedFilesAreDeletedAfterRetention(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Retain = time.Hour })
	old := r.seal(log0, 3*time.Hour, []string{one}, "a", "b")
	owing := r.seal(log0, 2*time.Hour, []string{one, two}, "c", "d")
	young := r.seal(log0, 30*time.Minute, []string{one}, "e")
	none := r.seal(log0, 20*time.Minute, nil, "f")
	for _, e := range []*ledger.Entry{old, owing, young} {
		for i := range e.Files {
			r.deliver(e, i, one)
		}
	}
	r.audit()
	require.Equal(t, 2, r.stagedFiles(old), "deleted too early: it was delivered just now")
	r.ageObjects(time.Hour)
	require.EqualValues(t, 2, r.audit().Collected)
	require.Zero(t, r.stagedFiles(old))
	require.Equal(t, 2, r.stagedFiles(owing), "deleted although two is owed it")
	require.Equal(t, 1, r.stagedFiles(young))
	require.Equal(t, 1, r.stagedFiles(none))
	require.Zero(t, r.audit().Collected)

	r.deliver(owing, 0, two)
	r.deliver(owing, 1, two)
	require.Zero(t, r.audit().Collected, "deleted before the retention")
	r.ageObjects(time.Hour)
	require.EqualValues(t, 2, r.audit().Collected, "not deleted after its entry's turn had passed")
	require.Zero(t, r.stagedFiles(owing))
}

// What an audit keeps before it starts over because of a missing receipt is still collected later.
func TestFilesKeptBeforeARestartedAuditAreCollectedLater(t *testing.T) {
	r := newRig(t, nil)
	delivered := r.seal(log0, 3*time.Hour, []string{one}, "a")
	lost := r.seal(log0, 2*time.Hour, []string{one}, "b")
	r.deliver(delivered, 0, one)
	r.deliver(lost, 0, one)
	r.audit()
	require.EqualValues(t, -1, r.storedHint(log0).Collected, "want nothing collected yet")
	require.NoError(t, r.staging.Delete(t.Context(), delivery.ReceiptKey(delivery.Ref(lost, 0), one)))
	r.cfg.Retain = time.Hour
	require.EqualValues(t, 1, r.audit().Enqueued)
	require.Equal(t, []int64{delivered.Seq, lost.Seq}, r.storedHint(log0).Open)
	r.ageObjects(time.Hour)
	require.EqualValues(t, 1, r.audit().Collected)
	require.Zero(t, r.stagedFiles(delivered))
	require.Equal(t, 1, r.stagedFiles(lost))
}

// What an audit collects before it starts over is neither collected nor counted a second time.
func TestRestartedAuditCollectsFilesOnce(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Retain = time.Hour })
	delivered := r.seal(log0, 3*time.Hour, []string{one}, "a")
	lost := r.seal(log0, 2*time.Hour, []string{one}, "b")
	r.deliver(delivered, 0, one)
	r.deliver(lost, 0, one)
	r.audit()
	require.Equal(t, []int64{delivered.Seq, lost.Seq}, r.storedHint(log0).Open, "want both entries past their turn")
	r.ageObjects(time.Hour)
	require.NoError(t, r.staging.Delete(t.Context(), delivery.ReceiptKey(delivery.Ref(lost, 0), one)))
	deleted := r.deletions()
	report := r.audit()
	require.EqualValues(t, 1, report.Enqueued)
	require.EqualValues(t, 1, report.Collected)
	require.Equal(t, []string{delivered.Files[0].StagedKey}, *deleted)
}

// ageObjects makes everything that is stored by now look older.
func (r *rig) ageObjects(d time.Duration) {
	r.deps.Staging = &agedStore{Store: r.deps.Staging, until: time.Now(), by: d}
}

// agedStore makes objects that were stored before a time look older than they are.
type agedStore struct {
	objstore.Store
	until time.Time
	by    time.Duration
}

func (s *agedStore) Head(ctx context.Context, key string) (objstore.Info, error) {
	info, err := s.Store.Head(ctx, key)
	if info.LastModified.Before(s.until) {
		info.LastModified = info.LastModified.Add(-s.by)
	}
	return info, err
}

func (s *agedStore) List(ctx context.Context, prefix, after string, limit int) ([]objstore.Info, error) {
	infos, err := s.Store.List(ctx, prefix, after, limit)
	for i := range infos {
		if infos[i].LastModified.Before(s.until) {
			infos[i].LastModified = infos[i].LastModified.Add(-s.by)
		}
	}
	return infos, err
}

// Invariant: I4. A pack is deleted as a whole, when none of its files is owed any more.
func TestPackIsDeletedWithTheLastOfItsFiles(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Retain, c.Full = time.Hour, true })
	e := r.pack(log0, 3*time.Hour, []string{one}, "a", "b", "c")
	r.deliver(e, 0, one)
	r.deliver(e, 2, one)
	r.audit()
	r.ageObjects(time.Hour)
	require.Zero(t, r.audit().Collected)
	require.True(t, r.exists(e.Files[0].StagedKey), "deleted although b is owed")

	deletes := 0
	r.staging.SetFault(func(op objstore.Op) objstore.Fault {
		if op.Name == "delete" && op.Key == e.Files[0].StagedKey {
			deletes++
		}
		return objstore.Fault{}
	})
	r.deliver(e, 1, one)
	require.Zero(t, r.audit().Collected, "deleted before the retention")
	r.ageObjects(time.Hour)
	require.EqualValues(t, 3, r.audit().Collected)
	require.False(t, r.exists(e.Files[0].StagedKey))
	require.Equal(t, 1, deletes, "want one deletion for the pack")
}

// Invariant: I4. If the auditor's clock is ahead, nothing is deleted: by that clock everything
// delivered would have been kept for long enough.
func TestNothingIsDeletedIfTheClockIsAhead(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Retain = time.Hour })
	e := r.seal(log0, 25*time.Hour, []string{one}, "a")
	r.deliver(e, 0, one)
	r.order(e)
	staging := r.deps.Staging
	r.deps.Staging = &agedStore{Store: staging, until: time.Now().AddDate(1, 0, 0), by: 24 * time.Hour}
	report, err := r.Audit(t.Context())
	require.ErrorContains(t, err, "clock is 24h0m")
	require.Zero(t, report.Collected)
	require.Equal(t, 1, r.stagedFiles(e))
	require.EqualValues(t, 1, r.storedHint(log0).Through, "the audit's result was not noted")
	require.Equal(t, 1, r.count("replays/"), "the replay was deleted")

	r.deps.Staging = staging
	r.ageObjects(2 * time.Hour)
	require.EqualValues(t, 1, r.audit().Collected)
	require.Zero(t, r.stagedFiles(e))
}

func TestFailedDeletionIsRepeated(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Retain = time.Hour })
	e := r.seal(log0, 3*time.Hour, nil, "a", "b")
	r.staging.SetFault(func(op objstore.Op) objstore.Fault {
		if op.Name == "delete" && op.N == 1 && op.Key == e.Files[1].StagedKey {
			return objstore.Fault{Before: objstore.ErrUnavailable}
		}
		return objstore.Fault{}
	})
	_, err := r.Audit(t.Context())
	require.ErrorIs(t, err, objstore.ErrUnavailable)
	require.Equal(t, 1, r.stagedFiles(e))
	r.audit()
	require.Zero(t, r.stagedFiles(e))
}

// sealOld seals entries whose files are owed to nobody and have been kept for long enough.
func (r *rig) sealOld(l ledger.Log, n int) (entries []*ledger.Entry) {
	for i := range n {
		entries = append(entries, r.seal(l, 48*time.Hour, nil, fmt.Sprint(i)))
	}
	return entries
}

// What was collected is noted even if not everything could be.
func TestFailedCollectionContinuesWhereItStopped(t *testing.T) {
	r := newRig(t, nil)
	entries := r.sealOld(log0, entriesPerBatch+200)
	bad := entries[entriesPerBatch+99]
	r.staging.SetFault(func(op objstore.Op) objstore.Fault {
		if op.Name == "delete" && op.Key == bad.Files[0].StagedKey {
			return objstore.Fault{Before: objstore.ErrDenied}
		}
		return objstore.Fault{}
	})
	notes := len(r.staging.Puts(hintKey(log0)))
	report, err := r.Audit(t.Context())
	require.ErrorIs(t, err, objstore.ErrDenied)
	require.Equal(t, 1, report.Failed)
	require.Equal(t, bad.Seq-1, report.Collected, "not reported")
	require.Equal(t, bad.Seq-1, r.storedHint(log0).Collected)
	require.Len(t, r.staging.Puts(hintKey(log0)), notes+4, "want the hint stored after the visits, for the clocks, for garbage and at the end")
	require.Equal(t, 1, r.stagedFiles(bad))
	report, err = r.Audit(t.Context())
	require.ErrorIs(t, err, objstore.ErrDenied)
	require.Zero(t, report.Collected, "counted a second time")

	read := 0
	r.staging.SetFault(func(op objstore.Op) objstore.Fault {
		if op.Name == "get" && strings.HasPrefix(op.Key, "ledger/") {
			read++
		}
		return objstore.Fault{}
	})
	require.Equal(t, int64(len(entries))-bad.Seq+1, r.audit().Collected)
	require.Zero(t, r.stagedFiles(bad))
	require.EqualValues(t, len(entries), r.storedHint(log0).Collected)
	require.Less(t, read, 150, "collected entries were read again")
}

// A backlog of garbage, as after a week without an auditor, delays the debts of other partitions
// only by minutes, and is eventually deleted.
func TestGarbageBacklogDoesNotDelayDebts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigWithoutRedis(t)
		second := log0
		second.Partition = 1
		backlog := r.sealOld(log0, 1000)
		owed := r.seal(second, time.Hour, []string{one}, "owed")
		r.deps.Staging = objstoretest.Slow(r.deps.Staging, time.Minute, "delete")
		audit := func() (Report, time.Duration) {
			begun := time.Now()
			report := r.auditOnSchedule()
			return report, time.Since(begun)
		}
		report, took := audit()
		require.Equal(t, []delivery.Job{{Version: 1, File: delivery.Ref(owed, 0), Destination: one}}, r.jobs.take())
		require.Less(t, took, time.Hour/2)
		require.Greater(t, report.Collected, int64(64))
		audits := 1
		for ; r.storedHint(log0).Collected < backlog[len(backlog)-1].Seq; audits++ {
			time.Sleep(time.Hour - took)
			report, took = audit()
			require.Positive(t, report.Collected)
		}
		require.Less(t, audits, 10)

		third := log0
		third.Partition = 2
		r.sealOld(third, 1000)
		begun := time.Now()
		require.EqualValues(t, 1000, r.audit().Collected, "an audit on demand must delete everything")
		require.Less(t, time.Since(begun), 1000*time.Minute/entriesAtOnce+10*time.Minute, "deleted one by one")
	})
}

// A chain is behind only if it has garbage that there was no time for, and not just because another
// chain used up the time.
func TestChainWithoutGarbageIsNotBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigWithoutRedis(t)
		reg := prometheus.NewRegistry()
		r.metrics = newMetrics(reg)
		r.sealOld(log0, 1)
		for p, young := range [][]string{{one}, nil, nil} {
			l := log0
			l.Partition = p + 1
			r.sealOld(l, 2)
			r.seal(l, time.Hour, young, "young")
		}
		late := log0
		late.Partition = 4
		r.sealOld(late, 20)
		r.deps.Staging = objstoretest.Slow(r.deps.Staging, time.Hour, "delete") // longer than an audit may take
		behind := func() int {
			report := r.auditOnSchedule()
			require.EqualValues(t, report.Behind, gather(t, reg)["sealift_auditor_chains_behind"])
			return report.Behind
		}
		require.Equal(t, 1, behind(), "want only the chain with garbage left")
		for r.storedHint(late).Collected < 20 {
			require.LessOrEqual(t, behind(), 1)
		}
		require.Zero(t, behind())
	})
}

// A partition that is behind gets the time that the others do not need: its own share might never
// be enough.
func TestUnusedGarbageTimeGoesToTheBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigWithoutRedis(t)
		backlog := r.sealOld(log0, 500)
		for p := 1; p < 20; p++ {
			l := log0
			l.Partition = p
			r.sealOld(l, 2)
			r.seal(l, time.Hour, nil, "young")
		}
		r.deps.Staging = objstoretest.Slow(r.deps.Staging, time.Minute, "delete")
		audit := func() Report {
			begun := time.Now()
			report := r.auditOnSchedule()
			require.Less(t, time.Since(begun), 3*time.Hour/4)
			return report
		}
		require.Equal(t, 1, audit().Behind)
		require.Less(t, r.storedHint(log0).Collected, int64(10), "the first audit should use its share only")
		require.Equal(t, 1, audit().Behind)
		require.Greater(t, r.storedHint(log0).Collected, int64(200))
		audit()
		require.Zero(t, audit().Behind)
		require.Equal(t, backlog[len(backlog)-1].Seq, r.storedHint(log0).Collected)
	})
}
