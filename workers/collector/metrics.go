package collector

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/sealift/sealift/pkg/event"
	"github.com/sealift/sealift/pkg/spool"
)

// metrics of the collector. No label's values grow with sources, keys or clients.
type metrics struct {
	requests         *prometheus.CounterVec
	refused          *prometheus.CounterVec
	events           *prometheus.CounterVec
	rejected         *prometheus.CounterVec
	receivedBytes    prometheus.Counter
	lineBytes        prometheus.Counter
	panics           prometheus.Counter
	inFlightRequests prometheus.Gauge
	produceSeconds   prometheus.Histogram
}

// newMetrics registers the metrics with reg, unless that is nil; events and letters are the spools, or
// nil.
func newMetrics(reg prometheus.Registerer, inFlightBytes func() int64, events, letters *spool.Spool) *metrics {
	factory := promauto.With(reg)
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "sealift", Subsystem: "collector", Name: name, Help: help}
	}
	counter := func(name, help string) prometheus.CounterOpts { return prometheus.CounterOpts(opts(name, help)) }
	gauge := func(name, help string) prometheus.GaugeOpts { return prometheus.GaugeOpts(opts(name, help)) }
	m := &metrics{
		requests:         factory.NewCounterVec(counter("requests_total", "Requests answered, by path and status."), []string{"path", "status"}),
		refused:          factory.NewCounterVec(counter("refused_total", "Requests not taken, by reason."), []string{"reason"}),
		events:           factory.NewCounterVec(counter("events_total", "Events given to Kafka's client, by type and channel: client, of pages, or server."), []string{"type", "channel"}),
		rejected:         factory.NewCounterVec(counter("dead_letters_total", "Events answered 200 and put into the dead letters, by reason."), []string{"reason"}),
		receivedBytes:    factory.NewCounter(counter("received_bytes_total", "Bytes of request bodies, inflated.")),
		lineBytes:        factory.NewCounter(counter("line_bytes_total", "Bytes of stored lines given to Kafka's client.")),
		panics:           factory.NewCounter(counter("panics_total", "Requests whose handler panicked, a bug; the log has the stack.")),
		inFlightRequests: factory.NewGauge(gauge("in_flight_requests", "Requests being served.")),
		produceSeconds: factory.NewHistogram(prometheus.HistogramOpts{
			Namespace: "sealift", Subsystem: "collector", Name: "produce_seconds",
			Help:    "Time from handing a request's records to Kafka's client to its answer.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 15),
		}),
	}
	factory.NewGaugeFunc(gauge("in_flight_bytes", "Bytes of requests and records in flight."), func() float64 { return float64(inFlightBytes()) })
	if events != nil {
		addSpoolMetrics(factory, events, "events")
		addSpoolMetrics(factory, letters, "dead_letters")
	}
	return m
}

func (m *metrics) countEvent(line event.Line) {
	channel := "server"
	if line.Client {
		channel = "client"
	}
	m.events.WithLabelValues(line.Type, channel).Inc()
}

// addSpoolMetrics adds the metrics of one spool: each has its own limit.
func addSpoolMetrics(factory promauto.Factory, s *spool.Spool, contents string) {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "sealift", Subsystem: "collector", Name: "spool_" + name, Help: help, ConstLabels: prometheus.Labels{"of": contents}}
	}
	gauge := func(name, help string, value func(spool.Stats) float64) {
		factory.NewGaugeFunc(prometheus.GaugeOpts(opts(name, help)), func() float64 { return value(s.Stats()) })
	}
	gauge("bytes", "Bytes of the spool on the disk.", func(st spool.Stats) float64 { return float64(st.Bytes) })
	gauge("max_bytes", "Bytes beyond which the spool takes no more.", func(st spool.Stats) float64 { return float64(st.MaxBytes) })
	gauge("records", "Records in the spool that are not in Kafka yet.", func(st spool.Stats) float64 { return float64(st.Records) })
	gauge("oldest_age_seconds", "Age of the oldest record in the spool; 0: it is empty.", func(st spool.Stats) float64 {
		if st.Oldest.IsZero() {
			return 0
		}
		return time.Since(st.Oldest).Seconds()
	})
	factory.NewCounterFunc(prometheus.CounterOpts(opts("damages_total", "Places of the spool that could not be read back; the log names them.")),
		func() float64 { return float64(s.Stats().Damages) })
}
