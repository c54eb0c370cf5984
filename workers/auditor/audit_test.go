package auditor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/ledger/ledgertest"
	"github.com/sealift/sealift/pkg/meter"
	"github.com/sealift/sealift/pkg/objstore"
)

func TestMissingJobsAreEnqueued(t *testing.T) {
	r := newRig(t, nil)
	e1 := r.seal(log0, time.Hour, []string{one, two}, "a", "b")
	r.seal(log0, time.Minute, []string{one}, "too new")
	r.deliver(e1, 0, one)
	r.deliver(e1, 1, two)
	r.park(e1, 1, one)

	report := r.audit()
	require.Equal(t, []delivery.Job{{Version: 1, File: delivery.Ref(e1, 0), Destination: two}}, r.jobs.take())
	require.Equal(t, counts{Owed: 4, Delivered: 2, Missing: 1, Parked: 1, OldestUndeliveredSeconds: report.OldestUndeliveredSeconds}, report.counts)
	require.InDelta(t, 3600, report.OldestUndeliveredSeconds, 60)
	require.EqualValues(t, 1, report.TooNew)
	require.EqualValues(t, 1, report.Enqueued)
	require.Len(t, report.Destinations, 2)
	require.Equal(t, one, report.Destinations[0].ID)
	require.EqualValues(t, 1, report.Destinations[0].Parked)
	require.Equal(t, "gone", report.Destinations[0].State)

	h := r.storedHint(log0)
	last := func(i int, dest string) int64 {
		info, err := r.staging.Head(t.Context(), delivery.ReceiptKey(delivery.Ref(e1, i), dest))
		require.NoError(t, err)
		return info.LastModified.UnixMilli()
	}
	listed, err := listReceipts(t.Context(), r.staging, log0, 1)
	require.NoError(t, err)
	require.Equal(t, hint{Version: 2, Through: 1, Attempt: e1.Attempt, Open: []int64{1}, Collected: -1, Seen: map[int64]seen{1: {Listing: listed.digest}}, Orphans: h.Orphans, Accounts: accounts{
		one: {Delivered: Sum{1, 1, 1}, Newest: e1.WrittenAt, Last: last(0, one), Debts: []owedFile{{1, 1, e1.WrittenAt, 1, 1}}},
		two: {Delivered: Sum{1, 1, 1}, Newest: e1.WrittenAt, Last: last(1, two), Debts: []owedFile{{1, 0, e1.WrittenAt, 1, 1}}},
	}}, h)
}

// A debt is closed by a receipt of its own, or in a batch, or by several that may disagree.
func TestBatchesCloseDebts(t *testing.T) {
	r := newRig(t, nil)
	e := r.seal(log0, time.Hour, []string{one}, "a", "b", "c", "d", "e", "f", "g", "h")
	r.deliver(e, 0, one)
	batch := r.batch(e, one, 0, 1, 2)
	r.batch(e, one, 2, 3)
	for _, i := range []int{3, 4} {
		ledgertest.Receipt(t, r.staging, e, i, one, delivery.Receipt{Outcome: delivery.Skipped})
	}
	skipped, foreign := copierReceipt(e, 6, one), copierReceipt(e, 7, one)
	skipped.Outcome, foreign.File.Seq = delivery.Skipped, e.Seq+1
	bad := append(delivery.EncodeBatch([]delivery.Receipt{skipped, copierReceipt(e, 5, one), foreign}), "hello\n"...)
	r.stage(delivery.BatchKey(log0, e.Seq, bad), string(bad))
	notes := []string{r.park(e, 1, one), r.park(e, 2, one), r.park(e, 4, one), r.park(e, 6, one)}

	lists := r.countReceiptLists()
	report := r.audit()
	require.Equal(t, counts{Owed: 8, Delivered: 5, GivenUp: 1, Parked: 1, Missing: 1, OldestUndeliveredSeconds: report.OldestUndeliveredSeconds}, report.counts)
	require.Equal(t, []delivery.Job{{Version: 1, File: delivery.Ref(e, 7), Destination: one}}, r.jobs.take())
	require.Equal(t, 2, *lists, "want one listing by the walk and one for the parked jobs")
	require.Equal(t, []bool{false, false, false, true}, []bool{r.exists(notes[0]), r.exists(notes[1]), r.exists(notes[2]), r.exists(notes[3])})
	requireSameStatus(t, r.staging, readStatus(t, r.staging), "audited")

	// Restored without it, the staging bucket owes again what it had closed.
	r.redis.FlushAll()
	require.NoError(t, r.staging.Delete(t.Context(), batch))
	require.EqualValues(t, 2, r.audit().Enqueued)
	require.EqualValues(t, 4, r.storedHint(log0).Accounts[one].Delivered.Files)
}

