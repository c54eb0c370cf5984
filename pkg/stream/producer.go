package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"
)

// Record is one record of a topic.
type Record struct {
	Topic     string // set on reads; Produce ignores it
	Partition int    // set on reads; Produce ignores it
	Offset    int64  // set on reads; Produce ignores it
	Time      time.Time
	Key       []byte
	Value     []byte
	Headers   []Header
}

// Header returns the value of the record's last header of that key.
func (r *Record) Header(key string) ([]byte, bool) {
	for i := len(r.Headers) - 1; i >= 0; i-- {
		if r.Headers[i].Key == key {
			return r.Headers[i].Value, true
		}
	}
	return nil, false
}

// ProducerConfig tunes a producer.
type ProducerConfig struct {
	Topic string
	// Compression is none, gzip, snappy, lz4 or zstd.
	Compression string
	// Linger is how long a batch waits to be filled; default 5ms.
	Linger time.Duration
	// BatchBytes is the largest batch; default 1,000,000. A record larger
	// than that is refused.
	BatchBytes int
}

// Producer writes records to one topic, batched over all its callers. It is
// safe for concurrent use.
type Producer struct {
	w *kafka.Writer
}

// NewProducer returns a producer; it connects when first used.
func (c *Client) NewProducer(cfg ProducerConfig) *Producer {
	if cfg.Linger == 0 {
		cfg.Linger = 5 * time.Millisecond
	}
	if cfg.BatchBytes == 0 {
		cfg.BatchBytes = 1_000_000
	}
	var codec kafka.Compression
	switch cfg.Compression {
	case "gzip":
		codec = kafka.Gzip
	case "snappy":
		codec = kafka.Snappy
	case "lz4":
		codec = kafka.Lz4
	case "zstd":
		codec = kafka.Zstd
	}
	return &Producer{w: &kafka.Writer{
		Addr:  c.addr,
		Topic: cfg.Topic,
		// As the Java client: other producers put a key into the same partition.
		Balancer:        kafka.Murmur2Balancer{},
		MaxAttempts:     5,
		WriteBackoffMin: 50 * time.Millisecond,
		WriteBackoffMax: time.Second,
		BatchSize:       10_000,
		BatchBytes:      int64(cfg.BatchBytes),
		BatchTimeout:    cfg.Linger,
		ReadTimeout:     10 * time.Second,
		WriteTimeout:    10 * time.Second,
		RequiredAcks:    kafka.RequireAll,
		Compression:     codec,
		Transport:       c.transport,
	}}
}

// ErrRecordTooLarge says that a record is larger than the producer's or the
// topic's limit; the same record will never be taken.
var ErrRecordTooLarge = errors.New("record too large")

// Produce writes the records, partitioned by the hash of their keys, and
// returns when all in-sync replicas have all of them. After an error any of
// them may be in the log, now or later, and may come to be there twice.
func (p *Producer) Produce(ctx context.Context, records ...Record) error {
	msgs := make([]kafka.Message, len(records))
	for i := range records {
		r := &records[i]
		msgs[i] = kafka.Message{Key: r.Key, Value: r.Value, Headers: r.Headers, Time: r.Time}
	}
	err := p.w.WriteMessages(ctx, msgs...)
	if err == nil {
		return nil
	}
	var tooLarge kafka.MessageTooLargeError
	if errors.As(err, &tooLarge) || errors.Is(err, kafka.MessageSizeTooLarge) {
		return fmt.Errorf("produce to topic %q: %w", p.w.Topic, ErrRecordTooLarge)
	}
	var each kafka.WriteErrors
	if errors.As(err, &each) {
		for _, e := range each {
			if errors.Is(e, kafka.MessageSizeTooLarge) {
				return fmt.Errorf("produce to topic %q: %w", p.w.Topic, ErrRecordTooLarge)
			}
			if e != nil {
				return fmt.Errorf("produce to topic %q: %d of %d records: %w", p.w.Topic, each.Count(), len(each), e)
			}
		}
	}
	return fmt.Errorf("produce to topic %q: %w", p.w.Topic, err)
}

// Close writes what is pending and stops the producer.
func (p *Producer) Close() error { return p.w.Close() }
