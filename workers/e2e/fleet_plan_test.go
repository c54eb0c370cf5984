//go:build !stack

package e2e

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/plan"
)

// TestPlanCountsWhatAFleetDoes compares the files and requests that `sealift plan` computes with
// those of real roles, counted on their way to S3.
func TestPlanCountsWhatAFleetDoes(t *testing.T) {
	for hazard, c := range map[string]struct{ sources, partitions int }{
		"entries_owe_few":  {sources: 12, partitions: 4}, // each receipt is looked up
		"entries_owe_many": {sources: 96, partitions: 3}, // an entry's receipts are listed, and written in batches
	} {
		t.Run(hazard, func(t *testing.T) {
			planCounts(t, c.sources, c.partitions)
		})
	}
}

func planCounts(t *testing.T, sources, partitions int) {
	size := fleetSize{
		events: 8_000, sources: sources, destinations: 5, hours: 2, partitions: partitions, appenders: 1, copiers: 1, level: 6, data: t.TempDir(),
	}
	run := runFleet(t, embeddedServers(t), size)

	measured, err := plan.Default()
	require.NoError(t, err)
	load := plan.DefaultLoad()
	load.EventsPerSecond, load.Peak = float64(size.events)/float64(size.hours)/3600, 1
	load.EventBytes = float64(run.Bytes) / float64(run.Events)
	load.Sources, load.Destinations = size.sources, size.destinations
	p, err := plan.Estimate(load, measured)
	require.NoError(t, err)
	require.InDelta(t, run.Files, p.FilesPerDay/24*float64(size.hours), 1e-3, "files")

	want := map[string]int64{}
	files, entries := float64(run.Files), float64(run.Entries-run.Claims)
	staged, spans := plan.PackCount(files, float64(run.GzipBytes), entries), plan.SpanCount(files, float64(run.GzipBytes), entries)
	require.Less(t, staged, files, "small files were not staged together")
	volume := plan.Volume{Files: files, Copies: 1, Small: files, Spans: spans, Staged: staged, Entries: float64(run.Entries), Claims: float64(run.Claims), Copiers: 1}
	for kind, n := range plan.CountRequests(volume) {
		want[kind] = int64(n)
	}
	got := maps.Clone(run.Requests)
	// The probe of the staging bucket, once in each process.
	maps.DeleteFunc(got, func(kind string, _ int64) bool { return strings.HasSuffix(kind, " other") })
	if files >= delivery.BatchFrom*entries { // how many receipts share a request depends on how fast the copier is
		require.GreaterOrEqual(t, got["put receipt"], int64(entries))
		require.LessOrEqual(t, got["put receipt"], max(want["put receipt"], run.Files/2))
		got["put receipt"] = want["put receipt"]
	}
	require.Equal(t, want, got, "requests")
	delete(got, "list receipt") // a plan for an hour of so few sources has none
	for kind := range got {
		require.True(t, slices.ContainsFunc(p.Requests, func(c plan.Cost) bool { return c.Kind == kind }), "%s is missing from the plan", kind)
	}
}
