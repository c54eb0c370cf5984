package e2e

import (
	"context"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// dumped is one record of the events topic.
type dumped struct {
	source   string
	received int64
	line     []byte
}

// dump reads a whole topic, with another Kafka client than the product's, and
// returns how many records it holds. each must not keep the line.
func dump(ctx context.Context, t *testing.T, broker, topic string, each func(dumped)) (n int64) {
	t.Helper()
	ends := topicEnds(ctx, t, broker, topic)
	client, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.ConsumeTopics(topic),
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
			d := dumped{line: r.Value}
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
func topicEnds(ctx context.Context, t *testing.T, broker, topic string) map[int32]int64 {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(broker))
	require.NoError(t, err)
	defer client.Close()
	rt := kmsg.NewListOffsetsRequestTopic()
	rt.Topic = topic
	for p := range int32(systemPartitions) {
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
