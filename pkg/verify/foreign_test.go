package verify

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/ledger/ledgertest"
	"github.com/sealift/sealift/pkg/objstore"
)

// fleet is one chain whose files are delivered to a bucket per destination.
type fleet struct {
	testing.TB
	staging *objstore.Memory
	buckets map[string]*objstore.Memory
	head    *ledger.Entry
}

func newFleet(t testing.TB, destinations int) *fleet {
	f := &fleet{t, objstore.NewMemory("staging"), map[string]*objstore.Memory{}, nil}
	for i := range destinations {
		f.buckets[fmt.Sprintf("ws/d%04d", i)] = objstore.NewMemory("b")
	}
	f.head = ledgertest.Append(t, f.staging, ledgertest.Init(testLog, time.Now()))
	return f
}

// sealAndDeliver appends an entry with one file per destination, all of the same hour, and delivers
// them.
func (f *fleet) sealAndDeliver(hour time.Time, receipts bool) *ledger.Entry {
	var files []ledger.File
	for i := range len(f.buckets) {
		files = append(files, ledgertest.File(testLog, ledger.File{
			Source: fmt.Sprint("s", i), Hour: hour.Truncate(time.Hour).UnixMilli(), First: f.head.LowWatermark + int64(i), Owed: []string{fmt.Sprintf("ws/d%04d", i)},
		}, []byte("12345")))
	}
	e := ledgertest.Next(f.head, files...)
	e.WrittenAt = time.Now().UnixMilli()
	f.head = ledgertest.Append(f, f.staging, e)
	for i := range e.Files {
		file := &e.Files[i]
		ledgertest.Put(f, f.staging, file.StagedKey, []byte("12345"))
		key := delivery.ObjectKey("", testLog, file)
		_, err := f.buckets[file.Owed[0]].Put(f.Context(), key, strings.NewReader("12345"),
			objstore.PutOptions{ContentType: "text/plain", ContentEncoding: "gzip", Metadata: delivery.ObjectMetadata(testLog, file)})
		require.NoError(f, err)
		if receipts {
			ledgertest.Receipt(f, f.staging, e, i, file.Owed[0], delivery.Receipt{Bucket: "b", Key: key, SHA256: file.SHA256, Bytes: 5, Records: file.Records})
		}
	}
	return e
}

// verify runs Verify, calls meanwhile once during it, and counts the entries that it reads.
func (f *fleet) verify(meanwhile func()) (r *Report, read int) {
	f.staging.SetFault(func(op objstore.Op) objstore.Fault {
		if op.Name == "get" && strings.HasPrefix(op.Key, "ledger/") {
			read++
		}
		return objstore.Fault{}
	})
	deps := Deps{Staging: f.staging, Bucket: func(_ context.Context, destination string) (Bucket, error) {
		return Bucket{Store: f.buckets[destination], Name: "b", Server: destination}, nil
	}, OnDone: func(int64) {
		if do := meanwhile; do != nil {
			meanwhile = nil
			do()
		}
	}}
	r, err := Verify(f.Context(), Config{Topic: "events", Partition: -1, Concurrency: 1}, deps)
	require.NoError(f, err)
	return r, read
}

// While a fleet is running, every destination gets files during Verify. These must not make it read
// the whole ledger a second time.
func TestObjectsDeliveredDuringVerifyAreNoSuspects(t *testing.T) {
	f := newFleet(t, 5)
	f.sealAndDeliver(time.Now(), true)
	r, read := f.verify(func() { f.sealAndDeliver(time.Now(), true) })
	require.True(t, r.OK(), r.Examples)
	require.Empty(t, r.Unread)
	require.Equal(t, 2, read, "entries written before Verify began")

	ledgertest.Put(t, f.buckets["ws/d0002"], strings.Replace(delivery.ObjectKey("", testLog, &f.head.Files[2]), ".gz", "x.gz", 1), []byte("12345"))
	r, _ = f.verify(func() { f.sealAndDeliver(time.Now(), true) })
	require.Equal(t, map[Kind]int64{ObjectForeign: 1}, r.ByKind, "an object put before Verify began")
}