// TestDebtsOfFormerIncarnationsAreEnqueued: debts of a former incarnation are enqueued after Kafka
// was replaced, and its jobs with it.
func TestDebtsOfFormerIncarnationsAreEnqueued(t *testing.T) {
	r := newRig(t, nil)
	former := r.seal(log0, 2*time.Hour, []string{one}, "never delivered")
	current := r.seal(ledger.Log{Topic: log0.Topic, Incarnation: "2", Partition: 0}, time.Hour, []string{one}, "neither")
	report := r.audit()
	require.EqualValues(t, 2, report.Missing)
	require.ElementsMatch(t, []delivery.Job{
		{Version: 1, File: delivery.Ref(former, 0), Destination: one}, {Version: 1, File: delivery.Ref(current, 0), Destination: one},
	}, r.jobs.take())
	s, err := ReadStatus(t.Context(), StatusConfig{}, r.staging, nil)
	require.NoError(t, err)
	require.EqualValues(t, 2, s.Destinations[0].Undelivered().Files)
}

// I10 without flooding the topic: a job that waits in a retry tier, or was enqueued by the last
// audit, is not enqueued again until it may be lost.
func TestQueuedJobsAreNotEnqueuedAgain(t *testing.T) {
	r := newRig(t, nil)
	e := r.seal(log0, time.Hour, []string{one}, "a", "b")
	require.NoError(t, r.deps.Leases.Mark(t.Context(), delivery.QueuedMarker(delivery.Ref(e, 0), one), time.Hour))
	report := r.audit()
	require.Len(t, r.jobs.take(), 1)
	require.EqualValues(t, 1, report.Queued)
	require.EqualValues(t, 2, r.audit().Queued)
	require.Empty(t, r.jobs.take())

	r.redis.FastForward(2 * time.Hour)
	r.audit()
	require.Len(t, r.jobs.take(), 2, "expired markers still hold jobs back")

	forced := r.newAuditor(func(c *Config) { c.Force = true })
	_, err := forced.Audit(t.Context())
	require.NoError(t, err)
	require.Len(t, r.jobs.take(), 2, "Force did not enqueue them")
}

// Force enqueues what was sealed just now, as needed when its destination has just been fixed, and
// concludes nothing else about the entry.
func TestForceEnqueuesYoungEntries(t *testing.T) {
	r := newRig(t, nil)
	e := r.seal(log0, time.Minute, []string{one, two}, "a", "b")
	r.deliver(e, 0, one)
	r.park(e, 1, one)
	forced := r.newAuditor(func(c *Config) { c.Force = true })
	report, err := forced.Audit(t.Context())
	require.NoError(t, err)
	require.ElementsMatch(t, []delivery.Job{
		{Version: 1, File: delivery.Ref(e, 0), Destination: two}, {Version: 1, File: delivery.Ref(e, 1), Destination: two},
	}, r.jobs.take())
	require.Zero(t, report.TooNew)
	require.Equal(t, counts{Owed: 4, Delivered: 1, Missing: 2, Parked: 1, OldestUndeliveredSeconds: report.OldestUndeliveredSeconds}, report.counts)
	require.EqualValues(t, 0, r.storedHint(log0).Through, "the entry was taken as done")
	require.Empty(t, r.storedHint(log0).Accounts)

	report, err = r.newAuditor(func(c *Config) { c.Force, c.DryRun = true, true }).Audit(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 2, report.Missing)
	require.Empty(t, r.jobs.take())
	require.EqualValues(t, 4, r.audit().TooNew, "young entries are left alone without Force")
	require.Empty(t, r.jobs.take())
}

