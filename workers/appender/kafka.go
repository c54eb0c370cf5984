package appender

import (
	"context"
	"fmt"
	"strconv"
	"time"

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

// deadLetter is the record as the dead letters keep it: its key, value and
// headers, with where it came from and why.
func deadLetter(r *stream.Record, reason string) stream.Record {
	headers := make([]stream.Header, 0, len(r.Headers)+4)
	headers = append(headers, r.Headers...)
	headers = append(headers,
		stream.Header{Key: "sealift-reason", Value: []byte(reason)},
		stream.Header{Key: "sealift-topic", Value: []byte(r.Topic)},
		stream.Header{Key: "sealift-partition", Value: strconv.AppendInt(nil, int64(r.Partition), 10)},
		stream.Header{Key: "sealift-offset", Value: strconv.AppendInt(nil, r.Offset, 10)},
	)
	return stream.Record{Key: r.Key, Value: r.Value, Headers: headers, Time: time.Now()}
}
