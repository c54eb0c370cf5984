package auditor

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sealift/sealift/pkg/ledger"
)

// destinationGauges are metrics of destinations to which something is owed and not delivered,
// summed over the chains that this auditor takes care of. A destination that has all of its files
// has no series: of 10,000 only a few need one.
type destinationGauges struct {
	pending, parked, oldest *prometheus.Desc

	mu     sync.Mutex // guards chains
	chains map[ledger.Log]map[string]counts
}

var _ prometheus.Collector = (*destinationGauges)(nil)

func newDestinationGauges() *destinationGauges {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("sealift_auditor_destination_"+name, help, []string{"destination"}, nil)
	}
	return &destinationGauges{
		pending: desc("pending_files", "Files owed to the destination, older than the grace, that have no receipt and are not parked, at the last audit."),
		parked:  desc("parked_files", "Files owed to the destination that are parked, at the last audit."),
		oldest:  desc("oldest_undelivered_age_seconds", "Age of the oldest record in a file that the destination has no receipt for, at the last audit."),
		chains:  map[ledger.Log]map[string]counts{},
	}
}

// set replaces the counts of a chain; nil: another auditor takes care of it.
func (g *destinationGauges) set(l ledger.Log, destinations map[string]*counts) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.chains[l] = map[string]counts{}
	for id, c := range destinations {
		if c.Undelivered() > 0 {
			g.chains[l][id] = *c
		}
	}
}

// Describe implements prometheus.Collector.
func (g *destinationGauges) Describe(ch chan<- *prometheus.Desc) {
	ch <- g.pending
	ch <- g.parked
	ch <- g.oldest
}

// Collect implements prometheus.Collector.
func (g *destinationGauges) Collect(ch chan<- prometheus.Metric) {
	g.mu.Lock()
	defer g.mu.Unlock()
	sums := map[string]counts{}
	for _, chain := range g.chains {
		for id, c := range chain {
			sum := sums[id]
			sum.add(&c)
			sums[id] = sum
		}
	}
	for id, c := range sums {
		gauge := func(desc *prometheus.Desc, v float64) {
			ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, v, id)
		}
		gauge(g.pending, float64(c.Missing+c.Queued))
		gauge(g.parked, float64(c.Parked))
		gauge(g.oldest, c.OldestUndeliveredSeconds)
	}
}
