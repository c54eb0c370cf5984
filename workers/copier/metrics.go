package copier

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/sealift/sealift/pkg/destination"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/meter"
)

type metrics struct {
	files, bytes, records, existed, unconditional prometheus.Counter
	forged, malformed, leaseLost                  prometheus.Counter
	failures, parked                              *prometheus.CounterVec // destination, reason
	requeued                                      *prometheus.CounterVec // why
	staged                                        *prometheus.CounterVec // problem
	seconds, age                                  prometheus.Histogram
	running, suspects, tasks, waiting             prometheus.Gauge
	breaker                                       *prometheus.GaugeVec // destination

	// Per destination: one series for each that this process has worked for.
	destinationFiles, destinationRecords, destinationBytes *prometheus.CounterVec
	destinationRequests                                    *prometheus.CounterVec // destination, kind
	newest, lastError                                      *prometheus.GaugeVec

	mu     sync.Mutex       // guards latest
	latest map[string]int64 // the values of newest, in unix ms
}

// newMetrics registers the metrics of a lane with reg, unless that is nil; lane is "" or a prefix for
// their names.
func newMetrics(reg prometheus.Registerer, lane string) *metrics {
	factory := promauto.With(reg)
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Name: "sealift_copier_" + lane + name, Help: help}
	}
	counter := func(name, help string) prometheus.Counter {
		return factory.NewCounter(prometheus.CounterOpts(opts(name+"_total", help)))
	}
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		return factory.NewCounterVec(prometheus.CounterOpts(opts(name+"_total", help)), labels)
	}
	gauge := func(name, help string) prometheus.Gauge {
		return factory.NewGauge(prometheus.GaugeOpts(opts(name, help)))
	}
	gauges := func(name, help string) *prometheus.GaugeVec {
		return factory.NewGaugeVec(prometheus.GaugeOpts(opts(name, help)), []string{"destination"})
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return factory.NewHistogram(prometheus.HistogramOpts{Name: "sealift_copier_" + lane + name, Help: help, Buckets: buckets})
	}
	return &metrics{
		latest:        map[string]int64{},
		files:         counter("files", "Files delivered."),
		bytes:         counter("bytes", "Compressed bytes of files delivered."),
		records:       counter("records", "Records in files delivered."),
		existed:       counter("put_existed", "Deliveries that found the object there already (412)."),
		unconditional: counter("put_unconditional", "PUTs to stores that do not know If-None-Match."),
		forged:        counter("forged_jobs", "Jobs dropped because the ledger does not owe them."),
		malformed:     counter("malformed_jobs", "Records of a job topic that are no jobs."),
		leaseLost:     counter("lease_lost", "Tries given up because the lease was lost before the PUT was done."),
		failures:      vec("failures", "Failed tries.", "destination", "reason"),
		parked:        vec("parked", "Jobs parked.", "destination", "reason"),
		requeued:      vec("requeued_jobs", "Jobs enqueued into a retry tier.", "why"),
		staged:        vec("staged_objects_bad", "Staged objects found missing or damaged; should be 0.", "problem"),
		seconds:       histogram("put_seconds", "Time to deliver a file, from asking for the role's credentials to the answer to the PUT.", prometheus.ExponentialBuckets(0.02, 2, 13)),
		age:           histogram("delivery_age_seconds", "Time from a file's first record to its delivery.", prometheus.ExponentialBuckets(1, 3, 13)),
		running:       gauge("running_copies", "Copies in work, including those that only wait for their receipt."),
		suspects:      gauge("suspect_destinations", "Destinations that failed twice in a row, or are slow: they have slots of their own."),
		tasks:         gauge("jobs_in_process", "Jobs in this process, running or waiting."),
		waiting:       gauge("waiting", "1 while copying waits for Redis or the staging bucket."),
		breaker:       gauges("breaker_open", "1 while nothing but probes is sent to the destination."),

		destinationFiles:   vec("destination_files", "Files delivered to the destination.", "destination"),
		destinationRecords: vec("destination_records", "Records in files delivered to the destination.", "destination"),
		destinationBytes:   vec("destination_bytes", "Compressed bytes of files delivered to the destination.", "destination"),
		destinationRequests: vec("destination_requests", "Requests made for the destination: put, assume_role and data_key (of KMS, by S3) to AWS on its side, staging_read and staging_write on the operator's.",
			"destination", "kind"),
		newest:    gauges("destination_newest_delivered_timestamp_seconds", "When the first record was received of the newest file that this process delivered to the destination."),
		lastError: gauges("destination_last_error_timestamp_seconds", "When a try to deliver to the destination last failed in this process."),
	}
}

func (m *metrics) recordDelivery(dest string, f *ledger.File, put destination.Result, took time.Duration) {
	m.files.Inc()
	m.bytes.Add(float64(f.GzipBytes))
	m.records.Add(float64(f.Records))
	m.destinationFiles.WithLabelValues(dest).Inc()
	m.destinationBytes.WithLabelValues(dest).Add(float64(f.GzipBytes))
	m.destinationRecords.WithLabelValues(dest).Add(float64(f.Records))
	m.recordNewest(dest, f.Received)
	if put.Existed {
		m.existed.Inc()
	}
	if put.Unconditional {
		m.unconditional.Inc()
	}
	m.seconds.Observe(took.Seconds())
	m.age.Observe(time.Since(time.UnixMilli(f.Received)).Seconds())
}

// recordNewest notes a delivered file whose first record was received at the given time, in unix
// ms. Files do not arrive in order, so only newer times count. A time in the future, from a
// collector whose clock was ahead, must not hide how old the next files are.
func (m *metrics) recordNewest(dest string, received int64) {
	received = min(received, time.Now().UnixMilli())
	m.mu.Lock()
	defer m.mu.Unlock()
	if received > m.latest[dest] {
		m.latest[dest] = received
		m.newest.WithLabelValues(dest).Set(float64(received) / 1000)
	}
}

// addRequests counts requests made for a destination.
func (m *metrics) addRequests(dest string, n meter.Counts) {
	for kind, n := range map[string]int64{
		"put": n.Puts, "assume_role": n.AssumeRoles, "data_key": n.DataKeys, "staging_read": n.StagingReads, "staging_write": n.StagingWrites,
	} {
		if n > 0 {
			m.destinationRequests.WithLabelValues(dest, kind).Add(float64(n))
		}
	}
}
