package appender

import (
	"cmp"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/sealift/sealift/pkg/dedup"
	"github.com/sealift/sealift/pkg/stream"
)

// view is the part of a partition's state that other goroutines may see.
type view struct {
	mu               sync.Mutex // guards all below
	position         int64
	start            int64 // of the log
	end              int64
	files            int
	held             int64
	oldest           int64 // time of receipt (unix ms) of the oldest record that is in no entry; 0: none
	paused           string
	err              error
	fetchErr         error     // why nothing more can be fetched
	fetchTroubleFrom time.Time // when fetchErr begins to count as trouble
	alive            time.Time // when the tenure's loop was last seen running; zero: it has not begun
	writing          time.Time // when the entry being written last made progress; zero: none is being written
	dedupStats       dedup.Stats
	dedupOn          bool // whether duplicates are removed
}

// noteDedup updates the statistics of remembered messages; nil: duplicates are not removed.
func (v *view) noteDedup(r *deduper) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.dedupOn = r != nil; v.dedupOn {
		v.dedupStats = r.Stats()
	}
}

// clearProblem says that the partition is being read.
func (v *view) clearProblem() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.err = nil
}

// noteRead updates how far the partition was read.
func (v *view) noteRead(position, end int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.position, v.end = position, max(v.end, end, position)
}

// noteBounds updates the bounds of the log, also while nothing is read. They may go back: the log
// holds at least what was read meanwhile, but not necessarily what was seen before.
func (v *view) noteBounds(b stream.Bounds) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.start, v.end = b.First, max(b.End, v.position)
}

// logStart returns where the log begins, as far as is known.
func (v *view) logStart() int64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.start
}

// noteState updates what is open.
func (v *view) noteState(c *core, paused string) {
	oldest, ok := c.oldestReceived()
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case ok:
		v.oldest = oldest
	case v.end <= c.position:
		v.oldest = 0
	case c.progress > 0: // what has not been read yet was received after that
		v.oldest = c.progress
	}
	v.files, v.held, v.paused = c.spool.Len(), c.spool.Held(), paused
}

// noteProblem records why the partition is not being read. Its oldest record stays the same: it is
// still in no entry, and its age grows.
func (v *view) noteProblem(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.err, v.files, v.held = err, 0, 0
}

// noteFetchErr records why nothing more of the partition can be fetched, and from when on that
// counts as trouble; nil: it can be fetched.
func (v *view) noteFetchErr(err error, from time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.fetchErr, v.fetchTroubleFrom = err, from
}

// fetchTrouble returns why the partition cannot be fetched, once that counts as trouble. The caller
// holds mu.
func (v *view) fetchTrouble() error {
	if time.Now().Before(v.fetchTroubleFrom) {
		return nil
	}
	return v.fetchErr
}

// noteAlive records when the tenure's loop was running; zero: it ended.
func (v *view) noteAlive(at time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.alive = at
}

// noteWriting records when an entry was begun or one of its objects was staged; zero: it ended.
func (v *view) noteWriting(at time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.writing = at
}

// trouble returns why the partition is not being read or its entries are not being written, or nil.
func (v *view) trouble() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	err := v.halted()
	if v.paused == "" || v.err != nil || v.fetchTrouble() != nil {
		return err
	}
	paused := fmt.Errorf("paused: %s", v.paused)
	if err != nil { // it is usually the reason for the pause
		return fmt.Errorf("%w; %w", paused, err)
	}
	return paused
}

const (
	// unfetchedAfter is longer than a broker's restart.
	unfetchedAfter = 6 * time.Second
	// stuckAfter is longer than it takes to seal all of a partition's files, or to write a
	// checkpoint to a slow disk.
	stuckAfter = 2 * time.Minute
	// unwrittenAfter is longer than it takes to stage an object, and than a short outage.
	unwrittenAfter = 5 * time.Minute
)

// halted is like trouble, but ignores pauses. The caller holds mu. The time limits are there
// because a loop that waits for a disk that does not answer, or that retries endlessly, reports no
// error.
func (v *view) halted() error {
	if err := cmp.Or(v.err, v.fetchTrouble()); err != nil {
		return err
	}
	if d := time.Since(v.alive); !v.alive.IsZero() && d > stuckAfter {
		return fmt.Errorf("it has not gone on for %s, as if its disk did not answer", d.Round(time.Second))
	}
	if d := time.Since(v.writing); !v.writing.IsZero() && d > unwrittenAfter {
		return fmt.Errorf("no ledger entry could be written for %s; the log says why", d.Round(time.Second))
	}
	return nil
}

// metrics are counters of the role, and gauges of its partitions that are read from the views when
// scraped.
type metrics struct {
	a           *Appender
	read        atomic.Int64     // number of records
	leftovers   prometheus.Gauge // partitions
	abandoned   prometheus.Counter
	deadLetters *prometheus.CounterVec

	duplicates, damages                                   prometheus.Counter
	dedup                                                 [8]*prometheus.Desc // in the order of Collect
	resumedRecords, resumedBytes, reread, checkpointBytes prometheus.Counter
	checkpoint                                            prometheus.Histogram

	position, lag, oldest, files, held, paused, halted *prometheus.Desc
}

