package stream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sealift/sealift/pkg/stream"
)

// suite tests what every broker that Sealift works with must do. Topics have names of their own in
// each run, so that it can be repeated on a broker that keeps its data.
func suite(t *testing.T, broker string) {
	tag := fmt.Sprintf("%x", time.Now().UnixNano())
	for name, test := range map[string]func(*testing.T, *stream.Client, string){
		"topics":             testTopics,
		"records":            testRecords,
		"compression":        testCompression,
		"offsets":            testOffsets,
		"bounds_since":       testBoundsSince,
		"times":              testTimes,
		"retention":          func(t *testing.T, c *stream.Client, topic string) { testRetention(t, c, broker, topic) },
		"too_large":          testTooLarge,
		"group":              testGroup,
		"keep_on_close":      testKeepOnClose,
		"restart":            testRestart,
		"stale_commit":       testStaleCommit,
		"more_partitions":    func(t *testing.T, c *stream.Client, topic string) { testMorePartitions(t, c, broker, topic) },
		"topic_missing":      func(t *testing.T, _ *stream.Client, topic string) { testTopicMissing(t, broker, topic) },
		"topic_just_created": func(t *testing.T, _ *stream.Client, topic string) { testTopicJustCreated(t, broker, topic) },
		"follow":             testFollow,
		"partitions_by_key":  testPartitionsByKey,
	} {
		t.Run(name, func(t *testing.T) {
			client, err := stream.Open(stream.Config{Brokers: []string{broker}}, slog.New(slog.DiscardHandler))
			require.NoError(t, err)
			defer client.Close()
			test(t, client, "test-"+name+"-"+tag)
		})
	}
}

// testBoundsSince: an offset is found by the time of its record.
func testBoundsSince(t *testing.T, c *stream.Client, topic string) {
	makeTopic(t, c, topic, 2)
	at := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
	key := []byte("k") // all in one partition
	for i := range 5 {
		produce(t, c, topic, stream.Record{Key: key, Value: []byte("x"), Time: at.Add(time.Duration(i) * time.Minute)})
	}
	for since, want := range map[time.Time]int64{
		{}: 0, at.Add(-time.Hour): 0, at: 0, at.Add(time.Millisecond): 1, at.Add(3 * time.Minute): 3, at.Add(time.Hour): 5,
	} {
		bounds, err := c.BoundsSince(t.Context(), topic, since)
		require.NoError(t, err)
		require.Len(t, bounds, 2)
		first, end := int64(0), int64(0)
		for _, b := range bounds {
			require.LessOrEqual(t, b.First, b.End)
			first, end = first+b.First, end+b.End
		}
		require.EqualValues(t, 5, end)
		require.Equal(t, want, first, since)
	}
	_, err := c.BoundsSince(t.Context(), topic+"-none", at)
	require.ErrorIs(t, err, stream.ErrNoTopic)
}

// testRetention: Retention returns for how long a record is kept by its own time.
func testRetention(t *testing.T, c *stream.Client, broker, topic string) {
	for name, want := range map[string]struct {
		ms, kind string
		keeps    time.Duration
	}{
		"hours": {"7200000", "CreateTime", 2 * time.Hour},
		"ever":  {"-1", "CreateTime", 0},
		"most":  {"9223372036854775807", "CreateTime", time.Duration(math.MaxInt64 / 1_000_000 * 1_000_000)},
		"other": {"7200000", "LogAppendTime", 0},
	} {
		topic := topic + "-" + name
		configuredTopic(t, broker, topic, map[string]string{"retention.ms": want.ms, "message.timestamp.type": want.kind})
		got, err := describeTopic(t, func() (time.Duration, error) { return c.Retention(t.Context(), topic) })
		require.NoError(t, err, name)
		require.Equal(t, want.keeps, got, name)
	}
	_, err := c.Retention(t.Context(), topic+"-none")
	require.ErrorIs(t, err, stream.ErrNoTopic)
}

// describeTopic returns the description of a topic that was just created, once any of the brokers
// may be asked for it.
func describeTopic[T any](t *testing.T, ask func() (T, error)) (got T, err error) {
	t.Helper()
	require.Eventually(t, func() bool {
		got, err = ask()
		return !errors.Is(err, stream.ErrNoTopic)
	}, 30*time.Second, 20*time.Millisecond)
	return got, err
}

