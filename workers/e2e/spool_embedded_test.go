//go:build !stack

package e2e

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/embedded"
	"github.com/sealift/sealift/pkg/porttest"
)

// TestSpoolSurvivesKill9: while Kafka is away, a collector with a spool continues to acknowledge.
// It is killed at a random moment then, and again while it empties the spool. In the end every
// acknowledged event is in Kafka, and a source's events are in order. Duplicates are events that
// were produced when their segment was not deleted yet, or that their sender sent again.
func TestSpoolSurvivesKill9(t *testing.T) {
	t.Parallel()
	const lanes, rounds = 8, 3
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))

	dir := t.TempDir()
	addr := porttest.Free(t)
	var kafka *embedded.Kafka
	up := func() {
		var err error
		kafka, err = embedded.StartKafka(embedded.KafkaConfig{Dir: filepath.Join(dir, "kafka"), Addr: addr, Log: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
	}
	up()
	defer func() { require.NoError(t, kafka.Close()) }()
	on := servers{kafka: addr, redis: "redis://127.0.0.1:1/0", s3: "http://127.0.0.1:1", access: "a", secret: "b", region: "us-east-1", makeBucket: func(string) error { return nil }}
	s := newSystem(t, on, 0, fleet{collectors: 1, collector: spoolSection(dir)})
	s.lanesOnly(lanes)
	s.start(ctx)
	collector := s.collectors[0]
	clients := startLanes(s, lanes)
	clients.await(ctx, t, 100)

	for range rounds {
		require.NoError(t, kafka.Close())
		clients.await(ctx, t, 200+rng.Int64N(2000))
		held, err := collector.metric(ctx, "sealift_collector_spool_records")
		require.NoError(t, err)
		require.Positive(t, held)
		require.NoError(t, collector.ready(ctx), "not ready although it takes events")
		collector.kill() // while it is spooling

		up()
		require.NoError(t, collector.start())
		for err = context.DeadlineExceeded; err != nil; time.Sleep(time.Millisecond) {
			require.NoError(t, ctx.Err())
			_, err = collector.metric(ctx, "sealift_collector_spool_records")
		}
		time.Sleep(time.Duration(rng.IntN(60)) * time.Millisecond)
		left, err := collector.metric(ctx, "sealift_collector_spool_records")
		require.NoError(t, err)
		collector.kill() // while it empties the spool, or after
		t.Logf("killed with %.0f records in the spool, and again with %.0f left", held, left)
		require.NoError(t, collector.start())
		require.NoError(t, collector.ready(ctx))
		waitUntilSpoolIsEmpty(ctx, t, collector)
		clients.await(ctx, t, 50)
	}
	clients.stop()
	waitUntilSpoolIsEmpty(ctx, t, collector)
	require.NoError(t, collector.terminate(drainWithin))
	copies := clients.judge(ctx, t, s)
	t.Logf("%d events acknowledged, %d tries were not, %d copies", clients.total(), clients.tries.Load(), copies)
}