// If its owner's clock was a year ahead, an entry is as old as the store says.
func TestEntryWrittenByAClockThatIsAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigWithoutRedis(t)
		e := r.seal(log0, -365*24*time.Hour, []string{one}, "a")
		require.EqualValues(t, 1, r.audit().TooNew, "want too new: just stored")
		time.Sleep(11 * time.Minute)
		require.EqualValues(t, 1, r.audit().Enqueued)
		r.deliver(e, 0, one)
		r.audit()
		require.Equal(t, 1, r.stagedFiles(e))
		time.Sleep(25 * time.Hour)
		r.audit()
		require.Zero(t, r.stagedFiles(e), "kept longer than the retention")
	})
}

func TestRedisHazards(t *testing.T) {
	t.Run("flushed", func(t *testing.T) {
		r := newRig(t, nil)
		r.seal(log0, time.Hour, []string{one}, "a")
		r.audit()
		r.redis.FlushAll()
		r.audit()
		require.Len(t, r.jobs.take(), 2, "want the job a second time")
	})
	t.Run("down", func(t *testing.T) {
		r := newRig(t, nil)
		r.seal(log0, time.Hour, []string{one}, "a", "b")
		r.redis.SetError("LOADING")
		require.EqualValues(t, 2, r.audit().Enqueued)
	})
	// A destination that is down for long must not collect a job at each audit.
	t.Run("down_for_long", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRigWithoutRedis(t)
			r.seal(log0, time.Hour, []string{one}, "a", "b")
			require.EqualValues(t, 2, r.audit().Enqueued)
			enqueued := int64(0)
			for range 24 {
				time.Sleep(time.Hour)
				report := r.audit()
				require.EqualValues(t, 2, report.Queued+report.Missing)
				enqueued += report.Enqueued
			}
			require.EqualValues(t, 2*24/auditsWithoutRedis, enqueued)
			r.seal(log0, time.Hour, []string{one}, "c")
			require.EqualValues(t, 1, r.audit().Enqueued, "a new entry had to wait")
		})
	})
	t.Run("down_since_the_clock_was_ahead", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRigWithoutRedis(t)
			e := r.seal(log0, time.Hour, []string{one}, "a")
			h := emptyHint()
			h.Accounts.addNew(pair{destination: one, owedFile: newOwedFile(1, 0, &e.Files[0])})
			h.Through, h.Attempt, h.Open, h.Blind = 1, e.Attempt, []int64{1}, time.Now().Add(9000*time.Hour).UnixMilli()
			require.NoError(t, h.store(t.Context(), r.staging, log0))
			require.EqualValues(t, 1, r.audit().Enqueued)
		})
	})
	t.Run("lease_held", func(t *testing.T) {
		r := newRig(t, nil)
		r.seal(log0, time.Hour, []string{one}, "a")
		held, err := r.deps.Leases.Acquire(t.Context(), "audit/"+log0.String(), time.Minute)
		require.NoError(t, err)
		require.Equal(t, 1, r.audit().Skipped)
		require.NoError(t, held.Release(t.Context()))
		require.Equal(t, 1, r.audit().Chains)
	})
	t.Run("just_audited_by_another", func(t *testing.T) {
		r := newRig(t, nil)
		r.seal(log0, time.Hour, []string{one}, "a")
		r.auditOnSchedule()
		report, err := r.newAuditor(nil).audit(t.Context(), true)
		require.NoError(t, err)
		require.Equal(t, 1, report.Skipped)
		require.Equal(t, 1, r.audit().Chains, "an audit on demand was skipped")
	})
}

