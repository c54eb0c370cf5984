package plan

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// constants are round numbers, so that the results can be computed by hand.
func constants() Measured {
	return Measured{
		Time: "2026-11-29T00:00:00Z", CollectorPerByte: 1e-8, AppenderPerByte: 1e-8, AppenderPerFile: 1e-3, CopierPerByte: 1e-9, CopierPerFile: 2e-3,
		GzipPerByte: 0.2, GzipPerFile: 100, KafkaPerByte: 0.3, CollectorRSS: 1e8, AppenderRSS: 5e8, CopierRSS: 1e8,
	}
}

func estimate(t *testing.T, change func(*Load)) Plan {
	t.Helper()
	l := DefaultLoad()
	change(&l)
	p, err := Estimate(l, constants())
	require.NoError(t, err)
	return p
}

func TestFilesOfARoll(t *testing.T) {
	for hazard, c := range map[string]struct {
		load Load
		want float64 // per day
	}{
		"every_source_has_one_an_hour":    {Load{EventsPerSecond: 1000, EventBytes: 1000, Sources: 50}, 50 * 24},
		"full_files_are_cut":              {Load{EventsPerSecond: 1000, EventBytes: 1000, Sources: 1}, 8 * 24}, // 720 MB of gzip an hour
		"an_idle_source_has_none":         {Load{EventsPerSecond: 1.0 / 3600, EventBytes: 1000, Sources: 1}, 24 * (1 - 0.36787944)},
		"more_sources_than_events_an_day": {Load{EventsPerSecond: 1.0 / 86400, EventBytes: 1000, Sources: 100_000}, 1},
	} {
		t.Run(hazard, func(t *testing.T) {
			p := estimate(t, func(l *Load) {
				l.EventsPerSecond, l.EventBytes, l.Sources, l.Skew = c.load.EventsPerSecond, c.load.EventBytes, c.load.Sources, 0
			})
			require.InDelta(t, c.want, p.FilesPerDay, 1e-3*c.want)
		})
	}
}

func TestSpreadSourceHasAFileInEachPartition(t *testing.T) {
	withSpread := func(spread int) Plan {
		return estimate(t, func(l *Load) {
			l.EventsPerSecond, l.EventBytes, l.Peak, l.Sources, l.Skew, l.DedupWindow, l.MaxBytes = 150_000, 1000, 1, 3, 2, 0, 1e12
			l.Spread = spread
		})
	}
	one, few, many := withSpread(1), withSpread(2), withSpread(64)
	require.InDelta(t, 3*24, one.FilesPerDay, 1e-6)
	require.Len(t, one.Notes, 1)
	require.Contains(t, one.Notes[0], "spread: 2 in the catalog")
	require.Empty(t, few.Notes, "the recommended spread is enough")
	require.InDelta(t, 4*24, few.FilesPerDay, 1e-6, "only the hot source is spread")
	require.InDelta(t, (64+2)*24, many.FilesPerDay, 1e-6)
	require.GreaterOrEqual(t, many.Kafka.Partitions, 64)
	require.InEpsilon(t, one.GzipPerDay, few.GzipPerDay, 1e-6)
}

func TestSharesDecreaseAndSumToOne(t *testing.T) {
	l := DefaultLoad()
	for _, l.Skew = range []float64{0, 0.5, 1.1, 3} {
		sum, last := 0.0, 1.0
		for _, s := range l.shares() {
			require.LessOrEqual(t, s, last)
			sum, last = sum+s, s
		}
		require.InDelta(t, 1, sum, 1e-9)
	}
}

func TestEstimate(t *testing.T) {
	p := estimate(t, func(l *Load) {
		l.EventsPerSecond, l.EventBytes, l.Peak, l.Sources, l.Skew = 100_000, 1000, 2, 1000, 0
		l.Cores, l.Utilisation, l.Copies, l.KMSShare = 2, 0.5, 2, 0.25
	})
	require.InDelta(t, 86400*1e8, p.BytesPerDay, 1)
	require.Equal(t, 2, p.worker("collector").Count, "200 MB/s keep 2 cores busy, and each worker may use 1")
	require.GreaterOrEqual(t, p.worker("appender").Count, 2)
	require.Zero(t, p.Kafka.Partitions%p.worker("appender").Count, "partitions cannot be shared evenly among the appenders")
	require.InDelta(t, 1e8*0.3*7*86400*3, p.Kafka.DiskBytes, 1)
	require.InDelta(t, 2*p.FilesPerDay, p.DeliveriesPerDay, 1e-6)
	costOf := func(kind string) (c Cost) {
		for _, r := range p.Requests {
			if r.Kind == kind {
				c = r
			}
		}
		return c
	}
	require.InDelta(t, p.FilesPerDay, costOf("put staged").PerDay, 1e-6, "files of 72 MB are not packed")
	require.InDelta(t, p.DeliveriesPerDay, costOf("put object").PerDay, 1e-6)
	require.Equal(t, "customers", costOf("put object").Payer)
	require.InDelta(t, p.DeliveriesPerDay*30.4*0.005/1000, costOf("put object").USD, 1e-6)
	require.InDelta(t, p.DeliveriesPerDay/4, costOf("data_key object").PerDay, 1e-6)
	sum := p.StorageUSD
	for _, r := range p.Requests {
		if r.Payer == "operator" {
			sum += r.USD
		}
	}
	require.InDelta(t, sum, p.OperatorUSD, 1e-6)
}

