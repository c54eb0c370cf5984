package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go"
)

// Record is one record of a topic.
type Record struct {
	Topic     string    // set on reads; Produce ignores it
	Partition int       // set on reads; Produce ignores it
	Offset    int64     // set on reads; Produce ignores it
	Time      time.Time // ignored by Produce, except with ProducerConfig.KeepTime
	Key       []byte
	Value     []byte
	Headers   []Header
}

// Header returns the value of the record's last header with that key.
func (r *Record) Header(key string) ([]byte, bool) {
	for i := len(r.Headers) - 1; i >= 0; i-- {
		if r.Headers[i].Key == key {
			return r.Headers[i].Value, true
		}
	}
	return nil, false
}

// Clone returns a copy that shares no bytes with r, for instance to produce a fetched record.
func (r *Record) Clone() Record {
	c := *r
	c.Key, c.Value, c.Headers = bytes.Clone(r.Key), bytes.Clone(r.Value), slices.Clone(r.Headers)
	for i := range c.Headers {
		c.Headers[i].Value = bytes.Clone(c.Headers[i].Value)
	}
	return c
}

// ProducerConfig configures a producer.
type ProducerConfig struct {
	Topic string
	// Compression is none, gzip, snappy, lz4 or zstd.
	Compression string
	// BatchBytes is the largest batch; default 1,000,000. A larger record is refused.
	BatchBytes int
	// Spread, if not nil, returns over how many partitions the records of r's key are spread, and
	// by what, such as a message's id. Records with the same by go to the same partition, those
	// with nil to any of them. If over is 1, all go to the key's own partition.
	Spread func(r *Record) (over int, by []byte)
	// KeepTime writes records with their Time, if it is not in the future. Otherwise each record
	// gets the time at which it is sent, for two reasons: retention would delete records with an
	// old Time before anybody has read them, and brokers of Kafka 4 refuse a record that is more
	// than an hour ahead (message.timestamp.after.max.ms), however often it is sent.
	KeepTime bool
}

// Producer writes records to one topic, in batches across all its callers. It is safe for
// concurrent use.
//
// It does not use kafka.Writer. That allocates room for the most records that a batch may hold,
// however few it will hold; it looks up the topic's partitions and allocates maps for each record;
// and it ends batches after a fixed time, so that slow brokers get many small ones: see DESIGN.md.
type Producer struct {
	cfg             ProducerConfig
	client          *kafka.Client
	codec           kafka.Compression
	countPartitions func(context.Context) (int, error)
	refreshMetadata func(ctx context.Context, err error, electing bool) // see Client.refreshMetadata
	partitions      atomic.Pointer[partitions]
	throttledUntil  atomic.Int64 // unix ns until which a broker may leave requests unread, because of a quota
	work            sync.WaitGroup
	requestCtx      context.Context // context of requests
	cancelRequests  context.CancelFunc

	mu     sync.Mutex
	lanes  map[int]*lane // guarded by mu; by partition
	closed bool          // guarded by mu
}

// partitions are the partitions of the topic at some time.
type partitions struct {
	ids []int
	at  time.Time
}

// NewProducer returns a producer; it connects when first used.
func (c *Client) NewProducer(cfg ProducerConfig) *Producer {
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
	life, end := context.WithCancel(context.Background())
	return &Producer{
		requestCtx: life, cancelRequests: end,
		cfg: cfg, codec: codec, lanes: map[int]*lane{},
		// kafka-go tells brokers to wait for replicas for half of the request's remaining time, but
		// no longer than half of this timeout. The default would be half a second.
		client:          c.api(produceTimeout + maxThrottle),
		countPartitions: func(ctx context.Context) (int, error) { return c.Partitions(ctx, cfg.Topic) },
		refreshMetadata: c.refreshMetadata,
	}
}

// ErrRecordTooLarge says that a record is larger than the limit of the producer or the topic. The
// same record will never be accepted.
var ErrRecordTooLarge = errors.New("record too large")

// Unwritten is Produce's error. It has the records that are not known to be in the log, in order
// within a partition. All others are in the log.
type Unwritten struct {
	Failed   []Record // may be in the log, now or later; a retry may succeed
	TooLarge []Record // too large even alone (ErrRecordTooLarge)
	Err      error    // of the first record that failed
}

// Error implements error.
func (u *Unwritten) Error() string { return u.Err.Error() }

// Unwrap returns Err.
func (u *Unwritten) Unwrap() error { return u.Err }