// What was closed is not visited again.
func TestClosedEntriesAreNotVisitedAgain(t *testing.T) {
	r := newRig(t, nil)
	var entries []*ledger.Entry
	for range 5 {
		e := r.seal(log0, time.Hour, []string{one}, "x")
		entries = append(entries, e)
	}
	for i, e := range entries {
		if i != 2 {
			r.deliver(e, 0, one)
		}
	}
	n := r.countReceiptLists()
	r.audit()
	require.Equal(t, 5, *n)
	n = r.countReceiptLists()
	require.EqualValues(t, 1, r.audit().Undelivered())
	require.Equal(t, 1, *n, "want only the open entry")
	r.deliver(entries[2], 0, one)
	r.audit()
	n = r.countReceiptLists()
	require.Zero(t, r.audit().Owed)
	require.Zero(t, *n)

	full := r.newAuditor(func(c *Config) { c.Full = true })
	report, err := full.Audit(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 5, report.Owed)
	require.EqualValues(t, 5, report.Delivered)
}

func TestManyEntriesAreVisitedInBatches(t *testing.T) {
	r := newRig(t, nil)
	for range entriesPerBatch + 20 {
		r.seal(log0, time.Hour, []string{one}, "x")
	}
	require.EqualValues(t, entriesPerBatch+20, r.audit().Enqueued)
	require.Len(t, r.storedHint(log0).Open, entriesPerBatch+20)
	require.Len(t, r.jobs.take(), entriesPerBatch+20)
	require.EqualValues(t, entriesPerBatch+20, r.audit().Queued)
}

func TestOneBrokenChainDoesNotStopTheOthers(t *testing.T) {
	r := newRig(t, nil)
	log1 := log0
	log1.Partition = 1
	r.seal(log0, time.Hour, []string{one}, "a")
	r.seal(log1, time.Hour, []string{one}, "a")
	r.staging.SetFault(func(op objstore.Op) objstore.Fault {
		if op.Key == ledger.EntryKey(log0, 1) {
			return objstore.Fault{Before: objstore.ErrUnavailable}
		}
		return objstore.Fault{}
	})
	report, err := r.Audit(t.Context())
	require.ErrorIs(t, err, objstore.ErrUnavailable)
	require.ErrorContains(t, err, log0.String())
	require.Equal(t, 1, report.Failed)
	require.EqualValues(t, 1, report.Enqueued)
}

func TestKafkaAway(t *testing.T) {
	r := newRig(t, nil)
	r.seal(log0, time.Hour, []string{one}, "a")
	r.jobs.fail = errors.New("no broker")
	_, err := r.Audit(t.Context())
	require.ErrorContains(t, err, "no broker")
	r.jobs.fail = nil
	require.EqualValues(t, 1, r.audit().Enqueued, "the failed audit was noted as done")
}

func TestDryRun(t *testing.T) {
	r := newRig(t, func(c *Config) { c.DryRun, c.Retain = true, time.Minute })
	e := r.seal(log0, time.Hour, []string{one}, "a")
	parked := r.park(e, 0, one)
	r.seal(log0, time.Hour, []string{one}, "b")
	before := len(r.staging.Puts(""))
	report := r.audit()
	require.EqualValues(t, 1, report.Missing)
	require.Zero(t, report.Enqueued)
	require.Empty(t, r.jobs.take())
	require.Len(t, r.staging.Puts(""), before)
	require.True(t, r.exists(parked))
}