// TestOpenFilesTakeMemory: the benchmark held few lines. If one of two appenders is down, the other
// holds the open lines of all sources, and the fetched bytes of all partitions.
func TestOpenFilesTakeMemory(t *testing.T) {
	for sources, want := range map[int]float64{
		50:      5e8 + 1.25*50*(128<<10),
		2_000:   5e8 + 1.25*2000*(128<<10),
		100_000: 5e8 + 1.25*(512<<20), // appender.memory: 1,261 MB; a run with four partitions each took 1,073
	} {
		p := estimate(t, func(l *Load) { l.EventsPerSecond, l.Sources, l.Skew, l.DedupWindow = 1_000, sources, 0, 0 })
		require.Equal(t, 2, p.worker("appender").Count)
		require.Equal(t, 8, p.Kafka.Partitions)
		require.InDelta(t, want+1.25*8*9e6+catalogOf(p), p.worker("appender").MemoryBytes, 1e6, "%d sources", sources)
	}
}

// TestRememberedMessagesTakeMemory: up to appender.dedup_memory, since the benchmark is over long
// before a window has passed.
func TestRememberedMessagesTakeMemory(t *testing.T) {
	withWindow := func(w time.Duration) float64 {
		p := estimate(t, func(l *Load) { l.EventsPerSecond, l.DedupWindow = 1_000, w })
		return p.worker("appender").MemoryBytes
	}
	for window, messages := range map[time.Duration]float64{
		time.Hour:      1.5 * 3.6e6, // one of the two may be down
		24 * time.Hour: 1.5 * 86.4e6,
		72 * time.Hour: 256 << 20, // appender.dedup_memory
	} {
		require.InDelta(t, withWindow(0)+1.25*messages, withWindow(window), 1e6, window)
	}
}

// TestDiskHasRoomBeyondDiskFree: an appender refuses a disk that is not a quarter larger than
// appender.disk_free, and pauses while less than that is free.
func TestDiskHasRoomBeyondDiskFree(t *testing.T) {
	small := estimate(t, func(l *Load) { l.EventsPerSecond, l.Sources = 1, 1 })
	require.Greater(t, small.worker("appender").DiskBytes, 1.25*(1<<30))
	require.Less(t, small.worker("appender").DiskBytes, 1.3*(1<<30))
	large := estimate(t, func(l *Load) { l.EventsPerSecond, l.Sources, l.DedupWindow = 10_000, 1, 0 })
	require.Equal(t, 2, large.worker("appender").Count)
	stored := 2 * large.GzipPerDay / 24 * large.Load.Peak // one of the two may be down
	require.InEpsilon(t, stored+1.25*(1<<30), large.worker("appender").DiskBytes, 0.01)
}

// TestRequestsInFlightTakeMemory: the benchmark's collector had no more than it could
// serve. At 1.2 times that, one took 522 MB (workers/collector/DESIGN.md).
func TestRequestsInFlightTakeMemory(t *testing.T) {
	p := estimate(t, func(*Load) {})
	require.InDelta(t, 1e8+2*(256<<20)+catalogOf(p), p.worker("collector").MemoryBytes, 1)
}

// TestCatalogTakesMemory: every role holds all of it, and with 10,000 sources and as many
// destinations, or ten times as many sources, it takes 1 kB for each.
func TestCatalogTakesMemory(t *testing.T) {
	p := estimate(t, func(l *Load) { l.Sources, l.Destinations = 100_000, 10_000 })
	require.InDelta(t, 64e6+220e6, p.worker("auditor").MemoryBytes, 1)
	require.InDelta(t, 1e8+220e6, p.worker("copier").MemoryBytes, 1)
}

