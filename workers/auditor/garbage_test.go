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
	"github.com/sealift/sealift/pkg/ledger/ledgertest"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/replay"
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
	var deleted []string
	r.deps.Staging = &watchedStore{r.deps.Staging, func(key string) { deleted = append(deleted, key) }}
	report := r.audit()
	require.EqualValues(t, 1, report.Enqueued)
	require.EqualValues(t, 1, report.Collected)
	require.Equal(t, []string{delivered.Files[0].StagedKey}, deleted)
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

func TestOrphans(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Full = true })
	var entries []*ledger.Entry
	for i := range 20 {
		entries = append(entries, r.seal(log0, time.Hour, []string{one}, fmt.Sprint("content ", i), fmt.Sprint("more ", i)))
	}
	orphan := func(l ledger.Log, first, last int64) string {
		f := file(l, first, last, fmt.Sprintf("orphan %d-%d", first, last))
		r.stage(f.StagedKey, "orphan")
		return f.StagedKey
	}
	covered := []string{orphan(log0, 0, 0), orphan(log0, 3, 9), orphan(log0, 39, 39)}
	kept := []string{
		orphan(log0, 35, 40), // its end is not covered: its owner may be slow, and not dead
		orphan(log0, 40, 60),
		orphan(ledger.Log{Topic: log0.Topic, Incarnation: "2", Partition: 0}, 0, 0), // not for us to judge
		orphan(ledger.Log{Topic: log0.Topic, Incarnation: "1", Partition: 7}, 0, 0), // it has no chain
	}
	r.stage(delivery.StagedPrefix(log0)+"something/else", "not a staged file")

	report := r.audit()
	require.EqualValues(t, len(covered), report.Orphans)
	for _, key := range covered {
		require.False(t, r.exists(key), key)
	}
	for _, key := range kept {
		require.True(t, r.exists(key), key)
	}
	for _, e := range entries {
		require.Equal(t, 2, r.stagedFiles(e), "deleted although an entry names it")
	}
	require.Zero(t, r.audit().Orphans)
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

// Invariant: I11. As soon as the entry exists that a pack is for, it decides, whoever wrote it and
// whatever it covers.
func TestOrphanedPacks(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Full = true })
	r.seal(log0, time.Hour, nil, "a", "b")
	named := r.pack(log0, time.Hour, []string{one}, "c", "d")
	sum := strings.Repeat("0", 64)
	pack := func(l ledger.Log, seq, first, last int64) string {
		key := delivery.PackKey(l, seq, first, last, sum)
		r.stage(key, "orphan")
		return key
	}
	lost := []string{
		pack(log0, 1, 0, 1), pack(log0, 2, 2, 3), // from zombies
		pack(log0, 2, 2, 9), // its records are not covered, but its author has to read them again
	}
	kept := []string{
		pack(log0, 3, 0, 1), // all of it is covered, so that entry will not name it, but that is not known yet
		pack(log0, 3, 4, 5), // on its way
		pack(ledger.Log{Topic: log0.Topic, Incarnation: "2", Partition: 0}, 1, 0, 0),
		named.Files[0].StagedKey,
	}
	require.EqualValues(t, len(lost), r.audit().Orphans)
	for _, key := range lost {
		require.False(t, r.exists(key), key)
	}
	for _, key := range kept {
		require.True(t, r.exists(key), key)
	}
	r.seal(log0, time.Hour, nil, "e")
	require.EqualValues(t, 2, r.audit().Orphans, "entry 3 exists and names none of them")
	require.True(t, r.exists(named.Files[0].StagedKey))
}

