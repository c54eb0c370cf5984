package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/check"
	"github.com/sealift/sealift/pkg/porttest"
	"github.com/sealift/sealift/pkg/stream"
)

// sendBatch sends events of a source, with these numbers in their messageIds, in one request.
func (p *devProcess) sendBatch(t *testing.T, source string, ids ...int) {
	t.Helper()
	var events []string
	for _, id := range ids {
		events = append(events, fmt.Sprintf(`{"type":"track","userId":"u","event":"E","messageId":"%s-%d"}`, source, id))
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.Collector+"/v1/batch", strings.NewReader(`{"batch":[`+strings.Join(events, ",")+`]}`))
	require.NoError(t, err)
	req.SetBasicAuth(source, "")
	resp, err := doUntilTaken(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusOK, resp.StatusCode)
}

// A source with four fifths of all events is spread evenly over all partitions, messages that are
// sent again are still recognised, and the catalog can end the spreading while everything runs.
func TestHotSourceIsSpreadEvenly(t *testing.T) {
	t.Parallel()
	file, s3 := filepath.Join(t.TempDir(), "catalog.yaml"), porttest.Free(t)
	write := func(spread int) {
		require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, `
workspace: ws_AAAAAAAAAAAAAAAA
sources: [{id: hot, write_keys: [hot], spread: %d}, {id: cold, write_keys: [cold]}]
destinations:
  - {name: main, sources: [hot, cold], bucket: acme-logs, endpoint: "http://%s"}
`, spread, s3), 0o600))
	}
	write(8)
	p := startDev(t, t.TempDir(), "--catalog", file, "--s3", s3)
	client, err := stream.Open(stream.Config{Brokers: []string{p.Kafka}}, silent)
	require.NoError(t, err)
	defer client.Close()
	ends := func() (records []int64) { // ends of the partitions, which include what dev has trimmed
		bounds, err := client.Bounds(t.Context(), "sealift.events")
		require.NoError(t, err)
		for n := range len(bounds) {
			records = append(records, bounds[n].End)
		}
		return records
	}
	require.Len(t, ends(), 8)

	acked := &check.Expected{}
	const batches, each = 100, 20
	for range 2 { // everything is sent twice
		for b := range batches {
			source, ids := "hot", make([]int, each)
			if b%5 == 4 {
				source = "cold"
			}
			for i := range ids {
				ids[i] = b*each + i
				acked.Acknowledge(source, fmt.Sprintf("%s-%d", source, ids[i]))
			}
			p.sendBatch(t, source, ids...)
		}
	}
	const hot, cold = 2 * batches * each * 4 / 5, 2 * batches * each / 5
	with := 0 // partitions that hold the cold source
	for n, records := range ends() {
		if records > cold {
			records, with = records-cold, with+1
		}
		require.InEpsilon(t, hot/8, records, 0.2, "partition %d", n)
	}
	require.Equal(t, 1, with)
	bucket := p.bucket("acme-logs", p.S3Region)
	report := p.awaitDelivered(t, bucket, "", acked)
	require.True(t, report.OK(), report)

	write(1)
	for id := 1_000_000; ; id += each { // until the collector follows
		before, ids := ends(), make([]int, each)
		for i := range ids {
			ids[i] = id + i
			acked.Acknowledge("hot", fmt.Sprintf("hot-%d", ids[i]))
		}
		p.sendBatch(t, "hot", ids...)
		grown := 0
		for n, records := range ends() {
			if records > before[n] {
				grown++
			}
		}
		if grown == 1 {
			break
		}
		require.Less(t, id, 1_000_000+600*each, "the source is still spread")
		time.Sleep(50 * time.Millisecond)
	}
	report = p.awaitDelivered(t, bucket, "", acked)
	require.True(t, report.OK(), report)
}
