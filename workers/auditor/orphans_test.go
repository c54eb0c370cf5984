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
	"github.com/sealift/sealift/pkg/objstore/objstoretest"
)

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

// slowSearches makes listings of staged objects take long, and counts them by prefix.
func (r *rig) slowSearches() (listings map[string]int) {
	listings = map[string]int{}
	r.deps.Staging = objstoretest.Before{Store: r.deps.Staging, Do: func(_ context.Context, op, prefix string) error {
		if op == "list" && strings.HasPrefix(prefix, "data/") {
			listings[prefix]++
			time.Sleep(20 * time.Minute)
		}
		return nil
	}}
	return listings
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
		listings := r.slowSearches()
		for audit := range 30 {
			begun := time.Now()
			r.auditOnSchedule()
			require.Less(t, time.Since(begun), time.Hour/2)
			require.Len(t, listings, audit+1, "want one search per audit")
			if audit == 0 {
				require.Equal(t, []delivery.Job{{Version: 1, File: delivery.Ref(owed, 0), Destination: one}}, r.jobs.take())
			}
			time.Sleep(time.Hour)
		}
		for prefix, n := range listings {
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
		r.slowSearches()
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
		r.auditOnSchedule()
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