// NotWritten returns the records that, according to an error of Produce, are not known to be in the
// log. For any error other than an Unwritten, that is all of them.
func NotWritten(err error, records []Record) (failed, tooLarge []Record) {
	var u *Unwritten
	switch {
	case err == nil:
		return nil, nil
	case errors.As(err, &u):
		return u.Failed, u.TooLarge
	}
	return records, nil
}

// Produce writes the records, partitioned by the hash of their keys (and by ProducerConfig.Spread),
// and returns when all in-sync replicas have all of them. After an error, an *Unwritten, any of
// them may be in the log, now or later, perhaps twice; but those that were not in flight yet when
// ctx ended never will be. The records and their bytes must not be changed any more, even after an
// error, since a try that timed out may still be reading them.
func (p *Producer) Produce(ctx context.Context, records ...Record) error {
	if len(records) == 0 {
		return nil
	}
	c := &call{records: records, done: make(chan struct{})}
	if err := p.produce(ctx, c); err != nil {
		return c.unwritten(fmt.Errorf("produce to topic %q: %w", p.cfg.Topic, err))
	}
	return nil
}

func (p *Producer) produce(ctx context.Context, c *call) error {
	pieces, err := p.split(ctx, c)
	if err != nil {
		return err
	}
	c.unfinished = len(pieces)
	for _, piece := range pieces {
		if !p.enqueue(piece) {
			piece.finish(io.ErrClosedPipe)
		}
	}
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		c.abandoned.Store(true)
		p.drop(c)
		return ctx.Err()
	}
}

// split splits a call's records into runs for one partition, none larger than a batch. Records of a
// partition keep their order.
func (p *Producer) split(ctx context.Context, c *call) ([]piece, error) {
	known := p.partitions.Load()
	if now := time.Now(); known == nil || now.Sub(known.at) > partitionCountTTL {
		n, err := p.countPartitions(ctx)
		if err != nil {
			return nil, err
		}
		known = &partitions{at: now, ids: make([]int, n)}
		for i := range known.ids {
			known.ids[i] = i
		}
		p.partitions.Store(known)
	}
	records, to := p.sortByPartition(c.records, known.ids)
	c.records = records
	pieces := make([]piece, 0, 1)
	start, size := 0, 0
	for i := range records {
		n := records[i].size()
		if n > p.cfg.BatchBytes {
			c.outcomes = append(c.outcomes, outcome{at: i, n: 1, err: ErrRecordTooLarge})
			continue
		}
		if to[i] != to[start] || size+n > p.cfg.BatchBytes {
			pieces = append(pieces, piece{partition: to[start], at: start, records: records[start:i], bytes: size, call: c})
			start, size = i, 0
		}
		size += n
	}
	if len(c.outcomes) > 0 {
		return nil, ErrRecordTooLarge // none is written then
	}
	return append(pieces, piece{partition: to[start], at: start, records: records[start:], bytes: size, call: c}), nil
}

// size returns an upper bound of the record's size in an uncompressed batch.
func (r *Record) size() int {
	n := 24 + len(r.Key) + len(r.Value)
	for i := range r.Headers {
		n += 6 + len(r.Headers[i].Key) + len(r.Headers[i].Value)
	}
	return n
}

func (p *Producer) enqueue(item piece) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	l := p.lanes[item.partition]
	if l == nil {
		l = &lane{producer: p, partition: item.partition, wake: make(chan struct{}, 1)}
		p.lanes[item.partition] = l
		p.work.Go(l.run)
	}
	l.add(item)
	return true
}

// setThrottled records that a broker will not read our requests for that long. Partitions share
// connections, so requests for other partitions may wait that long as well.
func (p *Producer) setThrottled(d time.Duration) {
	until := time.Now().Add(d).UnixNano()
	for was := p.throttledUntil.Load(); was < until && !p.throttledUntil.CompareAndSwap(was, until); was = p.throttledUntil.Load() {
	}
}

// throttledFor returns for how long a broker may still leave a request unread.
func (p *Producer) throttledFor() time.Duration {
	return max(0, time.Until(time.Unix(0, p.throttledUntil.Load())))
}

// drop removes the pieces of a call that are not in flight.
func (p *Producer) drop(c *call) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.lanes {
		l.drop(c)
	}
}

// Close writes what is pending and stops the producer. It ends at the latest when ctx ends: what is
// not written then fails with io.ErrClosedPipe.
func (p *Producer) Close(ctx context.Context) error {
	defer p.cancelRequests()
	defer context.AfterFunc(ctx, p.cancelRequests)()
	p.mu.Lock()
	p.closed = true
	for _, l := range p.lanes {
		l.close()
	}
	p.mu.Unlock()
	p.work.Wait()
	return nil
}