// configuredTopic does what kafka-topics.sh --create --config does.
func configuredTopic(t *testing.T, broker, topic string, config map[string]string) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(broker))
	require.NoError(t, err)
	defer client.Close()
	req := kmsg.NewPtrCreateTopicsRequest()
	rt := kmsg.NewCreateTopicsRequestTopic()
	rt.Topic, rt.NumPartitions, rt.ReplicationFactor = topic, 1, 1
	for name, value := range config {
		entry := kmsg.NewCreateTopicsRequestTopicConfig()
		entry.Name, entry.Value = name, &value
		rt.Configs = append(rt.Configs, entry)
	}
	req.Topics = append(req.Topics, rt)
	res, err := req.RequestWith(t.Context(), client)
	require.NoError(t, err)
	for _, answer := range res.Topics {
		require.NoError(t, kerr.ErrorForCode(answer.ErrorCode))
	}
}

func makeTopic(t *testing.T, c *stream.Client, name string, partitions int) {
	t.Helper()
	require.NoError(t, c.EnsureTopics(t.Context(), true, stream.Topic{Name: name, Partitions: partitions}))
}

func produce(t *testing.T, c *stream.Client, topic string, records ...stream.Record) {
	t.Helper()
	p := c.NewProducer(stream.ProducerConfig{Topic: topic, KeepTime: true})
	defer p.Close(t.Context())
	require.NoError(t, p.Produce(t.Context(), records...))
}

// testTimes: without KeepTime, retention treats a record of last month like its neighbours, and no
// broker refuses one of next month.
func testTimes(t *testing.T, c *stream.Client, topic string) {
	makeTopic(t, c, topic, 1)
	before := time.Now().Truncate(time.Millisecond)
	past, future := before.AddDate(0, -1, 0), before.AddDate(0, 1, 0)
	for _, keep := range []bool{false, true} {
		p := c.NewProducer(stream.ProducerConfig{Topic: topic, KeepTime: keep})
		for _, at := range []time.Time{past, future, {}} {
			require.NoError(t, p.Produce(t.Context(), stream.Record{Value: []byte("x"), Time: at}))
		}
		require.NoError(t, p.Close(t.Context()))
	}
	for offset := range int64(6) {
		got, err := c.NewFetcher(topic, 0).Fetch(t.Context(), offset, stream.FetchOptions{})
		require.NoError(t, err)
		if at := got.Records[0].Time; offset == 3 {
			require.Equal(t, past, at)
		} else {
			require.WithinRange(t, at, before, time.Now(), offset)
		}
	}
}

func values(from, to int) (records []stream.Record) {
	for i := from; i < to; i++ {
		records = append(records, stream.Record{Value: fmt.Appendf(nil, "value-%d", i)})
	}
	return records
}

