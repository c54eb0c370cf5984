package stream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/sealift/sealift/pkg/sleep"
)

// ErrOffsetOutOfRange says that the log does not hold the requested offset: retention deleted it,
// or the log is shorter than it was. Sealift never resets an offset by itself.
var ErrOffsetOutOfRange = errors.New("offset out of range")

// FetchOptions limit one fetch.
type FetchOptions struct {
	// MaxBytes limits the record batches; default 1 MiB. One batch is returned even if it is larger,
	// and less is requested if batches decompress to much.
	MaxBytes int
	MaxWait  time.Duration // how long to wait for the first byte; default 500ms
}

// Fetched is the result of one fetch.
type Fetched struct {
	// Records are in offset order, all at or above the requested offset. They and their bytes are
	// valid until the next Fetch of the same Fetcher.
	Records []Record
	// Next is the next offset to request. It skips control records, and what compaction removed.
	Next int64
	// HighWatermark is the end of the log, as known to the broker.
	HighWatermark int64
	// LogStart is the oldest offset that the log holds.
	LogStart int64
}

// Fetcher reads one partition, statelessly: every call names its offset. It is for use by one
// goroutine and reuses its buffers, so that a record costs no allocation.
//
// kafka-go's own Fetch takes as much CPU as gzip, and makes four allocations per record. So the
// request uses a connection that kafka-go has opened, and the response is decoded in place: see
// DESIGN.md.
type Fetcher struct {
	client    *Client
	topic     string
	partition int
	leader    string // host:port; "": unknown
	lastErr   error  // why it is no longer known
	request   []byte
	response  []byte // the last one; uncompressed records point into it
	oversized int    // fetches in a row that used little of the buffers
	decoder
}

// NewFetcher returns a fetcher of one partition.
func (c *Client) NewFetcher(topic string, partition int) *Fetcher {
	return &Fetcher{client: c, topic: topic, partition: partition, decoder: decoder{topic: topic, partition: partition, inputLimit: unpackTarget / 16}}
}

// Fetch reads records from offset on. It waits up to MaxWait for the first. If it returns no
// records and no error, there are none yet.
func (f *Fetcher) Fetch(ctx context.Context, offset int64, opts FetchOptions) (Fetched, error) {
	if opts.MaxBytes == 0 {
		opts.MaxBytes = 1 << 20
	}
	if opts.MaxWait == 0 {
		opts.MaxWait = 500 * time.Millisecond
	}
	f.shrink()
	if f.inputLimit > 0 {
		opts.MaxBytes = min(opts.MaxBytes, f.inputLimit)
	}
	got, err := f.fetch(ctx, offset, opts)
	for throttle := throttledError(0); errors.As(err, &throttle); {
		if err = sleep.For(ctx, min(time.Duration(throttle), time.Minute)); err == nil {
			got, err = f.fetch(ctx, offset, opts)
		}
	}
	if err != nil {
		return Fetched{}, fmt.Errorf("fetch topic %q, partition %d, offset %d: %w", f.topic, f.partition, offset, err)
	}
	return got, nil
}

// idleBufferBytes is how much buffer space a fetcher keeps that waits at the end of its log. That
// is what most fetchers do most of the time, and there are two per partition. Larger buffers are
// dropped only after oversizedFetches fetches, because allocating new ones after every short fetch
// would cost CPU.
const (
	idleBufferBytes  = 256 << 10 // 256 KiB
	oversizedFetches = 8
)

// shrink gives up buffers that are much larger than what was recently in them.
func (f *Fetcher) shrink() {
	held := bufferBytes(cap(f.response), cap(f.arena), cap(f.records), cap(f.headers))
	switch used := bufferBytes(len(f.response), len(f.arena), len(f.records), len(f.headers)); {
	case held <= idleBufferBytes || used >= held/4:
		f.oversized = 0
	case f.oversized < oversizedFetches && held <= maxKeptBytes:
		f.oversized++
	default:
		f.oversized = 0
		f.response, f.arena, f.records, f.headers = nil, nil, nil, nil
	}
}

func bufferBytes(answer, arena, records, headers int) int {
	return answer + arena + records*128 + headers*40
}

func (f *Fetcher) fetch(ctx context.Context, offset int64, opts FetchOptions) (Fetched, error) {
	// A broker that vanished in the middle of a poll never answers.
	ctx, cancel := context.WithTimeout(ctx, opts.MaxWait+10*time.Second)
	defer cancel()
	if err := f.roundTrip(ctx, offset, opts); err != nil {
		f.leader, f.lastErr = "", err // the leader may have changed
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return Fetched{}, err
	}
	a, err := readFetchResponse(f.response, f.topic, f.partition)
	if err == nil && a.code != 0 {
		err = kafka.Error(a.code)
		f.leader, f.lastErr = "", err
		if errors.Is(err, kafka.OffsetOutOfRange) {
			err = ErrOffsetOutOfRange
		}
	}
	if err != nil {
		return Fetched{}, err
	}
	records, next, err := f.read(a.records, offset)
	if err != nil {
		return Fetched{}, err
	}
	return Fetched{Records: records, Next: next, HighWatermark: a.highWatermark, LogStart: a.logStart}, nil
}

// roundTrip sends the request and fills f.response. Brokers may have closed idle connections; then
// it tries the next one, and a new one when none is left.
func (f *Fetcher) roundTrip(ctx context.Context, offset int64, opts FetchOptions) error {
	if f.leader == "" {
		f.client.refreshMetadata(ctx, f.lastErr, false)
		leader, err := f.client.leaderAddr(ctx, f.topic, f.partition)
		if err != nil {
			return err
		}
		f.leader = leader
	}
	for {
		w, used, err := f.client.conns.get(ctx, f.client.dialer, f.leader)
		if err != nil {
			return err
		}
		f.request = appendFetch(f.request[:0], w.nextID(), f.client.dialer.ClientID, f.topic, f.partition, offset, opts)
		if f.response, err = w.roundTrip(ctx, f.request, f.response); err == nil {
			f.client.conns.put(f.leader, w)
			return nil
		}
		_ = w.conn.Close()
		if !used || ctx.Err() != nil {
			return fmt.Errorf("broker %s: %w", f.leader, err)
		}
	}
}

// leaderAddr returns the address of a partition's leader, as far as it is known.
func (c *Client) leaderAddr(ctx context.Context, topic string, partition int) (string, error) {
	res, err := callAPI(ctx, c.api(5*time.Second).Metadata, &kafka.MetadataRequest{Topics: []string{topic}})
	if err != nil {
		return "", err
	}
	for _, t := range res.Topics {
		for _, p := range t.Partitions {
			if t.Name != topic || p.ID != partition {
				continue
			}
			if p.Leader.Host == "" {
				return "", kafka.LeaderNotAvailable
			}
			return net.JoinHostPort(p.Leader.Host, strconv.Itoa(p.Leader.Port)), nil
		}
	}
	return "", kafka.UnknownTopicOrPartition
}