// A stream sealed past the watermark is covered up to its offset in the filter, and no other stream
// is.
func TestOrphansAboveTheWatermark(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Full = true })
	r.seal(log0, time.Hour, nil, "a")
	head := r.heads[log0]
	sealed := file(log0, 5, 9, "sealed past the watermark")
	r.stage(sealed.StagedKey, "x")
	next := ledgertest.Next(head, sealed)
	next.LowWatermark = head.LowWatermark
	next.SealedThrough = []ledger.SealedStream{{Source: sealed.Source, Hour: sealed.Hour, Offset: 9}}
	ledgertest.Append(t, r.staging, next)

	covered := file(log0, 5, 8, "another cut")
	ahead := file(log0, 5, 10, "a later cut")
	neighbour := ledgertest.File(log0, ledger.File{Source: "app", First: 6, Last: 7}, []byte("another stream"))
	for _, f := range []ledger.File{covered, ahead, neighbour} {
		r.stage(f.StagedKey, "x")
	}
	require.EqualValues(t, 1, r.audit().Orphans)
	require.False(t, r.exists(covered.StagedKey))
	require.True(t, r.exists(ahead.StagedKey))
	require.True(t, r.exists(neighbour.StagedKey))
	require.True(t, r.exists(sealed.StagedKey))
}

// If a chain was lost and began anew at a higher offset, the objects of the old one are not
// garbage.
func TestObjectsOlderThanTheChainAreKept(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Full = true })
	init := ledgertest.Init(log0, time.Now())
	init.LowWatermark = 100
	r.heads[log0] = ledgertest.Append(t, r.staging, init)
	r.seal(log0, time.Hour, nil, "new")
	f := file(log0, 10, 20, "old")
	r.stage(f.StagedKey, "old")
	pack := delivery.PackKey(log0, 1, 10, 200, strings.Repeat("0", 64))
	r.stage(pack, "old")
	require.Zero(t, r.audit().Orphans)
	require.True(t, r.exists(f.StagedKey))
	require.True(t, r.exists(pack))
}

func TestOrphansAreSearchedForDaily(t *testing.T) {
	r := newRig(t, nil)
	r.seal(log0, time.Hour, nil, "a")
	r.audit()
	for _, ago := range []time.Duration{25 * time.Hour, -365 * 24 * time.Hour} { // the second by a clock that was a year ahead
		f := file(log0, 0, 0, "orphan")
		r.stage(f.StagedKey, "x")
		require.Zero(t, r.audit().Orphans)
		h := r.storedHint(log0)
		h.Orphans -= ago.Milliseconds()
		require.NoError(t, h.store(t.Context(), r.staging, log0))
		require.EqualValues(t, 1, r.audit().Orphans)
	}
}

// Invariant: I4. If the auditor's clock is ahead, nothing is deleted: by that clock everything
// delivered would have been kept for long enough.
func TestNothingIsDeletedIfTheClockIsAhead(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Retain = time.Hour })
	e := r.seal(log0, 25*time.Hour, []string{one}, "a")
	r.deliver(e, 0, one)
	order := &delivery.Order{ID: "r", Topic: log0.Topic, Incarnation: log0.Incarnation, Heads: map[int]int64{0: e.Seq}, From: delivery.FromAuto}
	require.NoError(t, replay.WriteOrder(t.Context(), r.staging, order))
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

// Invariant: I4. What a replay is yet to deliver stays as long as its order exists; after its
// retention, everything that belongs to the replay is deleted.
func TestReplaysKeepStagedFilesUntilRetention(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Retain = time.Hour })
	old := r.seal(log0, 5*time.Hour, []string{one}, "a", "b")
	other := r.seal(log0, 4*time.Hour, []string{one}, "c")
	for _, e := range []*ledger.Entry{old, other} {
		for i := range e.Files {
			r.deliver(e, i, one)
		}
	}
	r.ageObjects(5 * time.Hour)
	order := &delivery.Order{ID: "r", Topic: log0.Topic, Incarnation: log0.Incarnation, Heads: map[int]int64{0: old.Seq}, From: delivery.FromAuto}
	require.NoError(t, replay.WriteOrder(t.Context(), r.staging, order))
	r.stage(delivery.RebuiltKey("gone", delivery.Ref(old, 0)), "left of an order that is gone")
	require.EqualValues(t, 1, r.audit().Collected)
	require.Equal(t, 2, r.stagedFiles(old), "deleted although a replay needs it")
	require.Zero(t, r.stagedFiles(other), "kept although the order does not cover it")
	require.Zero(t, r.count("replays/gone/"))

	r.stage(delivery.PlanKey("r"), string(delivery.Plan{Files: 2, Copies: 2}.Encode()))
	r.stage(delivery.ReplayReceiptKey("r", delivery.Ref(old, 0), one), "{}")
	require.Zero(t, r.audit().Collected, "deleted although one copy is not delivered")
	r.stage(delivery.ReplayFailedKey("r", delivery.Ref(old, 1), one), "{}")
	require.EqualValues(t, 2, r.audit().Collected, "not deleted after the other copy was given up")
	require.Equal(t, 4, r.count("replays/"))

	r.ageObjects(time.Hour)
	r.audit()
	require.Zero(t, r.count("replays/"))
}