func TestDryRunSaysNothingIsDeleted(t *testing.T) {
	var logged bytes.Buffer
	reg := prometheus.NewRegistry()
	r := newRig(t, func(c *Config) { c.DryRun, c.Full = true, true })
	r.metrics = newMetrics(reg)
	r.deps.Log = slog.New(slog.NewTextHandler(&logged, nil))
	r.seal(log0, time.Hour, nil, "a")
	orphan := file(log0, 0, 0, "another cut").StagedKey
	r.stage(orphan, "x")
	require.EqualValues(t, 1, r.audit().Orphans, "a dry run must report the orphan")
	require.True(t, r.exists(orphan))
	require.NotContains(t, logged.String(), "deleted")
	require.Zero(t, gather(t, reg)["sealift_auditor_orphans_collected_total"])
}

// Copiers' pages are folded, so they do not pile up.
func TestRequestPagesAreFolded(t *testing.T) {
	r := newRig(t, nil)
	for n := range 3 {
		b := meter.NewBook(r.staging, fmt.Sprint("copier-", n), r.deps.Log)
		b.Count(one, meter.Counts{Puts: 1})
		b.WritePages(t.Context())
	}
	r.audit()
	r.audit()
	left, err := r.staging.List(t.Context(), "usage/", "", 0)
	require.NoError(t, err)
	require.Len(t, left, 1)
	all, _, err := meter.Read(t.Context(), r.staging)
	require.NoError(t, err)
	require.EqualValues(t, 3, all[one].Puts)
	r.stage(meter.SumKey(7), `{"version":2}`) // from a later release
	r.audit()
}

// Folding, which may take long for weeks of pages, comes last, so that no job waits for it.
func TestRequestPagesAreFoldedLast(t *testing.T) {
	r := newRig(t, nil)
	r.deps.Catalog = catalog.NewLive()
	r.catalog(nil)
	e := r.seal(log0, time.Hour, []string{backOne}, "a")
	r.parkFor(e, 0, backOne, delivery.ReasonDisabled)
	enqueued := -1
	r.staging.SetFault(func(op objstore.Op) objstore.Fault {
		if enqueued < 0 && strings.HasPrefix(op.Key, "usage/") {
			enqueued = len(r.jobs.take())
		}
		return objstore.Fault{}
	})
	r.audit()
	require.Equal(t, 1, enqueued)
}

func TestEmptyLedger(t *testing.T) {
	require.Zero(t, newRig(t, nil).audit().Chains)
}

// gather returns the sum of each metric over its labels.
func gather(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	require.NoError(t, err)
	sums := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			sums[f.GetName()] += m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return sums
}

func TestMetrics(t *testing.T) {
	r := newRig(t, nil)
	reg := prometheus.NewRegistry()
	r.metrics = newMetrics(reg)
	e := r.seal(log0, time.Hour, []string{one, two}, "a")
	r.park(e, 0, two)
	got := gather(t, reg)
	require.NotContains(t, got, "sealift_auditor_destination_parked_files")
	require.True(t, math.IsNaN(got["sealift_auditor_last_audit_timestamp_seconds"]), "want NaN before the first audit")
	r.audit()
	got = gather(t, reg)
	require.InDelta(t, time.Now().Unix(), got["sealift_auditor_last_audit_timestamp_seconds"], 60)
	require.EqualValues(t, 2, got["sealift_auditor_owed_without_receipt"])
	require.EqualValues(t, 1, got["sealift_auditor_parked"])
	require.EqualValues(t, 1, got["sealift_auditor_enqueued_jobs_total"])
	require.InDelta(t, 3600, got["sealift_auditor_oldest_undelivered_age_seconds"], 60)
	require.EqualValues(t, 1, got["sealift_auditor_destination_pending_files"])
	require.EqualValues(t, 1, got["sealift_auditor_destination_parked_files"])
	require.InDelta(t, 7200, got["sealift_auditor_destination_oldest_undelivered_age_seconds"], 120, "want the sum over two destinations")
	r.deliver(e, 0, one)
	r.audit()
	got = gather(t, reg)
	require.InDelta(t, 3600, got["sealift_auditor_destination_oldest_undelivered_age_seconds"], 60, "want only the destination that is owed something")
	require.Zero(t, got["sealift_auditor_destination_pending_files"])

	former := ledger.Log{Topic: log0.Topic, Incarnation: "0", Partition: log0.Partition}
	r.seal(former, time.Hour, []string{one}, "of a former cluster")
	r.deliver(e, 0, two)
	r.audit()
	require.EqualValues(t, 1, gather(t, reg)["sealift_auditor_owed_without_receipt"], "the debt of a former incarnation is hidden")
	r.metrics.forgetChain(former)

	r.metrics.forgetChain(log0)
	require.NotContains(t, gather(t, reg), "sealift_auditor_owed_without_receipt", "the metric of a forgotten chain remains")
	require.NotContains(t, gather(t, reg), "sealift_auditor_destination_parked_files")
}