// catalogOf returns the memory that a plan's catalog takes in each worker.
func catalogOf(p Plan) float64 { return 2 * 1000 * float64(p.Load.Sources+p.Load.Destinations) }

// TestPartitionsTakeMemory: each partition has its own buffers.
func TestPartitionsTakeMemory(t *testing.T) {
	withSpread := func(spread int) Plan {
		return estimate(t, func(l *Load) {
			l.EventsPerSecond, l.EventBytes, l.Peak, l.Sources, l.Skew, l.MaxBytes = 150_000, 1000, 1, 3, 2, 1e12
			l.Spread = spread
		})
	}
	few, many := withSpread(2), withSpread(256)
	n := many.worker("appender").Count
	require.Equal(t, few.worker("appender").Count, n)
	require.GreaterOrEqual(t, many.Kafka.Partitions, 256)
	more := many.Kafka.Partitions - few.Kafka.Partitions
	files := 254.0 // additional open files
	require.InDelta(t, 1.25*(9e6*float64(more)+files*(128<<10))/float64(n-1), many.worker("appender").MemoryBytes-few.worker("appender").MemoryBytes, 1e6)
}

// An audit reads batches of receipts, and entries that owe few deliveries have none.
func TestAnAuditReadsBatches(t *testing.T) {
	for _, copies := range []float64{1, 1.1, 1.2, 1.3, 1.7, 2.3} {
		for sources, batches := range map[int]bool{1: false, 1000: true} {
			p := estimate(t, func(l *Load) { l.EventsPerSecond, l.Sources, l.Skew, l.Copies = 1_000, sources, 0, copies })
			of := func(kind string) float64 {
				i := slices.IndexFunc(p.Requests, func(c Cost) bool { return c.Kind == kind })
				return p.Requests[i].PerDay
			}
			want := 24*float64(p.Kafka.Partitions) + p.EntriesPerDay
			if batches {
				want += of("put receipt")
			}
			require.InDelta(t, want, of("get audit"), 1e-6, "%v copies, %d sources", copies, sources)
		}
	}
}

// The receipts of an entry that owes 40,000 deliveries are 4,000 objects.
func TestAnAuditListsBatches(t *testing.T) {
	p := estimate(t, func(l *Load) { l.EventsPerSecond, l.Sources, l.Skew, l.Copies = 1_000, 100_000, 0, 40 })
	i := slices.IndexFunc(p.Requests, func(c Cost) bool { return c.Kind == "list audit" })
	require.InDelta(t, 40_000, p.DeliveriesPerDay/p.EntriesPerDay, 400)
	require.InDelta(t, 24*float64(p.Kafka.Partitions)+4*p.EntriesPerDay, p.Requests[i].PerDay, 1e-6)
}

// TestSmallFilesAreStagedInPacks: the number of staged objects follows bytes and entries, not
// sources.
func TestSmallFilesAreStagedInPacks(t *testing.T) {
	for hazard, c := range map[string]struct {
		files, bytes, entries, want float64
	}{
		"one_file":          {1, 100, 1, 1},
		"one_pack":          {1000, 5e6, 1, 1},
		"one_of_each_entry": {1000, 5e6, 8, 8},
		"an_entry_of_more":  {1000, 100e6, 1, 12},
		"a_file_an_entry":   {3, 300, 8, 3},
		"none":              {0, 0, 8, 0},
	} {
		require.InDelta(t, c.want, PackCount(c.files, c.bytes, c.entries), 1e-9, hazard)
	}
	for sources, want := range map[int]float64{10_000: 20, 20_000: 20, 100_000: 100} { // an hour has 128 MB of gzip and 100 bytes per file; entries have 1,000
		p := estimate(t, func(l *Load) {
			l.EventsPerSecond, l.EventBytes, l.Peak, l.Sources, l.Skew, l.Cores = 178, 1000, 1, sources, 0, 16
		})
		require.Equal(t, 8, p.Kafka.Partitions)
		i := slices.IndexFunc(p.Requests, func(c Cost) bool { return c.Kind == "put staged" })
		require.InDelta(t, want, p.Requests[i].PerDay/24, 1e-6, "%d sources", sources)
	}
}

