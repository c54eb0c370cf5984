package appender

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

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
		oldest:   gauge("oldest_unsealed_age_seconds", "Age of the oldest record that is in no entry of the ledger yet, read or not. Records that came late, or from the future, count as received in the period of roll_every in which they were read."),
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
