package stream_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sealift/sealift/pkg/stream"
)

// TestFollowIsNotCaughtUpByAnEmptyResponse: a broker that was just elected may not know the log's
// end yet. If its empty answer counted as the end, an incomplete catalog would leave files owed to
// nobody.
func TestFollowIsNotCaughtUpByAnEmptyResponse(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "catalog"))
	require.NoError(t, err)
	defer cluster.Close()
	c, err := stream.Open(stream.Config{Brokers: cluster.ListenAddrs()}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer c.Close()
	p := c.NewProducer(stream.ProducerConfig{Topic: "catalog"})
	const n = 50
	for i := range n {
		require.NoError(t, p.Produce(t.Context(), stream.Record{Key: []byte("k"), Value: fmt.Appendf(nil, "%d", i)}))
	}
	require.NoError(t, p.Close(t.Context()))

	var answers atomic.Int64
	cluster.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		if answers.Add(1) > 3 {
			return nil, nil, false
		}
		fetch := req.(*kmsg.FetchRequest)
		res := fetch.ResponseKind().(*kmsg.FetchResponse)
		topic := kmsg.NewFetchResponseTopic()
		topic.Topic, topic.TopicID = fetch.Topics[0].Topic, fetch.Topics[0].TopicID
		partition := kmsg.NewFetchResponseTopicPartition()
		partition.HighWatermark = 20 // it was 50
		partition.RecordBatches = []byte{}
		topic.Partitions = append(topic.Partitions, partition)
		res.Topics = append(res.Topics, topic)
		return res, nil, true
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	seen, whole := 0, -1
	err = c.Follow(ctx, "catalog", func(r []stream.Record) error { seen += len(r); return nil }, func() { whole = seen; cancel() })
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, n, whole)
}

// TestFetchWaitsOutAQuota: a broker sends no data to a client that it throttles.
func TestFetchWaitsOutAQuota(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "events"))
	require.NoError(t, err)
	defer cluster.Close()
	c, err := stream.Open(stream.Config{Brokers: cluster.ListenAddrs()}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer c.Close()
	p := c.NewProducer(stream.ProducerConfig{Topic: "events"})
	require.NoError(t, p.Produce(t.Context(), stream.Record{Value: []byte("v")}))
	require.NoError(t, p.Close(t.Context()))
	var answers atomic.Int64
	cluster.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		if answers.Add(1) > 2 {
			return nil, nil, false
		}
		res := req.(*kmsg.FetchRequest).ResponseKind().(*kmsg.FetchResponse)
		res.ThrottleMillis = 50
		return res, nil, true
	})
	got, err := c.NewFetcher("events", 0).Fetch(t.Context(), 0, stream.FetchOptions{})
	require.NoError(t, err)
	require.Len(t, got.Records, 1)
	require.EqualValues(t, 3, answers.Load())
	answers.Store(-1_000)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err = c.NewFetcher("events", 0).Fetch(ctx, 0, stream.FetchOptions{})
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// TestBoundsWithoutALeader: the bounds of the other partitions are still returned.
func TestBoundsWithoutALeader(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, "events"))
	require.NoError(t, err)
	defer cluster.Close()
	c, err := stream.Open(stream.Config{Brokers: cluster.ListenAddrs()}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer c.Close()
	cluster.ControlKey(int16(kmsg.ListOffsets), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		list := req.(*kmsg.ListOffsetsRequest)
		res := list.ResponseKind().(*kmsg.ListOffsetsResponse)
		for _, t := range list.Topics {
			topic := kmsg.NewListOffsetsResponseTopic()
			topic.Topic = t.Topic
			for _, p := range t.Partitions {
				partition := kmsg.NewListOffsetsResponseTopicPartition()
				partition.Partition, partition.Offset = p.Partition, 5
				if p.Partition == 1 {
					partition.ErrorCode = 78 // OFFSET_NOT_AVAILABLE: just elected
				}
				topic.Partitions = append(topic.Partitions, partition)
			}
			res.Topics = append(res.Topics, topic)
		}
		return res, nil, true
	})
	bounds, err := c.Bounds(t.Context(), "events")
	require.ErrorContains(t, err, "partition 1")
	require.Len(t, bounds, 2)
	require.Equal(t, int64(5), bounds[2].End)
	require.NotContains(t, bounds, 1)
}

// TestFollowLogsADamagedBatch: waiting helps only in the second case.
func TestFollowLogsADamagedBatch(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "catalog"))
	require.NoError(t, err)
	defer cluster.Close()
	cluster.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		fetch := req.(*kmsg.FetchRequest)
		res := fetch.ResponseKind().(*kmsg.FetchResponse)
		topic := kmsg.NewFetchResponseTopic()
		topic.Topic, topic.TopicID = fetch.Topics[0].Topic, fetch.Topics[0].TopicID
		partition := kmsg.NewFetchResponseTopicPartition()
		partition.HighWatermark = 1
		partition.RecordBatches = make([]byte, 100)
		partition.RecordBatches[11] = 88 // size of the rest; the checksum is wrong
		topic.Partitions = append(topic.Partitions, partition)
		res.Topics = append(res.Topics, topic)
		return res, nil, true
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	logs := &cancelOnWrite{done: cancel}
	c, err := stream.Open(stream.Config{Brokers: cluster.ListenAddrs()}, slog.New(slog.NewTextHandler(logs, nil)))
	require.NoError(t, err)
	defer c.Close()
	err = c.Follow(ctx, "catalog", func([]stream.Record) error { return nil }, func() {})
	require.ErrorIs(t, err, context.Canceled)
	require.Contains(t, logs.String(), `level=ERROR msg="the topic cannot be read, retrying"`)
	require.Contains(t, logs.String(), stream.ErrBatch.Error())
	require.NotContains(t, logs.String(), "away")
}

// cancelOnWrite is a log that calls done at the first write.
type cancelOnWrite struct {
	bytes.Buffer
	done func()
}

func (u *cancelOnWrite) Write(b []byte) (int, error) {
	defer u.done()
	return u.Buffer.Write(b)
}
