package stream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"

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

func testGroup(t *testing.T, c *stream.Client, topic string) {
	makeTopic(t, c, topic, 4)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	join := func(worker string) *stream.Group {
		g, err := c.Join(stream.GroupConfig{ID: topic, Topics: []string{topic}, Worker: worker, SessionTimeout: 6 * time.Second})
		require.NoError(t, err)
		return g
	}
	a := join("a")
	gen, err := a.Next(ctx)
	require.NoError(t, err)
	require.Len(t, gen.Assignments[topic], 4)
	require.EqualValues(t, -1, gen.Assignments[topic][0].Committed)
	require.NoError(t, gen.Commit(ctx, topic, map[int]stream.Mark{0: {Committed: 7, Note: "a note"}, 1: {Committed: 8}, 2: {Committed: 9}, 3: {Committed: 10}}))

	b := join("b")
	<-gen.Done()
	var both [2]*stream.Generation
	var errs [2]error
	var wg sync.WaitGroup
	for i, g := range []*stream.Group{a, b} {
		wg.Go(func() {
			for both[i] == nil || len(both[i].Assignments[topic]) != 2 {
				if both[i], errs[i] = g.Next(ctx); errs[i] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, errors.Join(errs[:]...))
	seen := map[int]stream.Mark{}
	for _, gen := range both {
		for _, as := range gen.Assignments[topic] {
			seen[as.Partition] = as.Mark
		}
	}
	require.Equal(t, map[int]stream.Mark{0: {Committed: 7, Note: "a note"}, 1: {Committed: 8}, 2: {Committed: 9}, 3: {Committed: 10}}, seen)

	require.NoError(t, b.Close(t.Context())) // the partitions of a member that leaves go to those who stay, at once
	gen, err = a.Next(ctx)
	require.NoError(t, err)
	require.Len(t, gen.Assignments[topic], 4)
	require.NoError(t, a.Close(t.Context()))
}

// testMorePartitions: the group's leader sees that partitions were added, and every member gets its
// share of them, so that none is left without an owner.
func testMorePartitions(t *testing.T, c *stream.Client, broker, topic string) {
	makeTopic(t, c, topic, 2)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	unowned := func() []int {
		t.Helper()
		for {
			ns, err := c.Unowned(ctx, topic, topic)
			if errors.Is(err, stream.ErrRebalancing) && ctx.Err() == nil {
				continue // not decided yet
			}
			require.NoError(t, err)
			return ns
		}
	}
	require.Equal(t, []int{0, 1}, unowned(), "partitions of a group without members")

	type news struct {
		worker     string
		partitions int
	}
	divisions := make(chan news, 100)
	var members sync.WaitGroup
	inGroup, leave := context.WithCancel(ctx)
	defer members.Wait()
	defer leave()
	for _, worker := range []string{"a", "b"} {
		g, err := c.Join(stream.GroupConfig{ID: topic, Topics: []string{topic}, Worker: worker, SessionTimeout: 6 * time.Second})
		require.NoError(t, err)
		members.Go(func() {
			defer g.Close(t.Context())
			for {
				gen, err := g.Next(inGroup)
				if err != nil {
					return
				}
				divisions <- news{worker, len(gen.Assignments[topic])}
			}
		})
	}
	shares := map[string]int{}
	await := func(share int) {
		t.Helper()
		for shares["a"] != share || shares["b"] != share {
			select {
			case d := <-divisions:
				shares[d.worker] = d.partitions
			case <-ctx.Done():
				require.Fail(t, "partitions are not shared evenly", "%v, not %d each", shares, share)
			}
		}
	}
	await(1)
	require.Empty(t, unowned())
	began := time.Now()
	addPartitions(t, broker, topic, 6)
	await(3)
	t.Logf("the new partitions had owners after %v", time.Since(began).Round(time.Millisecond))
	require.Empty(t, unowned())
}

// testTopicMissing: joining a group does not create a deleted topic with the brokers' number of
// partitions, and its members keep their partitions; otherwise they would delete what they have
// read of it.
func testTopicMissing(t *testing.T, broker, topic string) {
	log := make(logLines, 100)
	c, err := stream.Open(stream.Config{Brokers: []string{broker}}, slog.New(slog.NewTextHandler(log, nil)))
	require.NoError(t, err)
	defer c.Close()
	makeTopic(t, c, topic, 2)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	shares := make(chan [2]int, 100) // which member, how many
	var members sync.WaitGroup
	inGroup, leave := context.WithCancel(ctx)
	defer members.Wait()
	defer leave()
	join := func(i int, worker string) {
		g, err := c.Join(stream.GroupConfig{ID: topic, Topics: []string{topic}, Worker: worker, SessionTimeout: 6 * time.Second})
		require.NoError(t, err)
		members.Go(func() {
			defer g.Close(t.Context())
			for {
				gen, err := g.Next(inGroup)
				if err != nil {
					return
				}
				shares <- [2]int{i, len(gen.Assignments[topic])}
			}
		})
	}
	join(0, "a")
	require.Equal(t, [2]int{0, 2}, <-shares)
	deleteTopic(t, broker, topic)
	for err = nil; !errors.Is(err, stream.ErrNoTopic); time.Sleep(50 * time.Millisecond) { // metadata is cached for some seconds
		_, err = c.Partitions(ctx, topic)
		require.NoError(t, ctx.Err())
	}
	join(1, "b")
	for line := ""; !strings.Contains(line, "no such topic"); {
		select {
		case line = <-log:
		case got := <-shares:
			require.Fail(t, "a missing topic was assigned", "%v", got)
		case <-ctx.Done():
			require.Fail(t, "no log line says that the topic is missing")
		}
	}
	_, err = c.Partitions(ctx, topic)
	require.ErrorIs(t, err, stream.ErrNoTopic)

	makeTopic(t, c, topic, 5)
	for have := [2]int{}; have[0]+have[1] != 5; {
		select {
		case got := <-shares:
			require.NotZero(t, got[1], "member %d lost its partitions", got[0])
			have[got[0]] = got[1]
		case <-ctx.Done():
			require.Fail(t, "the topic exists, but its partitions are not assigned")
		}
	}
}

// testTopicJustCreated: brokers' answer that a topic is missing is cached for some seconds. A
// member that joins then waits for that long instead of giving up.
func testTopicJustCreated(t *testing.T, broker, topic string) {
	log := make(logLines, 100)
	c, err := stream.Open(stream.Config{Brokers: []string{broker}}, slog.New(slog.NewTextHandler(log, nil)))
	require.NoError(t, err)
	defer c.Close()
	other, err := stream.Open(stream.Config{Brokers: []string{broker}}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer other.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	_, err = c.Partitions(ctx, topic)
	require.ErrorIs(t, err, stream.ErrNoTopic)
	makeTopic(t, other, topic, 2)
	g, err := c.Join(stream.GroupConfig{ID: topic, Topics: []string{topic}, Worker: "a", SessionTimeout: 6 * time.Second})
	require.NoError(t, err)
	defer g.Close(t.Context())
	gen, err := g.Next(ctx)
	require.NoError(t, err)
	require.Len(t, gen.Assignments[topic], 2)
	for len(log) > 0 {
		require.NotContains(t, <-log, "no such topic")
	}
}

// logLines receives the lines of a log; if nobody reads them, only the first ones.
type logLines chan string

func (s logLines) Write(b []byte) (int, error) {
	select {
	case s <- string(b):
	default:
	}
	return len(b), nil
}

// deleteTopic does what kafka-topics.sh --delete does.
func deleteTopic(t *testing.T, broker, topic string) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(broker))
	require.NoError(t, err)
	defer client.Close()
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.TopicNames = []string{topic}
	named := kmsg.NewDeleteTopicsRequestTopic()
	named.Topic = &topic
	req.Topics = append(req.Topics, named)
	res, err := req.RequestWith(t.Context(), client)
	require.NoError(t, err)
	for _, answer := range res.Topics {
		require.NoError(t, kerr.ErrorForCode(answer.ErrorCode))
	}
}

// addPartitions does what kafka-topics.sh --alter --partitions does.
func addPartitions(t *testing.T, broker, topic string, total int32) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(broker))
	require.NoError(t, err)
	defer client.Close()
	req := kmsg.NewPtrCreatePartitionsRequest()
	req.TimeoutMillis = 10_000
	rt := kmsg.NewCreatePartitionsRequestTopic()
	rt.Topic, rt.Count = topic, total
	req.Topics = append(req.Topics, rt)
	res, err := req.RequestWith(t.Context(), client)
	require.NoError(t, err)
	for _, answer := range res.Topics {
		require.NoError(t, kerr.ErrorForCode(answer.ErrorCode))
	}
}