// Notes of a replay that are damaged, or from a later release, do not prevent an audit; what the
// replay may still deliver stays.
func TestUnreadableReplaysDoNotStopAnAudit(t *testing.T) {
	for hazard, body := range map[string]string{
		"damaged":         `{"version":`,
		"a_later_release": `{"version":2,"parts":[]}`,
		"too_large":       strings.Repeat("x", 2<<20),
	} {
		t.Run(hazard, func(t *testing.T) {
			r := newRig(t, func(c *Config) { c.Retain = time.Hour })
			held := r.seal(log0, 5*time.Hour, []string{one}, "a")
			held2 := r.seal(log0, 4*time.Hour, []string{one}, "b")
			free := r.seal(log0, 3*time.Hour, []string{one}, "c")
			for _, e := range []*ledger.Entry{held, held2, free} {
				r.deliver(e, 0, one)
			}
			r.ageObjects(5 * time.Hour)
			order := &delivery.Order{ID: "r", Topic: log0.Topic, Incarnation: log0.Incarnation, Heads: map[int]int64{0: held2.Seq}, From: delivery.FromAuto}
			require.NoError(t, replay.WriteOrder(t.Context(), r.staging, order))
			r.stage(delivery.OrderKey("bad"), body)
			r.stage(delivery.PlanKey("r"), body)
			r.stage(delivery.ReplayReceiptKey("r", delivery.Ref(held, 0), one), "{}")
			require.EqualValues(t, 1, r.audit().Collected)
			require.Equal(t, []int{1, 1, 0}, []int{r.stagedFiles(held), r.stagedFiles(held2), r.stagedFiles(free)}, "want files of the unreadable replay kept")
			require.Equal(t, 4, r.count("replays/"))

			r.ageObjects(time.Hour)
			require.EqualValues(t, 2, r.audit().Collected, "not deleted after the retention")
			require.Equal(t, 1, r.count("replays/"))
		})
	}
}

// Invariant: I4. A replay that takes longer than the retention, at its ordered rate, is not deleted
// while it runs: its jobs would be dropped as forged.
func TestRunningReplayIsNotDeleted(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Retain = time.Hour })
	e := r.seal(log0, 5*time.Hour, []string{one}, "a", "b")
	for i := range e.Files {
		r.deliver(e, i, one)
	}
	order := &delivery.Order{ID: "r", Topic: log0.Topic, Incarnation: log0.Incarnation, Heads: map[int]int64{0: e.Seq}, From: delivery.FromAuto}
	require.NoError(t, replay.WriteOrder(t.Context(), r.staging, order))
	r.ageObjects(5 * time.Hour)
	r.stage(delivery.ReplayReceiptKey("r", delivery.Ref(e, 0), one), "{}") // just now
	require.Zero(t, r.audit().Collected)
	require.Equal(t, 2, r.count("replays/"))
	r.ageObjects(time.Hour)
	require.EqualValues(t, 2, r.audit().Collected, "not deleted after the retention")
	require.Zero(t, r.count("replays/"))
}