// A suspect is looked up in the entries written since its day began, and in all others only if it
// is not found there, as when a producer's clock was ahead.
func TestSuspectsAreLookedUpFromTheirDayOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for hazard, c := range map[string]struct {
			ahead time.Duration
			read  int
		}{
			"clocks_agree":      {0, 1},
			"a_clock_was_ahead": {240 * time.Hour, 1 + 12},
		} {
			f := newFleet(t, 3)
			for range 10 {
				time.Sleep(24 * time.Hour)
				f.sealAndDeliver(time.Now(), true)
			}
			time.Sleep(24 * time.Hour)
			f.sealAndDeliver(time.Now().Add(c.ahead), false)
			time.Sleep(24 * time.Hour)
			f.sealAndDeliver(time.Now(), true)
			time.Sleep(24 * time.Hour)
			r, read := f.verify(nil)
			require.True(t, r.OK(), "%s: %v", hazard, r.Examples)
			require.Equal(t, 13+c.read, read, hazard)
		}
	})
}

// listingStore is a bucket that also lists what page returns for the keys after one.
type listingStore struct {
	*objstore.Memory
	page func(after string) []objstore.Info
}

func (l listingStore) List(_ context.Context, _, after string, limit int) ([]objstore.Info, error) {
	infos := l.page(after)
	return infos[:min(len(infos), limit)], nil
}

// A customer's server may list anything, forever. That neither fills the memory, nor prevents
// Verify from ending, nor goes unreported.
func TestEndlessListingIsGivenUp(t *testing.T) {
	for hazard, c := range map[string]struct {
		key  func(n int) string
		put  time.Duration // relative to now
		want string
	}{
		"in_one_folder":             {func(n int) string { return fmt.Sprintf("segment-logs/s0/1795824000000/%012d.gz", n) }, 0, "it lists more than 1000000 objects"},
		"put_in_the_future":         {func(n int) string { return fmt.Sprintf("segment-logs/s0/1795824000000/%012d.gz", n) }, 24 * time.Hour, "it lists more than 1000000 objects"},
		"endless_sources_of_others": {func(n int) string { return fmt.Sprintf("segment-logs/t%012d/1795824000000/a.gz", n) }, 0, "it lists more than 1000000 objects"},
		"keys_without_a_source":     {func(n int) string { return fmt.Sprintf("segment-logs/%012d", n) }, 0, "it lists more than 1000000 objects"},
		"overlong_keys":             {func(n int) string { return fmt.Sprintf("segment-logs/s0/%012d/%s", n, strings.Repeat("x", 1<<20)) }, 0, "it lists a key of 1048"},
	} {
		t.Run(hazard, func(t *testing.T) {
			f := newFleet(t, 1)
			f.sealAndDeliver(time.Now(), true)
			n := 0
			store := listingStore{f.buckets["ws/d0000"], func(string) []objstore.Info {
				require.Less(t, n, 2*maxSuspects, "the listing was not given up")
				page := make([]objstore.Info, 1000)
				for i := range page {
					n++
					page[i] = objstore.Info{Key: c.key(n), LastModified: time.Now().Add(c.put)}
					if len(page[i].Key) > 1<<20 {
						return page[:i+1]
					}
				}
				return page
			}}
			r, err := Verify(t.Context(), Config{Topic: "events", Partition: -1}, Deps{Staging: f.staging, Bucket: func(context.Context, string) (Bucket, error) {
				return Bucket{Store: store, Name: "b"}, nil
			}})
			require.NoError(t, err)
			require.Contains(t, strings.Join(r.Unread, "\n"), c.want)
		})
	}
}

// More unknown objects than are looked at are one line for each bucket that has them, and not one for
// each folder, which would leave no room for what else was not read.
func TestTooManyUnknownObjects(t *testing.T) {
	f := newFleet(t, 2)
	f.sealAndDeliver(time.Now(), true)
	r, err := Verify(t.Context(), Config{Topic: "events", Partition: -1}, Deps{Staging: f.staging, Bucket: func(_ context.Context, id string) (Bucket, error) {
		day := int64(0)
		store := listingStore{f.buckets[id], func(string) []objstore.Info {
			if day++; day > 600 {
				return nil
			}
			page := make([]objstore.Info, 1000)
			for i := range page {
				page[i] = objstore.Info{Key: fmt.Sprintf("segment-logs/s0/%d/%06d.gz", 1_700_006_400_000+day*86_400_000, i), LastModified: time.Now().Add(-time.Hour)}
			}
			return page
		}}
		return Bucket{Store: store, Name: id[len("ws/"):]}, nil
	}})
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(strings.Join(r.Unread, "\n"), "named up to 1000000 in all"), r.Unread)
}

