package e2e

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/workers/appender"
)

// namesTopics restricts requests to versions that name topics; newer ones use topic ids.
var namesTopics = kgo.MaxVersions(kversion.V3_0_0())

// offsetsSetByTools holds I6 on a broker: while no appender runs, an operator sets the group's
// offsets, as kafka-consumer-groups.sh --reset-offsets does, and nothing is lost, duplicated or
// halted.
func offsetsSetByTools(t *testing.T, p *pipeline) {
	dirs := []string{t.TempDir(), t.TempDir()}
	total := 0
	produce := func(n int) {
		p.produce(total, n, 40)
		total += n
	}
	for i, reset := range []struct {
		name string
		to   func(first, end int64) int64
	}{
		{"none", nil},
		{"to_earliest", func(first, _ int64) int64 { return first }},
		{"to_latest", func(_, end int64) int64 { return end }},
		{"somewhere", func(first, end int64) int64 { return first + (end-first)/3 }},
		{"beyond_the_end", func(_, end int64) int64 { return end + 1000 }},
	} {
		if reset.to != nil {
			p.resetOffsets(reset.to)
		}
		produce(1_000)
		// Alternately on its own disk and on another.
		w := p.start(appender.Config{DataDir: dirs[i/2%2]})
		p.waitFor("partitions assigned", func() bool { return len(w.Partitions()) == pipelinePartitions })
		p.sealAll(w)
		p.requireAllOnce(total)
		require.NoError(t, w.Ready(t.Context()), reset.name)
		read := w.RecordsForTesting()
		produce(500) // these stay in open files
		p.waitFor("records read", func() bool { return w.RecordsForTesting() >= read+500 })
		w.stop(t)
	}
}

// resetOffsets sends what Kafka's Admin.alterConsumerGroupOffsets sends: a commit without a member
// and without metadata. The group must have no members.
func (p *pipeline) resetOffsets(to func(first, end int64) int64) {
	p.t.Helper()
	bounds, err := p.client.Bounds(p.t.Context(), p.topic)
	require.NoError(p.t, err)
	client, err := kgo.NewClient(kgo.SeedBrokers(p.brokers...), namesTopics)
	require.NoError(p.t, err)
	defer client.Close()
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.Generation = p.topic, -1
	topic := kmsg.NewOffsetCommitRequestTopic()
	topic.Topic = p.topic
	for n, b := range bounds {
		part := kmsg.NewOffsetCommitRequestTopicPartition()
		part.Partition, part.Offset, part.Metadata = int32(n), to(b.First, b.End), kmsg.StringPtr("")
		topic.Partitions = append(topic.Partitions, part)
	}
	req.Topics = append(req.Topics, topic)
	p.waitFor("the group has no member", func() bool {
		res, err := req.RequestWith(p.t.Context(), client)
		require.NoError(p.t, err)
		return kerr.ErrorForCode(res.Topics[0].Partitions[0].ErrorCode) == nil
	})
}

// stagingThatIsNotTheLedgers holds the halts of A12 on a broker: a staging bucket that was rolled
// back, one of another fleet, and an empty one. When the right bucket is back, work continues, and
// nothing was lost or duplicated.
func stagingThatIsNotTheLedgers(t *testing.T, p *pipeline) {
	p.produce(0, 1_000, 40)
	first := p.start(appender.Config{DataDir: t.TempDir()})
	p.waitFor("partitions assigned", func() bool { return len(first.Partitions()) == pipelinePartitions })
	p.sealAll(first)
	first.stop(t)
	right := p.staging

	halts := func(staging *objstore.Memory, says string) {
		t.Helper()
		p.staging = staging
		writes := len(staging.Puts(""))
		w := p.start(appender.Config{DataDir: t.TempDir()})
		p.waitFor("partitions halted: "+says, func() bool {
			err := w.Ready(t.Context())
			return err != nil && strings.Contains(err.Error(), "partition halted") && strings.Contains(err.Error(), says)
		})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		require.Error(t, w.SealAll(ctx))
		w.stop(t)
		require.Len(t, staging.Puts(""), writes, "a halted partition wrote entries")
	}
	halts(objstore.NewMemory("empty"), "there is no ledger")

	halts(p.rolledBack(right), "the staging bucket was rolled back")

	// Another fleet's ledger of the same topic, as long as ours or longer.
	p.staging = objstore.NewMemory("others")
	p.forgetOffsets()
	w := p.start(appender.Config{DataDir: t.TempDir()})
	p.waitFor("partitions assigned", func() bool { return len(w.Partitions()) == pipelinePartitions })
	p.sealAll(w)
	w.stop(t)
	halts(right, "or is not the one that this group wrote to")

	// The operator restores the right bucket, and deletes the offsets.
	p.forgetOffsets()
	p.staging = right
	p.produce(1_000, 500, 40)
	w = p.start(appender.Config{DataDir: t.TempDir()})
	p.waitFor("partitions assigned", func() bool { return len(w.Partitions()) == pipelinePartitions })
	p.sealAll(w)
	p.requireAllOnce(1_500)
}