// TestReplayResumedDuringAnAuditIsNotDeleted: a replay that did something since the audit began is
// kept, because copiers drop jobs whose order is gone.
func TestReplayResumedDuringAnAuditIsNotDeleted(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Retain = time.Hour })
	e := r.seal(log0, 5*time.Hour, []string{one}, "a")
	r.deliver(e, 0, one)
	order := &delivery.Order{ID: "r", Topic: log0.Topic, Incarnation: log0.Incarnation, Heads: map[int]int64{0: e.Seq}, From: delivery.FromAuto}
	require.NoError(t, replay.WriteOrder(t.Context(), r.staging, order))
	r.ageObjects(5 * time.Hour)
	resumed := false
	r.deps.Staging = &watchedStore{r.deps.Staging, func(key string) {
		if key == e.Files[0].StagedKey {
			resumed = true
			r.stage(delivery.ReplayReceiptKey("r", delivery.Ref(e, 0), one), "{}")
		}
	}}
	r.audit()
	require.True(t, resumed)
	require.Equal(t, 2, r.count("replays/"))
}

// A resumed replay may read the ledger for long before it delivers anything: that its order was
// stored again keeps it alive.
func TestReplayResumedBeforeItDeliversIsNotDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigWithoutRedis(t)
		entries := r.sealOld(log0, 3) // the first two are collected concurrently
		garbage, held := entries[0], entries[2]
		order := &delivery.Order{ID: "r", Topic: log0.Topic, Incarnation: log0.Incarnation, Heads: map[int]int64{0: held.Seq}, From: delivery.FromAuto}
		order.Offsets = []delivery.Range{{First: held.Files[0].First, Last: held.Files[0].Last}}
		require.NoError(t, replay.WriteOrder(t.Context(), r.staging, order))
		time.Sleep(48 * time.Hour)
		r.deps.Staging = &watchedStore{r.deps.Staging, func(key string) {
			if key == garbage.Files[0].StagedKey {
				r.stage(delivery.OrderKey("r"), string(order.Encode()))
				time.Sleep(2 * refreshInterval)
			}
		}}
		require.EqualValues(t, 2, r.audit().Collected)
		require.Equal(t, 1, r.stagedFiles(held), "deleted without reading the order again")
		require.True(t, r.exists(delivery.OrderKey("r")))
	})
}

// Invariant: I4. An audit may take an hour: an order that is given meanwhile keeps the files that
// are still there.
func TestOrderGivenDuringAnAuditKeepsItsFiles(t *testing.T) {
	for hazard, before := range map[string]bool{"given": false, "finished_one_resumed": true} {
		t.Run(hazard, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRigWithoutRedis(t)
				entries := r.sealOld(log0, 4) // two are collected concurrently
				order := &delivery.Order{ID: "r", Topic: log0.Topic, Incarnation: log0.Incarnation, Heads: map[int]int64{0: entries[3].Seq}, From: delivery.FromAuto}
				failed := delivery.ReplayFailedKey("r", delivery.Ref(entries[3], 0), one)
				if before {
					require.NoError(t, replay.WriteOrder(t.Context(), r.staging, order))
					r.stage(failed, "{}")
					r.stage(delivery.PlanKey("r"), string(delivery.Plan{Copies: 1}.Encode()))
					time.Sleep(time.Minute)
				}
				r.deps.Staging = &watchedStore{r.deps.Staging, func(key string) {
					if key == entries[0].Files[0].StagedKey {
						require.NoError(t, r.staging.Delete(t.Context(), failed))
						r.stage(delivery.OrderKey("r"), string(order.Encode()))
						time.Sleep(2 * refreshInterval)
					}
				}}
				require.EqualValues(t, 2, r.audit().Collected)
				require.Equal(t, []int{0, 0, 1, 1}, []int{r.stagedFiles(entries[0]), r.stagedFiles(entries[1]), r.stagedFiles(entries[2]), r.stagedFiles(entries[3])})
			})
		})
	}
}

