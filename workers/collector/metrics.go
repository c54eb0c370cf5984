package collector

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sealift/sealift/pkg/event"
	"github.com/sealift/sealift/pkg/spool"
)

// metrics of the collector. No label grows with sources, keys or clients.
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

func newMetrics(reg prometheus.Registerer, inFlightBytes func() int64, events, letters *spool.Spool) (*metrics, error) {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "sealift", Subsystem: "collector", Name: name, Help: help}
	}
	counter := func(name, help string) prometheus.CounterOpts { return prometheus.CounterOpts(opts(name, help)) }
	gauge := func(name, help string) prometheus.GaugeOpts { return prometheus.GaugeOpts(opts(name, help)) }
	m := &metrics{
		requests:         prometheus.NewCounterVec(counter("requests_total", "Requests answered, by path and status."), []string{"path", "status"}),
		refused:          prometheus.NewCounterVec(counter("refused_total", "Requests not taken, by reason."), []string{"reason"}),
		events:           prometheus.NewCounterVec(counter("events_total", "Events given to Kafka's client, by type and by whether a browser or app sent them."), []string{"type", "channel"}),
		rejected:         prometheus.NewCounterVec(counter("dead_letters_total", "Events answered 200 and put into the dead letters, by reason."), []string{"reason"}),
		receivedBytes:    prometheus.NewCounter(counter("received_bytes_total", "Bytes of request bodies, inflated.")),
		lineBytes:        prometheus.NewCounter(counter("line_bytes_total", "Bytes of stored lines given to Kafka's client.")),
		panics:           prometheus.NewCounter(counter("panics_total", "Requests whose handler panicked, a bug; the log has the stack.")),
		inFlightRequests: prometheus.NewGauge(gauge("in_flight_requests", "Requests being served.")),
		produceSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "sealift", Subsystem: "collector", Name: "produce_seconds",
			Help:    "Time from handing a request's records to Kafka's client to its answer.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 15),
		}),
	}
	if reg == nil {
		return m, nil
	}
	inFlight := prometheus.NewGaugeFunc(gauge("in_flight_bytes", "Bytes of requests and records in flight."), func() float64 { return float64(inFlightBytes()) })
	all := []prometheus.Collector{m.requests, m.refused, m.events, m.rejected, m.receivedBytes, m.lineBytes, m.panics, m.inFlightRequests, m.produceSeconds, inFlight}
	if events != nil {
		stats := func() spool.Stats { return both(events.Stats(), letters.Stats()) }
		all = append(all,
			prometheus.NewGaugeFunc(gauge("spool_bytes", "Bytes of the spool on the disk."), func() float64 { return float64(stats().Bytes) }),
			prometheus.NewGaugeFunc(gauge("spool_records", "Records in the spool that are not in Kafka yet."), func() float64 { return float64(stats().Records) }),
			prometheus.NewGaugeFunc(gauge("spool_oldest_age_seconds", "Age of the oldest record in the spool; 0: it is empty."), func() float64 {
				if oldest := stats().Oldest; !oldest.IsZero() {
					return time.Since(oldest).Seconds()
				}
				return 0
			}),
			prometheus.NewCounterFunc(counter("spool_damages_total", "Places of the spool that could not be read back; the log names them."), func() float64 { return float64(stats().Damages) }),
		)
	}
	for _, c := range all {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) event(line event.Line) {
	channel := "server"
	if line.Client {
		channel = "client"
	}
	m.events.WithLabelValues(line.Type, channel).Inc()
}

// both is what two spools hold together.
func both(a, b spool.Stats) spool.Stats {
	a.Bytes, a.Records, a.Damages = a.Bytes+b.Bytes, a.Records+b.Records, a.Damages+b.Damages
	if a.Oldest.IsZero() || !b.Oldest.IsZero() && b.Oldest.Before(a.Oldest) {
		a.Oldest = b.Oldest
	}
	return a
}
