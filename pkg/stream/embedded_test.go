package stream_test

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/embedded"
	"github.com/sealift/sealift/pkg/logtest"
	"github.com/sealift/sealift/pkg/porttest"
	"github.com/sealift/sealift/pkg/stream"
)

func TestEmbeddedBroker(t *testing.T) {
	broker, err := embedded.StartKafka(embedded.KafkaConfig{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	defer broker.Close()
	suite(t, broker.Addr())
}

func TestNoBroker(t *testing.T) {
	c, err := stream.Open(stream.Config{Brokers: []string{"127.0.0.1:1"}}, slog.New(slog.DiscardHandler))
	require.NoError(t, err, "open while no broker is up")
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	require.ErrorContains(t, c.Ping(ctx), "127.0.0.1:1")
	_, err = stream.Open(stream.Config{}, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "kafka.brokers")
	_, err = stream.Open(stream.Config{Brokers: []string{"a:1"}, SASL: stream.SASL{Mechanism: "md5"}}, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "md5")
}

// TestGroupCloseIsBounded: even if brokers accept connections but never answer.
func TestGroupCloseIsBounded(t *testing.T) {
	silence, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silence.Close()
	c, err := stream.Open(stream.Config{Brokers: []string{silence.Addr().String()}}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer c.Close()
	for _, stay := range []bool{false, true} {
		g, err := c.Join(stream.GroupConfig{ID: "g", Topics: []string{"t"}, Worker: "a", KeepOnClose: stay})
		require.NoError(t, err)
		time.Sleep(50 * time.Millisecond) // until it asks for the coordinator
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		began := time.Now()
		require.NoError(t, g.Close(ctx))
		require.Less(t, time.Since(began), 2*time.Second)
	}
}

// A note that can be neither read nor written keeps nobody from joining.
func TestUnusableNote(t *testing.T) {
	broker, err := embedded.StartKafka(embedded.KafkaConfig{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	defer broker.Close()
	var logged logtest.Buffer
	c, err := stream.Open(stream.Config{Brokers: []string{broker.Addr()}}, slog.New(slog.NewTextHandler(&logged, nil)))
	require.NoError(t, err)
	defer c.Close()
	makeTopic(t, c, "t", 2)
	g, err := c.Join(stream.GroupConfig{ID: "g", Topics: []string{"t"}, Worker: "a", MemberFile: t.TempDir()})
	require.NoError(t, err)
	gen, err := g.Next(t.Context())
	require.NoError(t, err)
	require.Len(t, gen.Assignments["t"], 2)
	require.NoError(t, g.Close(t.Context()))
	require.Equal(t, 2, strings.Count(logged.String(), "is a directory"), logged.String())
}

// An outage must not fill logs: there are several groups in each process, and each tries to join
// twice a second, and the followers of topics nearly as often.
func TestOutageIsLoggedOnceAMinute(t *testing.T) {
	var logged logtest.Buffer
	c, err := stream.Open(stream.Config{Brokers: []string{"127.0.0.1:1"}}, slog.New(slog.NewTextHandler(&logged, nil)))
	require.NoError(t, err)
	defer c.Close()
	g, err := c.Join(stream.GroupConfig{ID: "g", Topics: []string{"t"}, Worker: "a"})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	followed := make(chan error, 1)
	go func() {
		followed <- c.Follow(ctx, "t", func([]stream.Record) error { return nil }, func() {})
	}()
	_, err = g.Next(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Error(t, <-followed)
	require.NoError(t, g.Close(t.Context()))
	require.Equal(t, 1, strings.Count(logged.String(), "joining consumer group"), logged.String())
	require.Equal(t, 1, strings.Count(logged.String(), "kafka is down"), logged.String())
}

// TestPingReachesABroker: kafka-go's cached metadata does not count as an answer, and a cached
// connection to a broker that is gone does not make Ping fail.
func TestPingReachesABroker(t *testing.T) {
	cfg := embedded.KafkaConfig{Dir: t.TempDir(), Addr: porttest.Free(t), Log: slog.New(slog.DiscardHandler)}
	broker, err := embedded.StartKafka(cfg)
	require.NoError(t, err)
	for _, brokers := range [][]string{{cfg.Addr}, {"127.0.0.1:1", cfg.Addr}} {
		c, err := stream.Open(stream.Config{Brokers: brokers}, slog.New(slog.DiscardHandler))
		require.NoError(t, err)
		defer c.Close()
		for range 2 {
			require.NoError(t, c.Ping(t.Context()))
			require.NoError(t, broker.Close())
			began := time.Now()
			require.ErrorContains(t, c.Ping(t.Context()), "reach kafka at "+strings.Join(brokers, ","))
			require.Less(t, time.Since(began), 6*time.Second)
			broker, err = embedded.StartKafka(cfg)
			require.NoError(t, err)
			require.NoError(t, c.Ping(t.Context()), "ping after the broker restarted")
			require.NoError(t, broker.Close())
			broker, err = embedded.StartKafka(cfg)
			require.NoError(t, err)
			require.NoError(t, c.Ping(t.Context()), "ping through a connection to the previous broker")
		}
	}
	require.NoError(t, broker.Close())
}