// Deleting a large replay takes long: no audit waits for it, and the replay cannot be resumed once
// its deletion has begun.
func TestLargeReplayIsDeletedOverSeveralAudits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigWithoutRedis(t)
		e := r.seal(log0, time.Hour, nil, "a")
		order := &delivery.Order{ID: "r", Topic: log0.Topic, Incarnation: log0.Incarnation, Heads: map[int]int64{0: e.Seq}, From: delivery.FromAuto}
		require.NoError(t, replay.WriteOrder(t.Context(), r.staging, order))
		for i := range 15_000 {
			r.stage(delivery.ReplayReceiptKey("r", delivery.Ref(e, i), one), "{}")
		}
		time.Sleep(24 * time.Hour)
		left := 15_000
		r.deps.Staging = &watchedStore{r.deps.Staging, func(key string) {
			if strings.HasPrefix(key, delivery.ReplayReceiptsPrefix("r")) {
				_, err := replay.ReadOrder(t.Context(), r.staging, "r")
				require.ErrorIs(t, err, objstore.ErrNotFound, "deleted before its order")
				time.Sleep(time.Second)
			}
		}}
		for audits := 0; left > 0; audits++ {
			require.Less(t, audits, 10)
			begun := time.Now()
			_, err := r.Auditor.audit(t.Context(), audits > 0)
			require.NoError(t, err)
			limit := time.Hour / 8
			if audits == 0 {
				limit = 2 * time.Minute // on demand
			}
			require.Less(t, time.Since(begun), limit)
			now := r.count(delivery.ReplayReceiptsPrefix("r"))
			require.Less(t, now, left, "an audit deleted nothing")
			left = now
		}
		require.Zero(t, r.count("replays/"))
	})
}

// watchedStore calls deleting before an object is deleted.
type watchedStore struct {
	objstore.Store
	deleting func(key string)
}

func (s *watchedStore) Delete(ctx context.Context, key string) error {
	s.deleting(key)
	return s.Store.Delete(ctx, key)
}

func (r *rig) count(prefix string) (n int) {
	for _, err := range objstore.All(r.t.Context(), r.staging, prefix) {
		require.NoError(r.t, err)
		n++
	}
	return n
}

// TestReplayIsCountedOncePerAudit: counting lists all receipts of a replay, which would take
// forever if done for every entry.
func TestReplayIsCountedOncePerAudit(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Retain = time.Hour })
	var last *ledger.Entry
	for range 5 {
		last = r.seal(log0, 5*time.Hour, []string{one}, "a")
		r.deliver(last, 0, one)
	}
	r.ageObjects(5 * time.Hour)
	order := &delivery.Order{ID: "r", Topic: log0.Topic, Incarnation: log0.Incarnation, Heads: map[int]int64{0: last.Seq}, From: delivery.FromAuto}
	require.NoError(t, replay.WriteOrder(t.Context(), r.staging, order))
	counted := 0
	r.staging.SetFault(func(op objstore.Op) objstore.Fault {
		if op.Name == "list" && strings.HasPrefix(op.Key, delivery.ReplayReceiptsPrefix("r")) {
			counted++
		}
		return objstore.Fault{}
	})
	require.Zero(t, r.audit().Collected)
	require.Equal(t, 1, counted)
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

