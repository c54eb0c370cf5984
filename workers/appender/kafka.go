package appender

import "github.com/sealift/sealift/pkg/stream"

// KafkaLog is the events topic in Kafka.
type KafkaLog struct{ *stream.Client }

var _ Log = KafkaLog{}

// Fetcher implements Log.
func (k KafkaLog) Fetcher(topic string, partition int) Fetcher {
	return k.NewFetcher(topic, partition)
}
