//go:build stack

package e2e

import (
	"encoding/json"
	"flag"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	fleetEvents       = flag.Int("fleet.events", 200_000, "events per run")
	fleetSources      = flag.Int("fleet.sources", 50, "sources of the events")
	fleetDestinations = flag.Int("fleet.destinations", 10, "destinations; each source is owed to one of them")
	fleetHours        = flag.Int("fleet.hours", 1, "hours of receipt over which the events are spread")
	fleetPartitions   = flag.Int("fleet.partitions", 8, "partitions of the events topic")
	fleetAppenders    = flag.Int("fleet.appenders", 1, "number of appender processes")
	fleetCopiers      = flag.Int("fleet.copiers", 1, "number of copier processes")
	fleetCollectors   = flag.Int("fleet.collectors", 0, "1: send the events to a collector and run nothing else")
	fleetLevel        = flag.Int("fleet.level", 6, "gzip level")
	fleetSet          = flag.String("fleet.set", "", "additional configuration: key=value, separated by semicolons")
	fleetLabel        = flag.String("fleet.label", "", "label of the run in its results")
	fleetCommit       = flag.String("fleet.commit", "", "commit of the binary that SEALIFT_BIN names")
	fleetOut          = flag.String("fleet.out", "", "file to which results are appended, one line of JSON each")
)

// BenchmarkFleet runs appenders and copiers as processes of the binary, on the servers of
// scripts/stack.sh, from a full topic until everything is in the destinations' buckets, has
// `sealift verify` confirm the result, and records what it took. scripts/bench-fleet.sh calls it.
func BenchmarkFleet(b *testing.B) {
	size := fleetSize{
		events: *fleetEvents, sources: *fleetSources, destinations: *fleetDestinations, hours: *fleetHours, partitions: *fleetPartitions,
		appenders: *fleetAppenders, copiers: *fleetCopiers, collector: *fleetCollectors > 0, level: *fleetLevel,
		set:   strings.FieldsFunc(*fleetSet, func(r rune) bool { return r == ';' }),
		label: *fleetLabel, commit: *fleetCommit, data: env(b, "SEALIFT_TEST_STACK"),
	}
	for b.Loop() {
		run := runFleet(b, stackServers(b), size)
		line, err := json.Marshal(run)
		require.NoError(b, err)
		if *fleetOut == "" {
			b.Logf("%s", line)
		} else {
			appendLine(b, *fleetOut, line)
		}
		b.ReportMetric(run.CPU()/float64(run.Events)*1e6, "cpu-s/M-events")
		b.ReportMetric(float64(run.PeakRSS())/1e6, "peak-rss-MB")
		b.ReportMetric(float64(run.AllRequests())/float64(max(1, run.Files)), "requests/file")
		b.ReportMetric(float64(run.Events)/run.WallSeconds, "events/s")
	}
}