// A search for orphans that fails undoes nothing of the audit before it, and is repeated the next
// day.
func TestFailedOrphanSearchUndoesNothing(t *testing.T) {
	r := newRig(t, nil)
	reg := prometheus.NewRegistry()
	r.metrics = newMetrics(reg)
	r.sealOld(log0, 3)
	r.park(r.seal(log0, time.Hour, []string{one}, "owed"), 0, one)
	searches := 0
	r.staging.SetFault(func(op objstore.Op) objstore.Fault {
		if op.Name == "list" && op.Key == delivery.StagedPrefix(log0) {
			searches++
			return objstore.Fault{Before: objstore.ErrUnavailable}
		}
		return objstore.Fault{}
	})
	report, err := r.Audit(t.Context())
	require.ErrorIs(t, err, objstore.ErrUnavailable)
	require.EqualValues(t, 3, report.Collected)
	require.EqualValues(t, 1, report.Parked)
	require.EqualValues(t, 1, gather(t, reg)["sealift_auditor_destination_parked_files"])
	require.EqualValues(t, 3, r.storedHint(log0).Collected, "the last entry is too young")
	r.audit()
	require.Equal(t, 1, searches)
	h := r.storedHint(log0)
	h.Orphans -= (25 * time.Hour).Milliseconds()
	require.NoError(t, h.store(t.Context(), r.staging, log0))
	_, err = r.Audit(t.Context())
	require.Error(t, err)
	require.Equal(t, 2, searches)
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
		r.deps.Staging = &watchedStore{r.deps.Staging, func(string) { time.Sleep(time.Minute) }}
		audit := func() (Report, time.Duration) {
			begun := time.Now()
			report, err := r.Auditor.audit(t.Context(), true)
			require.NoError(t, err)
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
		r.deps.Staging = &watchedStore{r.deps.Staging, func(string) { time.Sleep(time.Hour) }} // longer than an audit may take
		behind := func() int {
			report, err := r.Auditor.audit(t.Context(), true)
			require.NoError(t, err)
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

// slowListing takes long to list staged objects.
type slowListing struct {
	objstore.Store
	listings map[string]int // number of listings by prefix
}

func (s *slowListing) List(ctx context.Context, prefix, startAfter string, limit int) ([]objstore.Info, error) {
	if strings.HasPrefix(prefix, "data/") {
		s.listings[prefix]++
		time.Sleep(20 * time.Minute)
	}
	return s.Store.List(ctx, prefix, startAfter, limit)
}

// Searches for orphans, which are due for all partitions at once, delay the debts of others only by
// minutes as well, and are spread over the following audits.
func TestOrphanSearchesDoNotDelayDebts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigWithoutRedis(t)
		l := log0
		for ; l.Partition < 29; l.Partition++ { // in a day there is time for 24
			r.seal(l, time.Hour, nil, "young")
		}
		owed := r.seal(l, time.Hour, []string{one}, "owed")
		slow := &slowListing{r.deps.Staging, map[string]int{}}
		r.deps.Staging = slow
		for audit := range 30 {
			begun := time.Now()
			_, err := r.Auditor.audit(t.Context(), true)
			require.NoError(t, err)
			require.Less(t, time.Since(begun), time.Hour/2)
			require.Len(t, slow.listings, audit+1, "want one search per audit")
			if audit == 0 {
				require.Equal(t, []delivery.Job{{Version: 1, File: delivery.Ref(owed, 0), Destination: one}}, r.jobs.take())
			}
			time.Sleep(time.Hour)
		}
		for prefix, n := range slow.listings {
			require.Equal(t, 1, n, prefix)
		}
	})
}

// A chain that could not be read is not recorded as waiting for its search for orphans, which would
// put it in front of the others.
func TestUnreadableChainDoesNotJumpTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigWithoutRedis(t)
		logs := []ledger.Log{log0, log0, log0}
		for p := range logs {
			logs[p].Partition = p
			r.seal(logs[p], time.Hour, nil, "young")
		}
		r.deps.Staging = &slowListing{r.deps.Staging, map[string]int{}}
		away := func(op objstore.Op) objstore.Fault {
			if op.Name == "get" && op.Key == hintKey(logs[1]) {
				return objstore.Fault{Before: objstore.ErrUnavailable}
			}
			return objstore.Fault{}
		}
		r.staging.SetFault(away)
		_, err := r.Auditor.audit(t.Context(), true) // the first search takes all of the time
		require.ErrorIs(t, err, objstore.ErrUnavailable)
		require.NotContains(t, r.orphansPutOffSince, logs[1])
		require.Contains(t, r.orphansPutOffSince, logs[2])
		since := r.orphansPutOffSince[logs[2]]

		r.staging.SetFault(nil)
		time.Sleep(time.Hour)
		_, err = r.Auditor.audit(t.Context(), true)
		require.NoError(t, err)
		require.NotContains(t, r.orphansPutOffSince, logs[2], "still put off after its search")
		require.Contains(t, r.orphansPutOffSince, logs[1])
		require.True(t, since.Before(r.orphansPutOffSince[logs[1]]))

		since = r.orphansPutOffSince[logs[1]]
		r.staging.SetFault(away)
		time.Sleep(time.Hour)
		_, err = r.Auditor.audit(t.Context(), true)
		require.Error(t, err)
		require.Equal(t, since, r.orphansPutOffSince[logs[1]], "the chain lost its place")
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
		r.deps.Staging = &watchedStore{r.deps.Staging, func(string) { time.Sleep(time.Minute) }}
		audit := func() Report {
			begun := time.Now()
			report, err := r.Auditor.audit(t.Context(), true)
			require.NoError(t, err)
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
