package appender

import (
	"context"
	"fmt"

	"github.com/sealift/sealift/pkg/stream"
)

// KafkaLog is the events topic in Kafka.
type KafkaLog struct{ Client *stream.Client }

var _ Log = KafkaLog{}

// Fetcher implements Log.
func (k KafkaLog) Fetcher(topic string, partition int) fetcher {
	return k.Client.NewFetcher(topic, partition)
}

// End implements Log.
func (k KafkaLog) End(ctx context.Context, topic string, partition int) (int64, error) {
	bounds, err := k.Client.Bounds(ctx, topic)
	if err != nil {
		return 0, err
	}
	b, ok := bounds[partition]
	if !ok {
		return 0, fmt.Errorf("topic %q has no partition %d", topic, partition)
	}
	return b.End, nil
}

// Ping implements Log.
func (k KafkaLog) Ping(ctx context.Context) error { return k.Client.Ping(ctx) }
