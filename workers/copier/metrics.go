package copier

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sealift/sealift/pkg/destination"
	"github.com/sealift/sealift/pkg/ledger"
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
}

// newMetrics registers the metrics of a lane; lane is "" or the prefix of their
// names.
func newMetrics(reg prometheus.Registerer, lane string) (*metrics, error) {
	var all []prometheus.Collector
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "sealift_copier_" + lane + name + "_total", Help: help})
		all = append(all, c)
		return c
	}
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "sealift_copier_" + lane + name + "_total", Help: help}, labels)
		all = append(all, c)
		return c
	}
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "sealift_copier_" + lane + name, Help: help})
		all = append(all, g)
		return g
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "sealift_copier_" + lane + name, Help: help, Buckets: buckets})
		all = append(all, h)
		return h
	}
	m := &metrics{
		files:         counter("files", "Files delivered."),
		bytes:         counter("bytes", "Compressed bytes of files delivered."),
		records:       counter("records", "Records in files delivered."),
		existed:       counter("put_existed", "Deliveries that found the object there already (412)."),
		unconditional: counter("put_unconditional", "PUTs to stores that do not know If-None-Match."),
		forged:        counter("forged_jobs", "Jobs dropped because the ledger does not owe them."),
		malformed:     counter("malformed_jobs", "Records of a job topic that are no jobs."),
		leaseLost:     counter("lease_lost", "Tries given up because the lease was lost before the PUT."),
		failures:      vec("failures", "Failed tries.", "destination", "reason"),
		parked:        vec("parked", "Jobs parked.", "destination", "reason"),
		requeued:      vec("requeued_jobs", "Jobs enqueued into a retry tier.", "why"),
		staged:        vec("staged_objects_bad", "Staged objects found missing or damaged; should be 0.", "problem"),
		seconds:       histogram("put_seconds", "Time to deliver a file, from the first PUT to the receipt.", prometheus.ExponentialBuckets(0.02, 2, 13)),
		age:           histogram("delivery_age_seconds", "Time from a file's first record to its delivery.", prometheus.ExponentialBuckets(1, 3, 13)),
		running:       gauge("running_copies", "Copies in work."),
		suspects:      gauge("suspect_destinations", "Destinations that fail or are slow: they have slots of their own."),
		tasks:         gauge("jobs_in_process", "Jobs in this process, running or waiting."),
		waiting:       gauge("waiting", "1 while copying waits for Redis or the staging bucket."),
		breaker:       prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "sealift_copier_" + lane + "breaker_open", Help: "1 while nothing but probes is sent to the destination."}, []string{"destination"}),
	}
	all = append(all, m.breaker)
	if reg == nil {
		return m, nil
	}
	for _, c := range all {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics of the copier: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) delivered(f *ledger.File, put destination.Result, took time.Duration) {
	m.files.Inc()
	m.bytes.Add(float64(f.GzipBytes))
	m.records.Add(float64(f.Records))
	if put.Existed {
		m.existed.Inc()
	}
	if put.Unconditional {
		m.unconditional.Inc()
	}
	m.seconds.Observe(took.Seconds())
	m.age.Observe(time.Since(time.UnixMilli(f.Received)).Seconds())
}