func TestNotes(t *testing.T) {
	calm := func(l *Load) { l.DedupWindow = 0 }
	require.Empty(t, estimate(t, calm).Notes)
	for hazard, change := range map[string]func(*Load){
		"a_source_is_more_than_a_partition": func(l *Load) { calm(l); l.EventsPerSecond, l.Sources, l.Skew = 500_000, 50, 2 },
		"the_window_does_not_fit":           func(l *Load) { l.EventsPerSecond = 100_000; l.DedupWindow = 24 * time.Hour },
		"tiny_files":                        func(l *Load) { calm(l); l.EventsPerSecond, l.Sources = 100, 100_000 },
		"too_many_requests_a_second": func(l *Load) {
			calm(l)
			l.EventsPerSecond, l.Sources, l.Copies, l.DeliverWithin = 100_000, 200_000, 10, time.Minute
		},
	} {
		t.Run(hazard, func(t *testing.T) { require.NotEmpty(t, estimate(t, change).Notes) })
	}
}

func TestInvalidLoads(t *testing.T) {
	for hazard, change := range map[string]func(*Load){
		"no_events":                func(l *Load) { l.EventsPerSecond = 0 },
		"no_sources":               func(l *Load) { l.Sources = 0 },
		"peak_below_average":       func(l *Load) { l.Peak = 0.5 },
		"negative_skew":            func(l *Load) { l.Skew = -1 },
		"no_spread":                func(l *Load) { l.Spread = 0 },
		"too_busy":                 func(l *Load) { l.Utilisation = 1.1 },
		"roll_longer_than_an_hour": func(l *Load) { l.RollEvery = 48 * time.Hour },
	} {
		l := DefaultLoad()
		change(&l)
		_, err := Estimate(l, constants())
		require.Error(t, err, hazard)
	}
}

// Runs that match the constants exactly must result in these constants.
func TestFitFindsTheConstants(t *testing.T) {
	want := constants()
	run := func(bytes, files float64) Run {
		gz := want.GzipPerByte*bytes + want.GzipPerFile*files
		r := Run{Bytes: int64(bytes), KafkaBytes: int64(bytes * want.KafkaPerByte), Files: int64(files), GzipBytes: int64(gz)}
		a, c := want.CPU(r)
		r.Roles = map[string]Role{"appender": {CPUSeconds: a, PeakRSS: 5}, "copier": {CPUSeconds: c}}
		return r
	}
	runs := []Run{run(2e8, 50), run(2e8, 2000), run(4e8, 20_000), {Bytes: 1e8, KafkaBytes: 3e7, Roles: map[string]Role{"collector": {CPUSeconds: 1}}}}
	got, err := Fit(runs, "make")
	require.NoError(t, err)
	for _, pair := range [][2]float64{
		{want.AppenderPerByte, got.AppenderPerByte}, {want.AppenderPerFile, got.AppenderPerFile}, {want.CopierPerByte, got.CopierPerByte},
		{want.CopierPerFile, got.CopierPerFile}, {want.GzipPerByte, got.GzipPerByte}, {want.GzipPerFile, got.GzipPerFile},
		{want.CollectorPerByte, got.CollectorPerByte}, {want.KafkaPerByte, got.KafkaPerByte},
	} {
		require.InEpsilon(t, pair[0], pair[1], 1e-4)
	}
	again, err := Decode(got.Encode())
	require.NoError(t, err)
	require.Equal(t, got, again)
	_, err = Fit(runs[:1], "make")
	require.Error(t, err)
}

func TestEmbeddedConstants(t *testing.T) {
	m, err := Default()
	require.NoError(t, err)
	for name, v := range map[string]float64{
		"collector": m.CollectorPerByte, "appender": m.AppenderPerByte, "files": m.AppenderPerFile, "copier": m.CopierPerFile, "kafka": m.KafkaPerByte, "gzip": m.GzipPerByte,
	} {
		require.Positive(t, v, name)
		require.Less(t, v, 1.0, name)
	}
	require.NotEmpty(t, m.Commit)
	_, err = Decode([]byte(`{"appender":1}`))
	require.Error(t, err)
}

// The sums are the sums of the rows.
func TestTotalsAreSumsOfTheRows(t *testing.T) {
	p := estimate(t, func(l *Load) { l.EventsPerSecond, l.Sources, l.Skew, l.KMSShare = 1000, 10, 3, 0.5 })
	perFile, usd := 0.0, map[string]float64{"operator": p.StorageUSD}
	for _, r := range p.Requests {
		perFile += r.PerFile
		usd[r.Payer] += r.USD
	}
	require.InDelta(t, perFile, p.RequestsPerFile, 1e-9)
	require.InDelta(t, usd["operator"], p.OperatorUSD, 1e-9)
	require.InDelta(t, usd["customers"], p.CustomersUSD, 1e-9)
}
