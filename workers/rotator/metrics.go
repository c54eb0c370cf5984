package rotator

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/sealift/sealift/pkg/ledger"
)

type metrics struct {
	files    *prometheus.CounterVec
	records  prometheus.Counter
	bytes    prometheus.Counter
	unowed   prometheus.Counter
	retries  *prometheus.CounterVec
	lost     prometheus.Counter
	halted   prometheus.Counter
	rotation prometheus.Histogram
}

// newMetrics registers the metrics with reg, unless that is nil.
func newMetrics(reg prometheus.Registerer) *metrics {
	factory := promauto.With(reg)
	return &metrics{
		files:    factory.NewCounterVec(prometheus.CounterOpts{Name: "sealift_rotator_files_total", Help: "Files sealed and in the ledger, by why they were sealed."}, []string{"reason"}),
		records:  factory.NewCounter(prometheus.CounterOpts{Name: "sealift_rotator_records_total", Help: "Records in files of the ledger."}),
		bytes:    factory.NewCounter(prometheus.CounterOpts{Name: "sealift_rotator_bytes_total", Help: "Compressed bytes in files of the ledger."}),
		unowed:   factory.NewCounter(prometheus.CounterOpts{Name: "sealift_rotator_unowed_files_total", Help: "Files in the ledger that are owed to no destination: when they got into it, the catalog held none for their source, or not the source."}),
		retries:  factory.NewCounterVec(prometheus.CounterOpts{Name: "sealift_rotator_retries_total", Help: "Steps that had to be repeated."}, []string{"step"}),
		lost:     factory.NewCounter(prometheus.CounterOpts{Name: "sealift_rotator_entries_lost_total", Help: "Ledger entries that another worker wrote first."}),
		halted:   factory.NewCounter(prometheus.CounterOpts{Name: "sealift_rotator_halted_total", Help: "Takeovers refused because ledger and Kafka contradict each other. Alert on any increase."}),
		rotation: factory.NewHistogram(prometheus.HistogramOpts{Name: "sealift_rotator_rotation_seconds", Help: "Time that a batch of sealed files takes into the ledger, with jobs enqueued.", Buckets: prometheus.ExponentialBuckets(0.01, 2, 14)}),
	}
}

func (m *metrics) countFile(f *ledger.File) {
	m.files.WithLabelValues(f.Reason).Inc()
	m.records.Add(float64(f.Records))
	m.bytes.Add(float64(f.GzipBytes))
	if len(f.Owed) == 0 {
		m.unowed.Inc()
	}
}
