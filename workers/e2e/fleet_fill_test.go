package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/sample"
	"github.com/sealift/sealift/pkg/send"
	"github.com/sealift/sealift/pkg/stream"
)

// dataset is a topic full of events, kept for runs that need the same one.
type dataset struct {
	Topic      string `json:"topic"`
	Events     int64  `json:"events"`
	Bytes      int64  `json:"bytes"` // of the lines, newlines included
	KafkaBytes int64  `json:"kafka_bytes"`
}

// newDataset uses the dataset that the note in dir describes, or fills a topic with the sample's
// events as the collector would write them, received in the hours before yesterday. The first
// events are one of every source in every hour; the others are skewed as the sample's are.
func newDataset(b testing.TB, dir string, client *stream.Client, s fleetSize) dataset {
	b.Helper()
	d := dataset{Topic: fmt.Sprintf("bench-%d-%d-%d-%d", s.events, s.sources, s.hours, s.partitions), Events: int64(s.events)}
	note := filepath.Join(dir, d.Topic+".json")
	if text, err := os.ReadFile(note); err == nil {
		require.NoError(b, json.Unmarshal(text, &d))
		return d
	}
	begin := time.Now().UTC().Truncate(24 * time.Hour).Add(-48 * time.Hour)
	fillTopic(b, client, d.Topic, s.partitions, s.events, func(yield func(stream.Record) bool) {
		d.Bytes = 0
		for hour := range s.hours {
			n := s.events*(hour+1)/s.hours - s.events*hour/s.hours
			g := sample.New(sample.Config{Seed: uint64(hour), Sources: s.sources})
			for i := range n {
				e := g.Next()
				received := begin.Add(time.Duration(hour)*time.Hour + time.Duration(i)*time.Hour/time.Duration(n)).UnixMilli()
				r := record(sourceID(e.Source), strconv.FormatInt(received, 10), string(e.Body))
				r.Headers = append(r.Headers, stream.Header{Key: "sealift-line", Value: []byte("1")}, stream.Header{Key: "sealift-message", Value: []byte(e.MessageID)})
				d.Bytes += int64(len(r.Value)) + 1
				if !yield(r) {
					return
				}
			}
		}
	})
	d.KafkaBytes = topicBytes(b, dir, d.Topic)
	text, err := json.Marshal(d)
	require.NoError(b, err)
	require.NoError(b, os.WriteFile(note, text, 0o600))
	return d
}

// fillTopic generates n records, and writes them to a topic unless it already has as many.
func fillTopic(b testing.TB, client *stream.Client, topic string, partitions, n int, records iter.Seq[stream.Record]) {
	b.Helper()
	require.NoError(b, client.EnsureTopics(b.Context(), true, stream.Topic{Name: topic, Partitions: partitions}))
	bounds, err := client.Bounds(b.Context(), topic)
	require.NoError(b, err)
	var held int64
	for _, p := range bounds {
		held += p.End - p.First
	}
	require.Contains(b, []int64{0, int64(n)}, held, "topic %s is only partly filled: use another stack, or other numbers", topic)
	producer := client.NewProducer(stream.ProducerConfig{Topic: topic, Compression: "lz4", KeepTime: true})
	defer producer.Close(b.Context())
	var batch []stream.Record
	flush := func() {
		if held == 0 {
			require.NoError(b, producer.Produce(b.Context(), batch...))
		}
		batch = batch[:0]
	}
	for r := range records {
		if batch = append(batch, r); len(batch) == 5_000 {
			flush()
		}
	}
	flush()
}

// sendDataset sends events to a collector as SDKs do, and returns the bytes of their calls.
func sendDataset(b testing.TB, to string, events, sources int) (bytes int64) {
	b.Helper()
	s := send.New(b.Context(), send.Config{
		URL: "http://" + to, Gzip: true, Log: slog.New(slog.DiscardHandler), OnAcked: func([]send.Event) {},
		OnRefused: func(_ send.Event, reason string) { b.Error("refused: " + reason) },
	})
	for e := range sample.New(sample.Config{Seed: 1, Sources: sources}).Take(events) {
		bytes += int64(len(e.Body)) + 1
		require.NoError(b, s.Send(send.Event{WriteKey: writeKey(sourceID(e.Source)), MessageID: e.MessageID, Body: e.Body}))
	}
	require.NoError(b, s.Close())
	return bytes
}

// topicBytes returns what a topic takes on the disk of one broker of a stack; 0 if there is none.
func topicBytes(b testing.TB, stack, topic string) (sum int64) {
	b.Helper()
	dirs, err := filepath.Glob(filepath.Join(stack, "kafka-1", topic+"-*"))
	require.NoError(b, err)
	for _, dir := range dirs {
		if _, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(dir), topic+"-")); err == nil {
			logs, err := filepath.Glob(filepath.Join(dir, "*.log"))
			require.NoError(b, err)
			for _, log := range logs {
				info, err := os.Stat(log)
				require.NoError(b, err)
				sum += info.Size()
			}
		}
	}
	return sum
}

// diskUse records the peak size of everything below dir until ctx ends.
func diskUse(ctx context.Context, dir string) (most func() int64) {
	done, peak := make(chan struct{}), int64(0)
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			sum := int64(0)
			_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
				if err == nil && d.Type().IsRegular() {
					if info, err := d.Info(); err == nil {
						sum += info.Size()
					}
				}
				return nil
			})
			peak = max(peak, sum)
			select {
			case <-ctx.Done():
			case <-time.After(200 * time.Millisecond):
			}
		}
	}()
	return func() int64 { <-done; return peak }
}