func TestSchedule(t *testing.T) {
	a := &Auditor{cfg: Config{Every: time.Hour, Minute: 40}}
	day := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	for now, want := range map[time.Duration]time.Duration{
		10*time.Hour + 5*time.Minute:                10*time.Hour + 40*time.Minute,
		10*time.Hour + 40*time.Minute:               11*time.Hour + 40*time.Minute,
		10*time.Hour + 40*time.Minute + time.Second: 11*time.Hour + 40*time.Minute,
		23*time.Hour + 50*time.Minute:               24*time.Hour + 40*time.Minute,
	} {
		got := a.nextAudit(day.Add(now))
		require.WithinRange(t, got, day.Add(want), day.Add(want+time.Minute))
	}
	a.cfg.Every = 10 * time.Second
	require.WithinRange(t, a.nextAudit(day), day.Add(10*time.Second), day.Add(11*time.Second))
}

func TestRunAuditsEveryHourUntilItIsStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		staging := objstore.NewMemory("staging")
		audits := 0
		staging.SetFault(func(op objstore.Op) objstore.Fault {
			if op.Name == "list" && strings.HasPrefix(op.Key, "ledger/") {
				audits++
			}
			return objstore.Fault{}
		})
		a, err := New(Config{Minute: 40}, Deps{Staging: staging, Jobs: &fakeJobs{}, Catalog: catalog.NewLive(), Log: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- a.Run(ctx) }()
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		require.InDelta(t, 24, audits, 1)
		cancel()
		require.NoError(t, <-done)
	})
}

func TestConfigIsChecked(t *testing.T) {
	for _, c := range []Config{{Every: time.Millisecond}, {Minute: 60}, {Minute: -1}, {Grace: -1}} {
		_, err := New(c, Deps{})
		require.Error(t, err, c)
	}
}

// A file received by a collector whose clock was a year ahead does not stay the newest for a year.
func TestNewestFileIsNotInTheFuture(t *testing.T) {
	a := accounts{}
	for i, received := range []int64{1000, 9_000_000, 3000} {
		a.addNew(pair{one, owedFile{int64(i + 1), 0, received, 1, 1}, &receiptInfo{delivery.Delivered, int64(i+1) * 1100}})
	}
	require.EqualValues(t, 3000, a[one].Newest)
	require.EqualValues(t, 3300, a[one].Last)
}

// After kafka.events_topic was changed, nobody audits what the former topic owes: that is logged
// once.
func TestLedgersOfOtherTopicsAreLoggedOnce(t *testing.T) {
	r := newRig(t, nil)
	var log bytes.Buffer
	r.deps.Log = slog.New(slog.NewTextHandler(&log, nil))
	another := log0
	another.Topic = "former.events"
	for _, l := range []ledger.Log{log0, another} {
		r.seal(l, time.Hour, []string{one}, "a")
	}
	for range 2 {
		require.Equal(t, 1, r.audit().Chains)
	}
	require.Len(t, r.jobs.take(), 1)
	require.Equal(t, 1, strings.Count(log.String(), "another topic is not audited"))
	require.Contains(t, log.String(), "topic=former.events")
}
