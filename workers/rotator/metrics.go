package rotator

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

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

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		files:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "sealift_rotator_files_total", Help: "Files sealed and in the ledger, by why they were sealed."}, []string{"reason"}),
		records:  prometheus.NewCounter(prometheus.CounterOpts{Name: "sealift_rotator_records_total", Help: "Records in files of the ledger."}),
		bytes:    prometheus.NewCounter(prometheus.CounterOpts{Name: "sealift_rotator_bytes_total", Help: "Compressed bytes in files of the ledger."}),
		unowed:   prometheus.NewCounter(prometheus.CounterOpts{Name: "sealift_rotator_unowed_files_total", Help: "Files in the ledger that are owed to no destination: when they got into it, the catalog held none for their source, or not the source."}),
		retries:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "sealift_rotator_retries_total", Help: "Steps that had to be repeated."}, []string{"step"}),
		lost:     prometheus.NewCounter(prometheus.CounterOpts{Name: "sealift_rotator_entries_lost_total", Help: "Ledger entries that another worker wrote first."}),
		halted:   prometheus.NewCounter(prometheus.CounterOpts{Name: "sealift_rotator_halted_total", Help: "Takeovers refused because ledger and Kafka contradict each other. Alert on any increase."}),
		rotation: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "sealift_rotator_rotation_seconds", Help: "Time that a batch of sealed files takes into the ledger, with jobs enqueued.", Buckets: prometheus.ExponentialBuckets(0.01, 2, 14)}),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.files, m.records, m.bytes, m.unowed, m.retries, m.lost, m.halted, m.rotation} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics of the rotator: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) countFile(f *ledger.File) {
	m.files.WithLabelValues(f.Reason).Inc()
	m.records.Add(float64(f.Records))
	m.bytes.Add(float64(f.GzipBytes))
	if len(f.Owed) == 0 {
		m.unowed.Inc()
	}
}
