//go:build stack

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/check"
)

// TestSpoolWhileKafkaIsAway: all brokers hang for a while, and later all are killed and stay down
// for a while. The collector acknowledges all the time, and what it acknowledged is in the
// customer's bucket in the end, once.
func TestSpoolWhileKafkaIsAway(t *testing.T) {
	const lanes, outage = 8, 8 * time.Second
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	on := stackServers(t)
	s := newSystem(t, on, 0, fleet{collectors: 1, appenders: 1, copiers: 1, auditors: 1, appender: "roll_every: 5s, grace: 1s", collector: spoolSection(t.TempDir())})
	bucket := &destination{name: "main", bucket: "e2e-" + s.tag + "-spool"}
	s.lanesOnly(lanes, bucket)
	s.start(ctx)
	clients := startLanes(s, lanes)
	clients.await(ctx, t, 1000)

	t.Cleanup(func() { require.NoError(t, stack(ctx, "up")) }) // for the tests after this one, whatever failed
	brokers := strings.Count(on.kafka, ",") + 1
	for _, c := range []struct{ hazard, down string }{{"hang", "pause"}, {"killed", "kill"}} {
		for i := range brokers {
			require.NoError(t, stack(ctx, c.down, fmt.Sprint("kafka-", i+1)))
		}
		before := clients.total()
		back := time.After(outage)
		clients.await(ctx, t, 500)
		select {
		case <-back:
		case <-ctx.Done():
			require.NoError(t, ctx.Err())
		}
		held, err := s.collectors[0].metric(ctx, "sealift_collector_spool_records")
		require.NoError(t, err)
		require.Positive(t, held)
		require.NoError(t, s.collectors[0].ready(ctx))
		taken := clients.total() - before
		require.NoError(t, stack(ctx, "up"))
		t.Logf("brokers %s for %v: %d events acknowledged meanwhile, %.0f records in the spool", c.hazard, outage, taken, held)
		waitUntilSpoolIsEmpty(ctx, t, s.collectors[0]) // although clients go on sending
		clients.await(ctx, t, 1000)
	}
	clients.stop()
	waitUntilSpoolIsEmpty(ctx, t, s.collectors[0])
	copies := clients.judge(ctx, t, s)
	t.Logf("%d events acknowledged, %d tries were not, %d copies in the topic", clients.total(), clients.tries.Load(), copies)

	owed := newExpectations(s)
	for lane := range lanes {
		for i := range clients.acked[lane].Load() {
			owed.acknowledge(sourceID(lane), fmt.Sprint("m-", i))
		}
	}
	owed.finish(ctx, t, s, newDeliveryCounter(s))
	report, err := owed.expected[bucket].Check(objects(ctx, store(on, bucket.bucket)), check.Rules{})
	require.NoError(t, err)
	t.Log(report)
	require.True(t, report.OK())
}