// A bucket may hold years of another system's files below segment-logs/, of sources that are not
// ours: they are not all listed.
func TestSourcesOfOthersAreNotListedToTheEnd(t *testing.T) {
	f := newFleet(t, 1)
	f.sealAndDeliver(time.Now(), true)
	ours := delivery.ObjectKey("", testLog, &f.head.Files[0])
	pages := 0
	store := listingStore{f.buckets["ws/d0000"], func(after string) []objstore.Info {
		if pages++; after < "segment-logs/legacy0" {
			page := make([]objstore.Info, 1000)
			for i := range page {
				page[i] = objstore.Info{Key: fmt.Sprintf("segment-logs/legacy/1795824000000/%05d%07d.gz", pages, i)}
			}
			return page
		}
		return []objstore.Info{{Key: ours}, {Key: strings.Replace(ours, ".gz", "x.gz", 1)}}
	}}
	r, err := Verify(t.Context(), Config{Topic: "events", Partition: -1}, Deps{Staging: f.staging, Bucket: func(context.Context, string) (Bucket, error) {
		return Bucket{Store: store, Name: "b"}, nil
	}})
	require.NoError(t, err)
	require.Empty(t, r.Unread)
	require.Equal(t, map[Kind]int64{ObjectForeign: 1}, r.ByKind, "objects after those of the other source are checked")
	require.LessOrEqual(t, pages, 4)
}

// BenchmarkSuspects measures suspects in every destination's bucket: the cost per file must not
// grow with the number of destinations.
func BenchmarkSuspects(b *testing.B) {
	for _, n := range []int{100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			f := newFleet(b, n)
			f.sealAndDeliver(time.Now(), false)
			for b.Loop() {
				r, _ := f.verify(nil)
				if !r.OK() {
					b.Fatal(r.Examples)
				}
				b.ReportMetric(r.TookSeconds/float64(n)*1e6, "µs/file")
			}
		})
	}
}

// A file that is owed to nobody is counted, and is not a problem.
func TestUnowedFilesAreCounted(t *testing.T) {
	f := newFleet(t, 1)
	f.sealAndDeliver(time.Now(), true)
	file := ledgertest.File(testLog, ledger.File{Source: "s0", First: f.head.LowWatermark, Last: f.head.LowWatermark + 9}, []byte("12345"))
	ledgertest.Put(t, f.staging, file.StagedKey, []byte("12345"))
	ledgertest.Append(t, f.staging, ledgertest.Next(f.head, file))
	r, _ := f.verify(nil)
	require.True(t, r.OK(), r.Examples)
	require.Equal(t, Unowed{Files: 1, Records: 10}, r.Unowed)
}

// The objects that were seen are compared with everything that was delivered, and not only with what
// still exists, and the copies of replays are counted separately.
func TestDeliveredCountsMissingObjects(t *testing.T) {
	const dest = "ws/d0000"
	f := newFleet(t, 1)
	key := func(view string, e *ledger.Entry) string { return delivery.ObjectKey(view, testLog, &e.Files[0]) }
	for range 2 {
		e := f.sealAndDeliver(time.Now(), true)
		require.NoError(t, f.buckets[dest].Delete(t.Context(), key("", e)))
	}
	e := f.sealAndDeliver(time.Now(), true)
	order := delivery.Order{ID: "r", Topic: "events", Incarnation: "1", Heads: map[int]int64{testLog.Partition: e.Seq}, From: delivery.FromAuto, View: "v2"}
	ledgertest.Put(t, f.staging, delivery.OrderKey(order.ID), order.Encode())
	file := &e.Files[0]
	r := delivery.Receipt{File: delivery.Ref(e, 0), Destination: dest, Outcome: delivery.Delivered, Bucket: "b", Key: key("v2", e), SHA256: file.SHA256, Bytes: 5, Records: file.Records, Replay: order.ID}
	ledgertest.Put(t, f.staging, delivery.ReplayReceiptKey(order.ID, r.File, dest), r.Encode())
	_, err := f.buckets[dest].Put(t.Context(), r.Key, strings.NewReader("12345"), objstore.PutOptions{ContentType: "text/plain", ContentEncoding: "gzip", Metadata: delivery.ObjectMetadata(testLog, file)})
	require.NoError(t, err)

	report, _ := f.verify(nil)
	require.Equal(t, map[Kind]int64{ObjectMissing: 2}, report.ByKind, report.Examples)
	d := report.Destinations[0]
	require.Equal(t, [5]int64{3, 1, 1, 1, 0}, [5]int64{d.Delivered, d.Objects, d.Replayed, d.ReplayedObjects, d.Unseen})
}
