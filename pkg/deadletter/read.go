package deadletter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/sealift/sealift/pkg/route"
	"github.com/sealift/sealift/pkg/sleep"
	"github.com/sealift/sealift/pkg/stream"
)

// Letter is a dead letter that was read.
type Letter struct {
	stream.Record // valid until the function that it was passed to returns

	// At is when its event was received, if the collector refused it; otherwise when the letter was
	// written.
	At     time.Time
	Source string // "" if it has no valid one
	Reason string
	// SentAgain says that its event is in the events topic, so it is no longer a dead letter.
	SentAgain bool
}

// RefusedByCollector reports whether the collector wrote the letter, so that the record was in no
// topic.
func (l *Letter) RefusedByCollector() bool {
	_, inTopic := l.Header(HeaderTopic)
	return !inTopic
}

// Kafka is what reading needs; *stream.Client provides it, except for the return type of
// NewFetcher.
type Kafka struct {
	// BoundsSince returns the bounds of each partition, where First is the offset of the first
	// record whose time is t or later.
	BoundsSince func(ctx context.Context, topic string, t time.Time) (map[int]stream.Bounds, error)
	Fetcher     func(topic string, partition int) Fetcher
}

// Fetcher reads one partition; see stream.Fetcher.
type Fetcher interface {
	Fetch(ctx context.Context, offset int64, opts stream.FetchOptions) (stream.Fetched, error)
}

// Window selects letters by the time at which they were written to the topic: from Since on and
// before Until; zero means no bound. Letters that arrive during the read are ignored.
type Window struct{ Since, Until time.Time }

// maxSkew is how much older a record's time may be than those of its neighbours, since each is from
// the clock of its writer.
const maxSkew = 10 * time.Minute