// newMetrics registers the metrics with reg, unless that is nil.
func newMetrics(reg prometheus.Registerer, a *Appender) *metrics {
	factory := promauto.With(reg)
	gauge := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("sealift_appender_"+name, help, []string{"partition"}, nil)
	}
	counter := func(name, help string) prometheus.Counter {
		return factory.NewCounter(prometheus.CounterOpts{Name: "sealift_appender_" + name, Help: help})
	}
	m := &metrics{
		a:               a,
		abandoned:       counter("abandoned_total", "Times that a partition's state was thrown away and loaded from the ledger."),
		deadLetters:     factory.NewCounterVec(prometheus.CounterOpts{Name: "sealift_appender_dead_letters_total", Help: "Records that are no line of any file."}, []string{"reason"}),
		resumedRecords:  counter("resumed_records_total", "Records that were in local files when a partition was taken over, and were not read again."),
		resumedBytes:    counter("resumed_bytes_total", "Bytes of the lines of resumed records."),
		reread:          counter("reread_records_total", "Records read again, as far as the worker knows."),
		checkpointBytes: counter("checkpoint_bytes_total", "Bytes written to checkpoints, the lines in memory included."),
		checkpoint: factory.NewHistogram(prometheus.HistogramOpts{
			Name: "sealift_appender_checkpoint_seconds", Help: "Time taken by a partition's checkpoint, in which it reads nothing.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 4, 9),
		}),
		damages:    counter("spool_damages_total", "Times that a partition's local files were not on disk as they had been written, so that their records had to be read again. Alert on any increase without a power failure: the disk fails."),
		duplicates: counter("duplicates_total", "Records left out because a record with a lower offset holds the same message."),
		dedup: [...]*prometheus.Desc{
			gauge("dedup_disabled", "1 while duplicates are not removed, because the data directory cannot be used, or the ledger's first entry not be read."),
			gauge("dedup_messages", "Messages remembered."),
			gauge("dedup_window_seconds", "How far back from the newest record all messages are remembered."),
			gauge("dedup_missing_offsets", "Offsets of the log that are yet to be read again, at most, to remember the whole window."),
			gauge("dedup_disk_bytes", "Bytes on disk that remembering takes."),
			gauge("dedup_memory_bytes", "Bytes in memory that remembering takes."),
			gauge("dedup_errors", "Times that messages were forgotten because of the disk, since the partition was taken over."),
			gauge("dedup_cut", "Times that messages were forgotten before their time for lack of memory or disk, since the partition was taken over."),
		},
		position: gauge("position_offset", "Offset of the next record to be read."),
		lag:      gauge("lag_records", "Records in the log that were not read yet."),
		oldest:   gauge("oldest_unsealed_age_seconds", "Age of the oldest record that is in no entry of the ledger yet, read or not."),
		files:    gauge("open_files", "Files that are open."),
		held:     gauge("open_files_bytes", "Bytes that open files hold in memory."),
		paused:   gauge("paused", "1 while nothing is read, for lack of disk or because staging is behind."),
		halted:   gauge("in_trouble", "1 while the partition cannot be read, or what was read of it not be written to the ledger; the log says why."),
	}
	m.leftovers = factory.NewGauge(prometheus.GaugeOpts{Name: "sealift_appender_left_partitions", Help: "Partitions that are not this worker's, be they of another topic or incarnation, and of which it keeps local files: their ledger does not have them all, nor an entry of another worker."})
	factory.NewCounterFunc(prometheus.CounterOpts{Name: "sealift_appender_records_total", Help: "Records read, those read again included."},
		func() float64 { return float64(m.read.Load()) })
	factory.NewGaugeFunc(prometheus.GaugeOpts{Name: "sealift_appender_waiting_files", Help: "Sealed files that are in no entry of the ledger yet."},
		func() float64 { return float64(a.pressure.waiting.Load()) })
	if reg != nil {
		reg.MustRegister(m)
	}
	return m
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range m.dedup {
		ch <- d
	}
	for _, d := range []*prometheus.Desc{m.position, m.lag, m.oldest, m.files, m.held, m.paused, m.halted} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	m.a.mu.Lock()
	defer m.a.mu.Unlock()
	for n, r := range m.a.partitions {
		label := strconv.Itoa(n)
		gauge := func(d *prometheus.Desc, v float64) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, label)
		}
		v := &r.view
		v.mu.Lock()
		gauge(m.position, float64(v.position))
		gauge(m.lag, float64(v.end-v.position))
		age := 0.0
		if v.oldest > 0 {
			age = time.Since(time.UnixMilli(v.oldest)).Seconds()
		}
		gauge(m.oldest, age)
		gauge(m.files, float64(v.files))
		gauge(m.held, float64(v.held))
		gauge(m.paused, boolean(v.paused != ""))
		gauge(m.halted, boolean(v.halted() != nil))
		if m.a.dedupBudget != nil {
			s := &v.dedupStats
			for i, value := range []float64{
				boolean(!v.dedupOn), float64(s.IDs), s.Covered.Seconds(), float64(s.Gap),
				float64(s.Bytes), float64(s.Memory), float64(s.Errors), float64(s.Cut),
			} {
				gauge(m.dedup[i], value)
			}
		}
		v.mu.Unlock()
	}
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