// rolledBack returns a staging bucket as it was before the newest entry of each partition.
func (p *pipeline) rolledBack(staging *objstore.Memory) *objstore.Memory {
	p.t.Helper()
	ctx, older := p.t.Context(), objstore.NewMemory("rolled-back")
	logs, err := ledger.Logs(ctx, staging, p.topic, "1")
	require.NoError(p.t, err)
	newest := map[string]bool{}
	for _, l := range logs {
		seq, err := ledger.NewChain(staging, l).HeadSeq(ctx)
		require.NoError(p.t, err)
		newest[ledger.EntryKey(l, seq)] = true
	}
	for info, err := range objstore.All(ctx, staging, "") {
		require.NoError(p.t, err)
		if newest[info.Key] {
			continue
		}
		r, _, err := staging.Get(ctx, info.Key)
		require.NoError(p.t, err)
		b, err := io.ReadAll(r)
		require.NoError(p.t, err)
		_, err = older.Put(ctx, info.Key, bytes.NewReader(b), objstore.PutOptions{})
		require.NoError(p.t, err)
	}
	return older
}

// forgetOffsets is kafka-consumer-groups.sh --delete-offsets.
func (p *pipeline) forgetOffsets() {
	p.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(p.brokers...), namesTopics)
	require.NoError(p.t, err)
	defer client.Close()
	req := kmsg.NewPtrOffsetDeleteRequest()
	req.Group = p.topic
	topic := kmsg.NewOffsetDeleteRequestTopic()
	topic.Topic = p.topic
	for n := range pipelinePartitions {
		part := kmsg.NewOffsetDeleteRequestTopicPartition()
		part.Partition = int32(n)
		topic.Partitions = append(topic.Partitions, part)
	}
	req.Topics = append(req.Topics, topic)
	p.waitFor("the group has no member", func() bool {
		res, err := req.RequestWith(p.t.Context(), client)
		require.NoError(p.t, err)
		return res.ErrorCode == 0 && kerr.ErrorForCode(res.Topics[0].Partitions[0].ErrorCode) == nil
	})
}

// morePartitions adds partitions while two appenders read, and one while none does. Their records
// are read from the first one on, whatever became of the watch for new partitions.
func morePartitions(t *testing.T, p *pipeline) {
	one, two := p.start(appender.Config{DataDir: t.TempDir()}), p.start(appender.Config{DataDir: t.TempDir()})
	p.waitFor("partitions shared", func() bool { return len(one.Partitions()) == 3 && len(two.Partitions()) == 3 })
	p.produce(0, 1_000, 40)
	p.addPartitions(pipelinePartitions + 4)
	p.produce(1_000, 1_000, 40) // before any appender can have noticed
	p.waitFor("new partitions shared", func() bool { return len(one.Partitions()) == 5 && len(two.Partitions()) == 5 })
	p.waitFor("all partitions owned", func() bool { // otherwise the group rebalances once more
		unowned, err := p.client.Unowned(t.Context(), p.topic, p.topic)
		return err == nil && len(unowned) == 0
	})
	p.sealAll(one)
	p.sealAll(two)
	p.requireAllOnce(2_000)

	one.stop(t)
	two.stop(t)
	p.addPartitions(pipelinePartitions + 6)
	p.produce(2_000, 1_000, 40)
	w := p.start(appender.Config{DataDir: t.TempDir()})
	p.waitFor("all partitions", func() bool { return len(w.Partitions()) == pipelinePartitions+6 })
	p.sealAll(w)
	p.requireAllOnce(3_000)
}

// addPartitions is kafka-topics.sh --alter --partitions.
func (p *pipeline) addPartitions(total int32) {
	p.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(p.brokers...), namesTopics)
	require.NoError(p.t, err)
	defer client.Close()
	req := kmsg.NewPtrCreatePartitionsRequest()
	req.TimeoutMillis = 10_000
	topic := kmsg.NewCreatePartitionsRequestTopic()
	topic.Topic, topic.Count = p.topic, total
	req.Topics = append(req.Topics, topic)
	res, err := req.RequestWith(p.t.Context(), client)
	require.NoError(p.t, err)
	require.NoError(p.t, kerr.ErrorForCode(res.Topics[0].ErrorCode))
	// A producer that does not know the new partitions yet would not write to them.
	p.waitFor("new partitions known to the client", func() bool {
		bounds, err := p.client.Bounds(p.t.Context(), p.topic)
		return err == nil && len(bounds) == int(total)
	})
}
