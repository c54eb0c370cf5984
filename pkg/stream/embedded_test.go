package stream_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/embedded"
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
	require.NoError(t, err, "a client opens with every broker away")
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	require.ErrorContains(t, c.Ping(ctx), "127.0.0.1:1")
	_, err = stream.Open(stream.Config{}, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "kafka.brokers")
	_, err = stream.Open(stream.Config{Brokers: []string{"a:1"}, SASL: stream.SASL{Mechanism: "md5"}}, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "md5")
}
