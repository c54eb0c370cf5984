package appender

import (
	"context"

	"github.com/sealift/sealift/pkg/stream"
)

// KafkaLog is the events topic in Kafka.
type KafkaLog struct{ Client *stream.Client }

var _ Log = KafkaLog{}

// Fetcher implements Log.
func (k KafkaLog) Fetcher(topic string, partition int) Fetcher {
	return k.Client.NewFetcher(topic, partition)
}

// Ends implements Log.
func (k KafkaLog) Ends(ctx context.Context, topic string) (map[int]int64, error) {
	bounds, err := k.Client.Bounds(ctx, topic)
	ends := make(map[int]int64, len(bounds))
	for partition, b := range bounds {
		ends[partition] = b.End
	}
	return ends, err
}

// Ping implements Log.
func (k KafkaLog) Ping(ctx context.Context) error { return k.Client.Ping(ctx) }
