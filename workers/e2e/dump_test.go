package e2e

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// dumped is one record of the events topic.
type dumped struct {
	partition int32
	offset    int64
	at        time.Time // when the broker accepted it
	source    string
	received  int64 // unix ms
	line      []byte
}

// dump reads a whole topic, with a Kafka client other than the product's, and returns the number of
// its records. each must not keep the line.
func dump(ctx context.Context, t *testing.T, brokers, topic string, each func(dumped)) (n int64) {
	t.Helper()
	ends := topicEnds(ctx, t, brokers, topic)
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(brokers, ",")...), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxPartitionBytes(4<<20))
	require.NoError(t, err)
	defer client.Close()
	left := 0
	for _, end := range ends {
		if end > 0 {
			left++
		}
	}
	for left > 0 {
		fetches := client.PollFetches(ctx)
		require.NoError(t, fetches.Err(), "dump topic %s", topic)
		fetches.EachRecord(func(r *kgo.Record) {
			d := dumped{partition: r.Partition, offset: r.Offset, at: r.Timestamp, line: r.Value}
			for _, h := range r.Headers {
				switch h.Key {
				case "sealift-source":
					d.source = string(h.Value)
				case "sealift-received":
					d.received, err = strconv.ParseInt(string(h.Value), 10, 64)
					require.NoError(t, err)
				}
			}
			each(d)
			n++
			if r.Offset == ends[r.Partition]-1 {
				left--
			}
		})
	}
	return n
}

// topicEnds returns the offset after the last record of every partition.
func topicEnds(ctx context.Context, t *testing.T, brokers, topic string) map[int32]int64 {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(brokers, ",")...))
	require.NoError(t, err)
	defer client.Close()
	rt := kmsg.NewListOffsetsRequestTopic()
	rt.Topic = topic
	for p := range partitions(ctx, t, client, topic) {
		rp := kmsg.NewListOffsetsRequestTopicPartition()
		rp.Partition, rp.Timestamp = p, -1 // the end
		rt.Partitions = append(rt.Partitions, rp)
	}
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(ctx, client)
	require.NoError(t, err)
	ends := map[int32]int64{}
	for _, topic := range resp.Topics {
		for _, p := range topic.Partitions {
			require.Zero(t, p.ErrorCode, "end of partition %d", p.Partition)
			ends[p.Partition] = p.Offset
		}
	}
	return ends
}

// partitions returns the partitions of a topic, with the numbers of their in-sync replicas.
func partitions(ctx context.Context, t *testing.T, client *kgo.Client, topic string) map[int32]int {
	t.Helper()
	req := kmsg.NewPtrMetadataRequest()
	rt := kmsg.NewMetadataRequestTopic()
	rt.Topic = &topic
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(ctx, client)
	require.NoError(t, err)
	inSync := map[int32]int{}
	for _, topic := range resp.Topics {
		for _, p := range topic.Partitions {
			inSync[p.Partition] = len(p.ISR)
		}
	}
	return inSync
}