// testKeepOnClose: a worker that restarts finds that nobody else has its partitions. Without a note
// of who it was, it gets them when its former session has timed out.
func testKeepOnClose(t *testing.T, c *stream.Client, topic string) {
	makeTopic(t, c, topic, 2)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	for _, stay := range []bool{true, false} {
		g, err := c.Join(stream.GroupConfig{ID: topic, Topics: []string{topic}, Worker: "a", SessionTimeout: 6 * time.Second, KeepOnClose: stay})
		require.NoError(t, err)
		gen, err := g.Next(ctx)
		require.NoError(t, err)
		require.Len(t, gen.Assignments[topic], 2)
		require.NoError(t, g.Close(t.Context()))
		<-gen.Done()
		unowned, err := c.Unowned(ctx, topic, topic)
		require.NoError(t, err)
		require.Equal(t, stay, len(unowned) == 0, "partitions without an owner: %v", unowned)
	}
}

// testRestart: a worker whose process was killed, or left without leaving the group, gets its
// partitions back although that session lasts, and the others keep theirs.
func testRestart(t *testing.T, c *stream.Client, topic string) {
	makeTopic(t, c, topic, 4)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // less than a session
	defer cancel()
	dir := t.TempDir()
	join := func(worker string) *stream.Group {
		g, err := c.Join(stream.GroupConfig{
			ID: topic, Topics: []string{topic}, Worker: worker, SessionTimeout: 2 * time.Minute,
			KeepOnClose: true, MemberFile: filepath.Join(dir, worker),
		})
		require.NoError(t, err)
		return g
	}
	partitions := func(gen *stream.Generation) (ps []int) {
		for _, a := range gen.Assignments[topic] {
			ps = append(ps, a.Partition)
		}
		return ps
	}
	next := func(g *stream.Group, want int) ([]int, error) {
		for {
			gen, err := g.Next(ctx)
			if err != nil {
				return nil, err
			}
			if ps := partitions(gen); len(ps) == want {
				return ps, nil
			}
		}
	}
	a := join("a")
	_, err := next(a, 4)
	require.NoError(t, err)
	require.NoError(t, a.Close(t.Context()))
	a = join("a")
	_, err = next(a, 4)
	require.NoError(t, err, "the only member comes back")

	b := join("b")
	defer b.Close(t.Context())
	var ofA, ofB, again []int
	var both errgroup.Group
	both.Go(func() (err error) { ofA, err = next(a, 2); return err })
	both.Go(func() (err error) { ofB, err = next(b, 2); return err })
	require.NoError(t, both.Wait())
	require.NoError(t, a.Close(t.Context()))
	a = join("a")
	defer a.Close(t.Context())
	both.Go(func() (err error) { again, err = next(a, 2); return err })
	gen, err := b.Next(ctx)
	require.NoError(t, err)
	require.ElementsMatch(t, ofB, partitions(gen), "in the first generation after the restart")
	require.NoError(t, both.Wait())
	require.ElementsMatch(t, ofA, again)
}

func testStaleCommit(t *testing.T, c *stream.Client, topic string) {
	makeTopic(t, c, topic, 1)
	g, err := c.Join(stream.GroupConfig{ID: topic, Topics: []string{topic}, Worker: "a"})
	require.NoError(t, err)
	gen, err := g.Next(t.Context())
	require.NoError(t, err)
	require.NoError(t, g.Close(t.Context()))
	<-gen.Done()
	require.Error(t, gen.Commit(t.Context(), topic, map[int]stream.Mark{0: {Committed: 5}}))
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