func testTopics(t *testing.T, c *stream.Client, topic string) {
	ctx := t.Context()
	_, err := c.Partitions(ctx, topic)
	require.ErrorIs(t, err, stream.ErrNoTopic)
	err = c.EnsureTopics(ctx, false, stream.Topic{Name: topic, Partitions: 3})
	require.ErrorIs(t, err, stream.ErrNoTopic)
	require.ErrorContains(t, err, "--create --topic "+topic+" --partitions 3 (or")
	kept := stream.Topic{Name: topic + "-kept", Partitions: 1, Replication: 1, Compacted: true, MaxRecordBytes: 2 << 20}
	err = c.EnsureTopics(ctx, false, kept)
	require.ErrorContains(t, err, "--create --topic "+kept.Name+" --partitions 1 --replication-factor 1 --config cleanup.policy=compact --config max.message.bytes=2097152 (or")
	tooMany := kept
	tooMany.Replication = 4
	require.ErrorContains(t, c.EnsureTopics(ctx, true, tooMany), "set kafka.replication to at most the number of brokers")
	require.NoError(t, c.EnsureTopics(ctx, true, kept))
	require.NoError(t, c.EnsureTopics(ctx, false, kept))
	makeTopic(t, c, topic, 3)
	require.Eventually(t, func() bool { // not every broker knows the topic yet
		err = c.EnsureTopics(ctx, true, stream.Topic{Name: topic, Partitions: 3, Compacted: true})
		return err != nil
	}, 30*time.Second, 20*time.Millisecond)
	require.ErrorIs(t, err, stream.ErrCleanupPolicy, "a topic that must be compacted deletes records")
	require.ErrorContains(t, err, "--alter --entity-type topics --entity-name "+topic)
	require.Eventually(t, func() bool {
		err = c.EnsureTopics(ctx, true, stream.Topic{Name: kept.Name, Partitions: 1})
		return err != nil
	}, 30*time.Second, 20*time.Millisecond)
	require.ErrorIs(t, err, stream.ErrCleanupPolicy, "a topic whose records have to stay is compacted")
	require.ErrorContains(t, err, "--entity-name "+kept.Name+" --add-config cleanup.policy=delete")
	makeTopic(t, c, topic, 5) // existing topics are not changed
	n, err := c.Partitions(ctx, topic)
	require.NoError(t, err)
	require.Equal(t, 3, n)
	id, err := c.ClusterID(ctx)
	require.NoError(t, err)
	require.NotEmpty(t, id)
}

func testRecords(t *testing.T, c *stream.Client, topic string) {
	makeTopic(t, c, topic, 1)
	at := time.UnixMilli(1_700_000_000_123)
	sent := stream.Record{
		Key: []byte("key"), Value: []byte("{\"a\":\"\u2028\"}"), Time: at,
		Headers: []stream.Header{{Key: "h", Value: []byte("1")}, {Key: "h", Value: []byte("2")}, {Key: "empty"}},
	}
	produce(t, c, topic, sent, stream.Record{Value: []byte("no key")})
	got, err := c.NewFetcher(topic, 0).Fetch(t.Context(), 0, stream.FetchOptions{})
	require.NoError(t, err)
	require.Len(t, got.Records, 2)
	r := got.Records[0]
	require.Equal(t, sent.Value, r.Value)
	require.Equal(t, sent.Key, r.Key)
	require.Equal(t, at.UnixMilli(), r.Time.UnixMilli())
	require.EqualValues(t, 0, r.Offset)
	last, ok := r.Header("h")
	require.True(t, ok)
	require.Equal(t, "2", string(last))
	_, ok = r.Header("none")
	require.False(t, ok)
	require.Empty(t, got.Records[1].Key)
	require.EqualValues(t, 2, got.Next)
	require.EqualValues(t, 2, got.HighWatermark)
}

func testCompression(t *testing.T, c *stream.Client, topic string) {
	makeTopic(t, c, topic, 1)
	value := bytes.Repeat([]byte("abcdefghij"), 1_000)
	offset := int64(0)
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		p := c.NewProducer(stream.ProducerConfig{Topic: topic, Compression: codec})
		require.NoError(t, p.Produce(t.Context(), stream.Record{Value: value}, stream.Record{Value: value}), codec)
		require.NoError(t, p.Close(t.Context()))
		got, err := c.NewFetcher(topic, 0).Fetch(t.Context(), offset, stream.FetchOptions{})
		require.NoError(t, err, codec)
		require.Len(t, got.Records, 2, codec)
		require.Equal(t, value, got.Records[1].Value, codec)
		offset = got.Next
	}
}

