package auditor

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/objstore/objstoretest"
	"github.com/sealift/sealift/pkg/replay"
)

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
	r.order(old)
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
			r.order(held2)
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
	r.order(e)
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
	r.order(e)
	r.ageObjects(5 * time.Hour)
	resumed := false
	r.beforeDelete(func(key string) {
		if key == e.Files[0].StagedKey {
			resumed = true
			r.stage(delivery.ReplayReceiptKey("r", delivery.Ref(e, 0), one), "{}")
		}
	})
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
		order := orderUpTo(held)
		order.Offsets = []delivery.Range{{First: held.Files[0].First, Last: held.Files[0].Last}}
		require.NoError(t, replay.WriteOrder(t.Context(), r.staging, order))
		time.Sleep(48 * time.Hour)
		r.beforeDelete(func(key string) {
			if key == garbage.Files[0].StagedKey {
				r.stage(delivery.OrderKey("r"), string(order.Encode()))
				time.Sleep(2 * refreshInterval)
			}
		})
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
				order := orderUpTo(entries[3])
				failed := delivery.ReplayFailedKey("r", delivery.Ref(entries[3], 0), one)
				if before {
					require.NoError(t, replay.WriteOrder(t.Context(), r.staging, order))
					r.stage(failed, "{}")
					r.stage(delivery.PlanKey("r"), string(delivery.Plan{Copies: 1}.Encode()))
					time.Sleep(time.Minute)
				}
				r.beforeDelete(func(key string) {
					if key == entries[0].Files[0].StagedKey {
						require.NoError(t, r.staging.Delete(t.Context(), failed))
						r.stage(delivery.OrderKey("r"), string(order.Encode()))
						time.Sleep(2 * refreshInterval)
					}
				})
				require.EqualValues(t, 2, r.audit().Collected)
				require.Equal(t, []int{0, 0, 1, 1}, []int{r.stagedFiles(entries[0]), r.stagedFiles(entries[1]), r.stagedFiles(entries[2]), r.stagedFiles(entries[3])})
			})
		})
	}
}

// Invariant: I4. A replay that was resumed counts as over until it tries again what was given up, and again whenever it
// has delivered all that it tried so far: at its ordered rate, that may take days.
func TestResumedReplayKeepsStagedFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigWithoutRedis(t)
		entries := r.sealOld(log0, 2)
		order := r.order(entries[1])
		r.stage(delivery.ReplayReceiptKey("r", delivery.Ref(entries[0], 0), one), "{}")
		r.stage(delivery.ReplayFailedKey("r", delivery.Ref(entries[1], 0), one), "{}")
		r.stage(delivery.PlanKey("r"), string(delivery.Plan{Copies: 2}.Encode()))
		time.Sleep(time.Second)
		r.stage(delivery.OrderKey("r"), string(order.Encode()))
		require.Zero(t, r.audit().Collected)
		r.stage(delivery.PlanKey("r"), string(delivery.Plan{Copies: 2}.Encode()))
		require.EqualValues(t, 2, r.audit().Collected, "not deleted after all was enqueued and given up again")
	})
}

// Deleting a large replay takes long: no audit waits for it, and the replay cannot be resumed once
// its deletion has begun.
func TestLargeReplayIsDeletedOverSeveralAudits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigWithoutRedis(t)
		e := r.seal(log0, time.Hour, nil, "a")
		r.order(e)
		for i := range 15_000 {
			r.stage(delivery.ReplayReceiptKey("r", delivery.Ref(e, i), one), "{}")
		}
		time.Sleep(24 * time.Hour)
		left := 15_000
		r.beforeDelete(func(key string) {
			if strings.HasPrefix(key, delivery.ReplayReceiptsPrefix("r")) {
				_, err := replay.ReadOrder(t.Context(), r.staging, "r")
				require.ErrorIs(t, err, objstore.ErrNotFound, "deleted before its order")
				time.Sleep(time.Second)
			}
		})
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

// beforeDelete calls do, from now on, before an object is deleted.
func (r *rig) beforeDelete(do func(key string)) {
	r.deps.Staging = objstoretest.Before{Store: r.deps.Staging, Do: func(_ context.Context, op, key string) error {
		if op == "delete" {
			do(key)
		}
		return nil
	}}
}

// order orders a replay of the entries up to head.
func (r *rig) order(head *ledger.Entry) *delivery.Order {
	o := orderUpTo(head)
	require.NoError(r.t, replay.WriteOrder(r.t.Context(), r.staging, o))
	return o
}

func orderUpTo(head *ledger.Entry) *delivery.Order {
	return &delivery.Order{ID: "r", Topic: log0.Topic, Incarnation: log0.Incarnation, Heads: map[int]int64{0: head.Seq}, From: delivery.FromAuto}
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
	r.order(last)
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
