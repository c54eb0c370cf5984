package auditor

import (
	"math"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/sealift/sealift/pkg/ledger"
)

type metrics struct {
	audits                      *prometheus.CounterVec // result
	enqueued, redriven          prometheus.Counter
	collected, orphans          prometheus.Counter
	undelivered, parked, oldest *prometheus.GaugeVec // topic, partition
	seconds, last, unowned      prometheus.Gauge
	behind                      prometheus.Gauge
	destinations                *destinationGauges
}

// newMetrics registers the metrics with reg, unless that is nil.
func newMetrics(reg prometheus.Registerer) *metrics {
	factory := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return factory.NewCounter(prometheus.CounterOpts{Name: "sealift_auditor_" + name + "_total", Help: help})
	}
	gauges := func(name, help string) *prometheus.GaugeVec {
		return factory.NewGaugeVec(prometheus.GaugeOpts{Name: "sealift_auditor_" + name, Help: help}, []string{"topic", "incarnation", "partition"})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return factory.NewGauge(prometheus.GaugeOpts{Name: "sealift_auditor_" + name, Help: help})
	}
	m := &metrics{
		audits:       factory.NewCounterVec(prometheus.CounterOpts{Name: "sealift_auditor_audits_total", Help: "Audits done."}, []string{"result"}),
		enqueued:     counter("enqueued_jobs", "Jobs enqueued for debts that had neither receipt nor job."),
		redriven:     counter("redriven_jobs", "Parked jobs enqueued because their destinations were back in the catalog, or enabled."),
		collected:    counter("files_collected", "Staged files deleted after their time."),
		orphans:      counter("orphans_collected", "Staged objects deleted that no ledger entry names."),
		undelivered:  gauges("owed_without_receipt", "Owed pairs of a file and a destination without a receipt, older than the grace; parked ones included."),
		parked:       gauges("parked", "Owed pairs whose job is parked."),
		oldest:       gauges("oldest_undelivered_age_seconds", "Age of the oldest record in a file without a receipt, at the last audit."),
		seconds:      gauge("last_audit_seconds", "Duration of the last audit."),
		unowned:      gauge("partitions_unowned", "Partitions of the events topic that no appender is assigned; NaN if that was not known for five minutes, or never yet. Alert if it stays != 0, which NaN is too."),
		behind:       gauge("chains_behind", "Partitions whose staged files are kept past their time, for lack of time in the last audit. Alert if it stays > 0."),
		destinations: newDestinationGauges(),
		last:         gauge("last_audit_timestamp_seconds", "When the last audit without an error began; NaN: this process has done none yet, and does not know what is owed."),
	}
	m.unowned.Set(math.NaN())
	m.last.Set(math.NaN())
	if reg != nil {
		reg.MustRegister(m.destinations)
	}
	return m
}

// recordChain updates the metrics with what an audit of a chain found and, unless dry, did.
func (m *metrics) recordChain(l ledger.Log, c *chainReport, dry bool) {
	labels := []string{l.Topic, l.Incarnation, strconv.Itoa(l.Partition)}
	sum := c.total()
	m.undelivered.WithLabelValues(labels...).Set(float64(sum.Undelivered()))
	m.parked.WithLabelValues(labels...).Set(float64(sum.Parked))
	m.oldest.WithLabelValues(labels...).Set(sum.OldestUndeliveredSeconds)
	m.destinations.set(l, c.destinations)
	if dry {
		return
	}
	m.enqueued.Add(float64(c.Enqueued))
	m.collected.Add(float64(c.Collected))
	m.orphans.Add(float64(c.Orphans))
}

// forgetChain drops the metrics of a chain that another auditor takes care of.
func (m *metrics) forgetChain(l ledger.Log) {
	for _, v := range []*prometheus.GaugeVec{m.undelivered, m.parked, m.oldest} {
		v.DeleteLabelValues(l.Topic, l.Incarnation, strconv.Itoa(l.Partition))
	}
	m.destinations.set(l, nil)
}

func (m *metrics) recordAudit(r *Report, err error) {
	m.seconds.Set(r.TookSeconds)
	m.behind.Set(float64(r.Behind))
	result := "ok"
	if err != nil {
		result = "error"
	} else {
		m.last.Set(float64(r.StartedAt.Unix()))
	}
	m.audits.WithLabelValues(result).Inc()
}