func testOffsets(t *testing.T, c *stream.Client, topic string) {
	makeTopic(t, c, topic, 1)
	ctx := t.Context()
	f := c.NewFetcher(topic, 0)
	got, err := f.Fetch(ctx, 0, stream.FetchOptions{MaxWait: 50 * time.Millisecond})
	require.NoError(t, err)
	require.Empty(t, got.Records, "records of an empty log")
	require.EqualValues(t, 0, got.Next)

	produce(t, c, topic, values(0, 100)...) // one batch
	got, err = f.Fetch(ctx, 42, stream.FetchOptions{})
	require.NoError(t, err)
	require.EqualValues(t, 42, got.Records[0].Offset, "records below the requested offset were returned")
	require.Len(t, got.Records, 58)
	require.Equal(t, "value-99", string(got.Records[57].Value))

	_, err = f.Fetch(ctx, 101, stream.FetchOptions{})
	require.ErrorIs(t, err, stream.ErrOffsetOutOfRange)
	bounds, err := c.Bounds(ctx, topic)
	require.NoError(t, err)
	require.Equal(t, map[int]stream.Bounds{0: {First: 0, End: 100}}, bounds)
	bounds, err = c.Bounds(ctx, topic, 0, 1)
	require.NoError(t, err)
	require.Equal(t, map[int]stream.Bounds{0: {First: 0, End: 100}}, bounds)
	_, err = stream.BoundsOf(ctx, c, topic, 1)
	require.ErrorContains(t, err, "has no partition 1")
}

func testTooLarge(t *testing.T, c *stream.Client, topic string) {
	makeTopic(t, c, topic, 1)
	p := c.NewProducer(stream.ProducerConfig{Topic: topic})
	defer p.Close(t.Context())
	err := p.Produce(t.Context(), stream.Record{Value: make([]byte, 1_000_001)})
	require.ErrorIs(t, err, stream.ErrRecordTooLarge)
	require.NoError(t, p.Produce(t.Context(), stream.Record{Value: []byte("small")}), "a record after one that was too large")

	takes, err := describeTopic(t, func() (int, error) { return c.MaxRecordBytes(t.Context(), topic) })
	require.NoError(t, err)
	require.InDelta(t, 1<<20, takes, 100, "the brokers' default")
	large := stream.Topic{Name: topic + "-large", Partitions: 1, MaxRecordBytes: 2 << 20}
	require.NoError(t, c.EnsureTopics(t.Context(), true, large))
	takes, err = describeTopic(t, func() (int, error) { return c.MaxRecordBytes(t.Context(), large.Name) })
	require.NoError(t, err)
	require.Equal(t, 2<<20, takes)
	_, err = c.MaxRecordBytes(t.Context(), topic+"-none")
	require.ErrorIs(t, err, stream.ErrNoTopic)
	require.ErrorContains(t, err, topic+"-none")
}

func testPartitionsByKey(t *testing.T, c *stream.Client, topic string) {
	makeTopic(t, c, topic, 4)
	for i := range 20 {
		key := fmt.Appendf(nil, "source%d", i%10)
		produce(t, c, topic, stream.Record{Key: key, Value: key})
	}
	home := map[string]int{}
	for p := range 4 {
		got, err := c.NewFetcher(topic, p).Fetch(t.Context(), 0, stream.FetchOptions{MaxWait: 50 * time.Millisecond})
		require.NoError(t, err)
		for _, r := range got.Records {
			if was, ok := home[string(r.Key)]; ok {
				require.Equal(t, was, p, "records of one key are in two partitions")
			}
			home[string(r.Key)] = p
		}
	}
	require.Len(t, home, 10)
}

func testFollow(t *testing.T, c *stream.Client, topic string) {
	require.NoError(t, c.EnsureTopics(t.Context(), true, stream.Topic{Name: topic, Partitions: 1, Compacted: true}))
	keyed := func(from, to int) (records []stream.Record) {
		for i := from; i < to; i++ {
			records = append(records, stream.Record{Key: fmt.Appendf(nil, "k%d", i), Value: []byte("v")})
		}
		return records
	}
	produce(t, c, topic, keyed(0, 10)...)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	caughtUp, done := make(chan int, 1), make(chan error, 1)
	seen := make(chan string, 100)
	go func() {
		done <- c.Follow(ctx, topic, func(records []stream.Record) error {
			for _, r := range records {
				seen <- string(r.Key)
			}
			return nil
		}, func() { caughtUp <- len(seen) })
	}()
	require.Equal(t, 10, <-caughtUp)
	produce(t, c, topic, keyed(10, 12)...)
	var keys []string
	for range 12 {
		keys = append(keys, <-seen)
	}
	require.Equal(t, "k0 k1 k2 k3 k4 k5 k6 k7 k8 k9 k10 k11", strings.Join(keys, " "))
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
}
