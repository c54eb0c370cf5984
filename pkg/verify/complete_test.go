package verify

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/ledger/ledgertest"
	"github.com/sealift/sealift/pkg/objstore"
)

// fileInHour returns a file of the n-th hour.
func fileInHour(n int64, source string, first, last int64) ledger.File {
	f := sealedFile(source, first, last, last-first+1)
	f.Hour += n * hourLength
	f.Received += n * hourLength
	f.StagedKey = delivery.StagedKey(testLog, &f)
	return f
}

// appendEntries writes a partition's chain: entry 0, then these.
func appendEntries(t *testing.T, store objstore.Store, partition int, entries ...ledger.Entry) {
	t.Helper()
	l := testLog
	l.Partition = partition
	for i, e := range append([]ledger.Entry{{Kind: ledger.KindInit}}, entries...) {
		e.Version, e.Seq, e.Attempt, e.Topic, e.Incarnation, e.Partition = ledger.EntryVersion, int64(i), fmt.Sprint(i), l.Topic, l.Incarnation, partition
		e.WrittenAt = cmp.Or(e.WrittenAt, hour0+1000*hourLength)
		if e.Kind == "" {
			e.Kind = ledger.KindSeal
		}
		require.NoError(t, ledger.NewChain(store, l).Append(context.Background(), &e))
	}
}

func TestHoursAreCompleteWhenEveryPartitionIs(t *testing.T) {
	ctx := context.Background()
	store := objstore.NewMemory("staging")
	at := func(hours int64) int64 { return hour0 + hours*hourLength }
	nobodys := fileInHour(0, "b", 9, 9)
	nobodys.Owed = nil
	appendEntries(t, store, 3,
		ledger.Entry{LowWatermark: 10, CompleteThrough: at(1), Files: []ledger.File{fileInHour(0, "a", 0, 4), fileInHour(0, "b", 5, 8), nobodys}},
		ledger.Entry{LowWatermark: 30, CompleteThrough: at(2), Files: []ledger.File{fileInHour(1, "a", 10, 19), fileInHour(0, "a", 20, 29)}}, // the second is late
	)
	appendEntries(t, store, 4, ledger.Entry{CompleteThrough: at(1) + 1})
	cfg := Config{Topic: "events"}
	r, err := ReadCompleteness(ctx, cfg, Deps{Staging: store}, nil)
	require.NoError(t, err)
	require.Equal(t, fromMillis(at(1)+1), r.CompleteThrough, "partition 4 is the earliest")
	debt := func(owed int64) []HourDelivery { return []HourDelivery{{Destination: "ws/a", Owed: owed}} }
	newest := func(hours int64) time.Time { return fromMillis(at(hours) + 1) } // as of all files here
	require.Equal(t, []Hour{
		{Source: "a", Hour: fromMillis(hour0), Newest: newest(0), Files: 2, Records: 15, Bytes: 10, LateFiles: 1, LateRecords: 10, Complete: true, Destinations: debt(2)},
		{Source: "b", Hour: fromMillis(hour0), Newest: newest(0), Files: 2, Records: 5, Bytes: 10, Complete: true, Destinations: debt(1), Unowed: 1},
		{Source: "a", Hour: fromMillis(at(1)), Newest: newest(1), Files: 1, Records: 10, Bytes: 5, Destinations: debt(1)},
	}, r.Hours)

	cfg.Source, cfg.Since, cfg.Until = "a", fromMillis(at(1)), fromMillis(at(2))
	r, err = ReadCompleteness(ctx, cfg, Deps{Staging: store}, nil)
	require.NoError(t, err)
	require.Len(t, r.Hours, 1)

	r, err = ReadCompleteness(ctx, Config{Topic: "events"}, Deps{Staging: store}, map[int]int64{0: 0, 1: 0, 2: 0, 3: 31, 4: 0, 5: 0})
	require.NoError(t, err)
	require.True(t, r.CompleteThrough.IsZero(), "partition 5 was never read")
	require.False(t, r.Hours[0].Complete)
	require.Equal(t, Progress{Partition: 5, Entry: -1}, r.Partitions[5])
	require.False(t, r.Partitions[3].Idle, "offset 30 is in no file yet")
	require.True(t, r.Partitions[4].Idle)

	_, err = ReadCompleteness(ctx, Config{Topic: "other"}, Deps{Staging: store}, nil)
	require.ErrorIs(t, err, ErrNoLedger)
}

// What was given up does not count as delivered, although its receipt closes the debt. A short
// receipt that is not understood closes its debt, as everywhere.
func TestGivenUpIsNotDelivered(t *testing.T) {
	store := objstore.NewMemory("staging")
	files := []ledger.File{fileInHour(0, "a", 0, 4), fileInHour(0, "a", 5, 9), fileInHour(0, "a", 10, 14), fileInHour(0, "a", 15, 19), fileInHour(0, "a", 20, 24)}
	e := ledgertest.Append(t, store, ledgertest.Next(ledgertest.Append(t, store, ledgertest.Init(testLog, fromMillis(hour0))), files...))
	for i, outcome := range []delivery.Outcome{delivery.Delivered, delivery.Skipped, delivery.Skipped} {
		r := delivery.Receipt{Outcome: outcome}
		if outcome == delivery.Delivered {
			r = delivery.Receipt{Bucket: "logs", Key: delivery.ObjectKey("", testLog, &files[i]), SHA256: files[i].SHA256, Bytes: 5, Records: 5, At: hour0}
		}
		ledgertest.Receipt(t, store, e, i, "ws/a", r)
	}
	ledgertest.Put(t, store, delivery.ReceiptKey(delivery.Ref(e, 3), "ws/a"), []byte("hello"))
	gets := map[string]int{}
	var mu sync.Mutex
	store.SetFault(func(op objstore.Op) objstore.Fault {
		mu.Lock()
		defer mu.Unlock()
		if op.Name == "get" && strings.HasPrefix(op.Key, "receipts/") {
			gets[op.Key]++
		}
		return objstore.Fault{}
	})
	r, err := ReadCompleteness(t.Context(), Config{Topic: "events"}, Deps{Staging: store}, nil)
	require.NoError(t, err)
	require.Equal(t, []HourDelivery{{Destination: "ws/a", Owed: 5, Delivered: 2, GivenUp: 2}}, r.Hours[0].Destinations)
	require.Len(t, gets, 3, "only receipts too short to name an object are read")
}

