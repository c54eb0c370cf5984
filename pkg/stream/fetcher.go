package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// ErrOffsetOutOfRange says that the log does not hold the asked offset: it was
// cut by retention, or is shorter than it was. Sealift never resets by itself.
var ErrOffsetOutOfRange = errors.New("offset out of range")

// FetchOptions bound one fetch.
type FetchOptions struct {
	MaxBytes int           // of record batches; default 1 MiB; one batch is returned even if larger
	MaxWait  time.Duration // for the first byte; default 500ms
}

// Fetched is what one fetch returned.
type Fetched struct {
	// Records in offset order, all at or above the asked offset. They and
	// their bytes are valid until the next Fetch of the same Fetcher.
	Records []Record
	// Next is the offset to ask for next; it passes over control records.
	Next int64
	// HighWatermark is the end of the log as the broker saw it.
	HighWatermark int64
	// LogStart is the oldest offset that the log holds.
	LogStart int64
}

// Fetcher reads one partition, statelessly: every call says its offset. It is
// for one goroutine and reuses its buffers.
type Fetcher struct {
	api       *kafka.Client
	topic     string
	partition int
	records   []Record
	arena     []byte
}

// NewFetcher returns a fetcher of one partition.
func (c *Client) NewFetcher(topic string, partition int) *Fetcher {
	return &Fetcher{api: c.api(0), topic: topic, partition: partition}
}

// Fetch reads records from offset on, waiting up to MaxWait for the first.
// No records and no error means that there are none yet.
func (f *Fetcher) Fetch(ctx context.Context, offset int64, opts FetchOptions) (Fetched, error) {
	if opts.MaxBytes == 0 {
		opts.MaxBytes = 1 << 20
	}
	if opts.MaxWait == 0 {
		opts.MaxWait = 500 * time.Millisecond
	}
	// A broker that vanished mid-poll never answers.
	ctx, cancel := context.WithTimeout(ctx, opts.MaxWait+10*time.Second)
	defer cancel()
	res, err := f.api.Fetch(ctx, &kafka.FetchRequest{
		Topic: f.topic, Partition: f.partition, Offset: offset,
		MinBytes: 1, MaxBytes: int64(opts.MaxBytes), MaxWait: opts.MaxWait,
	})
	if err == nil {
		err = res.Error
	}
	if err != nil {
		if errors.Is(err, kafka.OffsetOutOfRange) {
			err = ErrOffsetOutOfRange
		}
		return Fetched{}, fmt.Errorf("fetch topic %q, partition %d, offset %d: %w", f.topic, f.partition, offset, err)
	}
	out := Fetched{Next: offset, HighWatermark: res.HighWatermark, LogStart: res.LogStartOffset}
	f.records, f.arena = f.records[:0], f.arena[:0]
	if err := f.readSet(res.Records, offset, &out.Next, false); err != nil {
		return Fetched{}, fmt.Errorf("read records of topic %q, partition %d, offset %d: %w", f.topic, f.partition, offset, err)
	}
	out.Records = f.records
	return out, nil
}

// readSet copies the records of a set, or only passes over them (control).
func (f *Fetcher) readSet(set protocol.RecordReader, offset int64, next *int64, control bool) error {
	switch s := set.(type) {
	case *protocol.RecordStream:
		for _, r := range s.Records {
			if err := f.readSet(r, offset, next, control); err != nil {
				return err
			}
		}
		return nil
	case *protocol.ControlBatch:
		return f.readSet(s.Records, offset, next, true)
	}
	for {
		rec, err := set.ReadRecord()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		// A fetch that starts inside a batch returns the whole batch.
		if rec.Offset >= offset && !control {
			key, err := f.copyBytes(rec.Key)
			if err != nil {
				return err
			}
			value, err := f.copyBytes(rec.Value)
			if err != nil {
				return err
			}
			f.records = append(f.records, Record{
				Topic: f.topic, Partition: f.partition, Offset: rec.Offset, Time: rec.Time,
				Key: key, Value: value, Headers: rec.Headers,
			})
		}
		if rec.Offset >= *next {
			*next = rec.Offset + 1
		}
		closeBytes(rec.Key)
		closeBytes(rec.Value)
	}
}

// copyBytes moves b into the arena; what earlier records point to stays valid
// when the arena grows, because growth allocates anew.
func (f *Fetcher) copyBytes(b protocol.Bytes) ([]byte, error) {
	if b == nil {
		return nil, nil
	}
	n := b.Len()
	if cap(f.arena)-len(f.arena) < n {
		f.arena = make([]byte, 0, max(2*cap(f.arena), n, 64<<10))
	}
	start := len(f.arena)
	f.arena = f.arena[:start+n]
	dst := f.arena[start : start+n : start+n]
	if _, err := io.ReadFull(b, dst); err != nil {
		return nil, err
	}
	return dst, nil
}

func closeBytes(b protocol.Bytes) {
	if b != nil {
		_ = b.Close() // returns pages to a pool; cannot fail
	}
}
