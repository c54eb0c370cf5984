package stream

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// kfakeClient returns a client that fetches metadata only when it needs it, not because it is old.
func kfakeClient(t *testing.T, opts ...kfake.Opt) (*kfake.Cluster, *Client) {
	t.Helper()
	was := metadataTTL
	metadataTTL = time.Hour
	t.Cleanup(func() { metadataTTL = was })
	cluster, err := kfake.NewCluster(opts...)
	require.NoError(t, err)
	t.Cleanup(cluster.Close)
	c, err := Open(Config{Brokers: cluster.ListenAddrs()}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return cluster, c
}

// TestNewLeaderIsFoundAtOnce: not only when the metadata with the old leader expires.
func TestNewLeaderIsFoundAtOnce(t *testing.T) {
	cluster, c := kfakeClient(t, kfake.NumBrokers(2), kfake.SeedTopics(1, "events"))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	p, f := c.NewProducer(ProducerConfig{Topic: "events"}), c.NewFetcher("events", 0)
	ops := map[string]func() error{
		"produce": func() error { return p.Produce(ctx, Record{Value: []byte("v")}) },
		"fetch":   func() error { _, err := f.Fetch(ctx, 0, FetchOptions{}); return err },
		"bounds":  func() error { _, err := c.Bounds(ctx, "events"); return err },
	}
	require.NoError(t, ops["produce"]())
	for name, op := range ops {
		require.NoError(t, op())
		leader := cluster.LeaderFor("events", 0)
		require.NoError(t, cluster.MoveTopicPartition("events", 0, 1-leader))
		c.transport.refreshing <- struct{}{}
		c.transport.pacing.lastEnd = time.Time{} // as if the last refresh were for another problem
		<-c.transport.refreshing
		if name != "produce" { // callers of the other operations retry them themselves
			require.Error(t, op(), "%s with the old leader", name)
		}
		require.NoError(t, op(), name)
	}
	require.NoError(t, p.Close(t.Context()))
}

// TestMetadataRefreshesArePaced: each refresh opens new connections to all brokers in
// use.
func TestMetadataRefreshesArePaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		fails := syscall.ECONNREFUSED
		tr := newTransport(kafka.TCP("broker:9092"), func([]string) *kafka.Transport {
			asked++
			return &kafka.Transport{Dial: func(context.Context, string, string) (net.Conn, error) { return nil, fails }}
		})
		defer tr.close()
		soon := false
		renew := func(every time.Duration, times int, topics ...string) (taken int) {
			before := asked
			for range times {
				require.ErrorIs(t, tr.refresh(t.Context(), topics, soon), fails)
				time.Sleep(every) // synctest's clock
			}
			return asked - before
		}
		require.Equal(t, 3, renew(refreshInterval, 7), "refreshes at first, after 250 ms and 500 ms")
		require.Equal(t, 27, renew(time.Second, 28), "refreshes during an election, one a second")
		require.InDelta(t, 720, renew(time.Second, 3600), 5, "refreshes in an hour of trouble")
		soon = true
		require.InDelta(t, 30, renew(time.Second, 30), 1, "refreshes for another election")
		soon = false
		require.InDelta(t, 12, renew(time.Second, 60), 2, "refreshes after that election")
		require.Equal(t, 1, renew(refreshInterval, 1, "another topic"))
		require.Equal(t, 2, renew(3*refreshInterval, 2), "refreshes after a new topic")
		renew(time.Second, 60)
		time.Sleep(time.Minute)
		require.Equal(t, 2, renew(2*refreshInterval, 2), "refreshes after a quiet minute")
		require.Equal(t, 19, renew(time.Second, 20), "refreshes of the election after it")
	})
}

// TestMetadataIsFetchedForTopicsInUseOnly: and not for all topics of the cluster.
func TestMetadataIsFetchedForTopicsInUseOnly(t *testing.T) {
	cluster, c := kfakeClient(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "events", "jobs", "others"))
	var mu sync.Mutex
	var asked [][]string // nil: all
	cluster.ControlKey(int16(kmsg.Metadata), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		mu.Lock()
		defer mu.Unlock()
		var names []string
		if topics := req.(*kmsg.MetadataRequest).Topics; topics != nil {
			names = []string{}
			for _, topic := range topics {
				names = append(names, *topic.Topic)
			}
		}
		asked = append(asked, names)
		return nil, nil, false
	})
	require.NoError(t, c.Ping(t.Context()))
	for _, topic := range []string{"events", "jobs"} {
		p := c.NewProducer(ProducerConfig{Topic: topic})
		require.NoError(t, p.Produce(t.Context(), Record{Value: []byte("v")}))
		require.NoError(t, p.Close(t.Context()))
		_, err := c.NewFetcher(topic, 0).Fetch(t.Context(), 0, FetchOptions{})
		require.NoError(t, err)
	}
	g, err := c.Join(GroupConfig{ID: "g", Topics: []string{"events"}, Worker: "a"})
	require.NoError(t, err)
	_, err = g.Next(t.Context())
	require.NoError(t, err)
	require.NoError(t, g.Close(t.Context()))
	mu.Lock()
	defer mu.Unlock()
	require.NotEmpty(t, asked)
	for _, names := range asked {
		require.NotNil(t, names, "request for all topics")
		require.NotContains(t, names, "others")
	}
	require.True(t, slices.ContainsFunc(asked, func(names []string) bool { return slices.Equal(names, []string{"events", "jobs"}) }), "%v", asked)
}

// TestMetadataStaysWhenARefreshFails: requests may still succeed with the old metadata.
func TestMetadataStaysWhenARefreshFails(t *testing.T) {
	cluster, c := kfakeClient(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "events"))
	p := c.NewProducer(ProducerConfig{Topic: "events"})
	require.NoError(t, p.Produce(t.Context(), Record{Value: []byte("v")}))
	asked := make(chan bool, 100)
	cluster.ControlKey(int16(kmsg.Metadata), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		asked <- true
		return nil, context.Canceled, true // hangs up
	})
	time.Sleep(refreshInterval)
	cluster.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		produce := req.(*kmsg.ProduceRequest)
		res := produce.ResponseKind().(*kmsg.ProduceResponse)
		topic := kmsg.NewProduceResponseTopic()
		topic.Topic, topic.TopicID = produce.Topics[0].Topic, produce.Topics[0].TopicID
		partition := kmsg.NewProduceResponseTopicPartition()
		partition.ErrorCode = 6 // NOT_LEADER_OR_FOLLOWER
		topic.Partitions = append(topic.Partitions, partition)
		res.Topics = append(res.Topics, topic)
		return res, nil, true
	})
	require.NoError(t, p.Produce(t.Context(), Record{Value: []byte("v")}))
	require.NotEmpty(t, asked)
	_, err := c.Partitions(t.Context(), "jobs")
	require.Error(t, err)
	require.NotErrorIs(t, err, ErrNoTopic, "failed refresh reported as a missing topic")
	require.NoError(t, p.Close(t.Context()))
}