// Batches are read only of entries with files that are asked for.
func TestCompletenessReadsOnlyWhatIsSelected(t *testing.T) {
	store := objstore.NewMemory("staging")
	head := ledgertest.Append(t, store, ledgertest.Init(testLog, fromMillis(hour0)))
	in := func(i int) delivery.Receipt {
		return delivery.Receipt{File: delivery.FileRef{Index: i}, Destination: "ws/a"}
	}
	for n, source := range []string{"a", "b", "a"} {
		first := int64(10 * n)
		head = ledgertest.Append(t, store, ledgertest.Next(head, fileInHour(int64(n), source, first, first+4), fileInHour(int64(n), source, first+5, first+9)))
		ledgertest.Batch(t, store, head, in(0), in(1))
	}
	var gets atomic.Int32
	store.SetFault(func(op objstore.Op) objstore.Fault {
		if op.Name == "get" && strings.HasPrefix(op.Key, "receipts/") {
			gets.Add(1)
		}
		return objstore.Fault{}
	})
	for hazard, c := range map[string]struct {
		cfg   Config
		files int64
		gets  int32
	}{
		"all":      {Config{Topic: "events"}, 6, 3},
		"a_source": {Config{Topic: "events", Source: "b"}, 2, 1},
		"an_hour":  {Config{Topic: "events", Until: fromMillis(hour0 + hourLength)}, 2, 1},
		"both":     {Config{Topic: "events", Source: "b", Until: fromMillis(hour0 + hourLength)}, 0, 0},
	} {
		gets.Store(0)
		r, err := ReadCompleteness(t.Context(), c.cfg, Deps{Staging: store}, nil)
		require.NoError(t, err)
		delivered := int64(0)
		for _, h := range r.Hours {
			delivered += h.Destinations[0].Delivered
		}
		require.Equal(t, c.files, delivered, hazard)
		require.Equal(t, c.gets, gets.Load(), hazard)
	}
}

// TestCompleteThroughFromTheFutureIsIgnored: a CompleteThrough from a clock that was ahead neither
// completes hours nor makes files late.
func TestCompleteThroughFromTheFutureIsIgnored(t *testing.T) {
	at := func(hours int64) int64 { return hour0 + hours*hourLength }
	ahead := time.Now().Add(30 * 24 * time.Hour).UnixMilli()
	entryWith := func(through, written int64) ledger.Entry {
		return ledger.Entry{CompleteThrough: through, WrittenAt: written, Files: []ledger.File{fileInHour(0, "a", 0, 4)}}
	}
	for name, c := range map[string]struct {
		after    []ledger.Entry // entries after the one that was ahead
		complete bool
		late     int64
	}{
		"not_yet_corrected":         {},
		"claimed_afterwards":        {after: []ledger.Entry{{Kind: ledger.KindClaim, CompleteThrough: ahead, WrittenAt: at(2)}}},
		"corrected":                 {after: []ledger.Entry{entryWith(at(1), at(1)+20_000)}, complete: true},
		"late_after_the_correction": {after: []ledger.Entry{entryWith(at(1), at(1)+20_000), entryWith(at(1), at(1)+30_000)}, complete: true, late: 1},
	} {
		t.Run(name, func(t *testing.T) {
			store := objstore.NewMemory("staging")
			appendEntries(t, store, 3, append([]ledger.Entry{entryWith(ahead, ahead)}, c.after...)...)
			r, err := ReadCompleteness(t.Context(), Config{Topic: "events"}, Deps{Staging: store}, nil)
			require.NoError(t, err)
			require.Equal(t, c.complete, r.Hours[0].Complete)
			require.Equal(t, c.late, r.Hours[0].LateFiles)
			require.Equal(t, !c.complete, r.CompleteThrough.IsZero())
		})
	}
}

// TestCompletenessReadsOnlyEntriesSince: a report about today does not read a year of entries.
func TestCompletenessReadsOnlyEntriesSince(t *testing.T) {
	store := objstore.NewMemory("staging")
	var entries []ledger.Entry
	for i := range int64(200) {
		entries = append(entries, ledger.Entry{LowWatermark: i})
	}
	appendEntries(t, store, 0, entries...)
	gets := 0
	store.SetFault(func(op objstore.Op) objstore.Fault {
		if op.Name == "get" {
			gets++
		}
		return objstore.Fault{}
	})
	_, err := ReadCompleteness(t.Context(), Config{Topic: "events", Since: time.Now().Add(2 * time.Hour), Concurrency: 1}, Deps{Staging: store}, nil)
	require.NoError(t, err)
	require.LessOrEqual(t, gets, 3, "more was read than the head and the entry before it")
}