// Read calls each with every letter of a window, one partition after the other, in order of
// offsets. A topic that does not exist has none. done is called when the letters of a fetch have
// been passed. Both can stop Read by returning an error.
//
// Read reads the topic twice, because the notes of letters that were sent again come after them. It
// keeps a few bytes more than eight in memory for each of these.
func Read(ctx context.Context, kafka Kafka, topic string, w Window, each func(*Letter) error, done func() error) error {
	from := w.Since
	if !from.IsZero() {
		from = from.Add(-maxSkew)
	}
	bounds, err := boundsSince(ctx, kafka, topic, from)
	if errors.Is(err, stream.ErrNoTopic) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read dead letters: %w", err)
	}
	sent := map[position]bool{}
	err = Walk(ctx, kafka, topic, bounds, func(r *stream.Record) error {
		if isNote(r) {
			readNote(r.Value, sent)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return walk(ctx, kafka, topic, bounds, func(r *stream.Record) error {
		if isNote(r) || !w.Since.IsZero() && r.Time.Before(w.Since) || !w.Until.IsZero() && !r.Time.Before(w.Until) {
			return nil
		}
		return each(letterOf(r, sent[position{r.Partition, r.Offset}]))
	}, done)
}

// isNote distinguishes notes from letters. A letter may have the header of a note, if the producer
// of its record set it.
func isNote(r *stream.Record) bool {
	_, sent := r.Header(HeaderSent)
	_, letter := r.Header(HeaderReason)
	return sent && !letter
}

func letterOf(r *stream.Record, sentAgain bool) *Letter {
	l := &Letter{Record: *r, At: r.Time, SentAgain: sentAgain}
	if at, ok := r.Header(route.HeaderReceived); ok && l.RefusedByCollector() {
		if ms, err := strconv.ParseInt(string(at), 10, 64); err == nil {
			l.At = time.UnixMilli(ms)
		}
	}
	reason, _ := r.Header(HeaderReason)
	source, _ := r.Header(route.HeaderSource)
	l.Reason = string(reason)
	if route.ValidSource(string(source)) {
		l.Source = string(source)
	}
	return l
}

// Walk passes all records of a topic within bounds to each, in order within a partition. A record
// is valid until each returns.
func Walk(ctx context.Context, kafka Kafka, topic string, bounds map[int]stream.Bounds, each func(*stream.Record) error) error {
	return walk(ctx, kafka, topic, bounds, each, func() error { return nil })
}

func walk(ctx context.Context, kafka Kafka, topic string, bounds map[int]stream.Bounds, each func(*stream.Record) error, done func() error) error {
	for _, p := range slices.Sorted(maps.Keys(bounds)) {
		if err := walkPartition(ctx, kafka, topic, p, bounds[p], each, done); err != nil {
			return err
		}
	}
	return nil
}

func walkPartition(ctx context.Context, kafka Kafka, topic string, partition int, b stream.Bounds, each func(*stream.Record) error, done func() error) error {
	fetcher := kafka.Fetcher(topic, partition)
	empty := 0 // fetches in a row
	for offset, end := b.First, b.End; offset < end; {
		got, err := stream.RetryTransient(ctx, func() (stream.Fetched, error) { return fetcher.Fetch(ctx, offset, stream.FetchOptions{}) })
		nothing := err == nil && len(got.Records) == 0 && got.Next == offset
		if errors.Is(err, stream.ErrOffsetOutOfRange) || nothing && got.HighWatermark < end {
			// Retention deleted the records, or an unclean election cut the log.
			now, failed := boundsNow(ctx, kafka, topic, partition, end)
			if failed != nil {
				return fmt.Errorf("read topic %q: %w", topic, failed)
			}
			if err != nil && now.First <= offset && now.End >= end {
				return fmt.Errorf("read topic %q: %w", topic, err)
			}
			offset, end = max(offset, now.First), min(end, now.End)
			continue
		}
		if err != nil {
			return fmt.Errorf("read topic %q: %w", topic, err)
		}
		for i := range got.Records {
			if got.Records[i].Offset >= end {
				break
			}
			if err := each(&got.Records[i]); err != nil {
				return err
			}
		}
		if err := done(); err != nil {
			return err
		}
		if empty++; !nothing {
			empty = 0
		}
		if empty == maxEmptyFetches {
			return nil // only records that were compacted away or aborted
		}
		offset = got.Next
	}
	return nil
}

// maxEmptyFetches is after how many empty answers in a row, half a second each, there is nothing more: a broker may have to
// get old records from slower storage first.
const maxEmptyFetches = 20

// electionTime is how long a new leader may take to know all that its predecessor had
// acknowledged. Before Kafka 2.2 it answers with less until then (KIP-207).
const electionTime = 3 * time.Second

// boundsNow returns what a partition holds. An end below the one that was known is asked for
// twice.
func boundsNow(ctx context.Context, kafka Kafka, topic string, partition int, end int64) (stream.Bounds, error) {
	now, err := boundsSince(ctx, kafka, topic, time.Time{})
	if err != nil || now[partition].End >= end {
		return now[partition], err
	}
	if err := sleep.For(ctx, electionTime); err != nil {
		return stream.Bounds{}, err
	}
	now, err = boundsSince(ctx, kafka, topic, time.Time{})
	return now[partition], err
}

// boundsSince is like kafka.BoundsSince, but waits for brokers.
func boundsSince(ctx context.Context, kafka Kafka, topic string, t time.Time) (map[int]stream.Bounds, error) {
	return stream.RetryTransient(ctx, func() (map[int]stream.Bounds, error) { return kafka.BoundsSince(ctx, topic, t) })
}

// position identifies a letter by its position in the topic.
type position struct {
	partition int
	offset    int64
}

// noteValue is the value of a note. It names partitions, since its own record may be in another
// partition than the letters if partitions were added.
type noteValue map[string][]int64

func readNote(value []byte, into map[position]bool) {
	var n noteValue
	if json.Unmarshal(value, &n) != nil {
		return // not ours
	}
	for p, offsets := range n {
		partition, err := strconv.Atoi(p)
		if err != nil {
			continue
		}
		for _, offset := range offsets {
			into[position{partition, offset}] = true
		}
	}
}

// newNote returns the note that letters of a partition were sent again. With the key of one of them it is in that
// partition, too, so Kafka does not delete it before the letters.
func newNote(letters []position, key []byte) stream.Record {
	n := noteValue{}
	for _, l := range letters {
		p := strconv.Itoa(l.partition)
		n[p] = append(n[p], l.offset)
	}
	value, _ := json.Marshal(n) // cannot fail for integers
	return stream.Record{Key: key, Value: value, Headers: []stream.Header{{Key: HeaderSent, Value: []byte("1")}}, Time: time.Now()}
}
