package embedded

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"
)

// childDir makes the test binary a broker on that directory.
const childDir = "SEALIFT_EMBEDDED_CHILD_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		k, err := StartKafka(KafkaConfig{Dir: dir, TrimGroups: []string{"readers"}, trimEvery: time.Hour})
		if err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		fmt.Println("addr", k.Addr())
		// "trim" on stdin trims; the end of stdin means that the parent is gone.
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			fmt.Println("trimmed", k.trim(context.Background()))
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func start(t *testing.T, dir string) *Kafka {
	t.Helper()
	k, err := StartKafka(KafkaConfig{Dir: dir, TrimGroups: []string{"readers"}, trimEvery: time.Hour, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { _ = k.Close() })
	return k
}

func client(t *testing.T, addr string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append(opts, kgo.SeedBrokers(addr), kgo.DisableIdempotentWrite(), kgo.MaxVersions(kversion.V3_0_0()))...)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func createTopic(t *testing.T, c *kgo.Client, topic string, partitions int32) {
	t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	rt := kmsg.NewCreateTopicsRequestTopic()
	rt.Topic, rt.NumPartitions, rt.ReplicationFactor = topic, partitions, -1
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(t.Context(), c)
	require.NoError(t, err)
	require.NoError(t, kerr.ErrorForCode(resp.Topics[0].ErrorCode))
}

func commit(t *testing.T, c *kgo.Client, group, topic string, partition int32, offset int64) {
	t.Helper()
	commitWith(t, c, group, topic, partition, offset, kmsg.StringPtr("a note"))
}

func commitWith(t *testing.T, c *kgo.Client, group, topic string, partition int32, offset int64, note *string) {
	t.Helper()
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.Generation = group, -1
	rt := kmsg.NewOffsetCommitRequestTopic()
	rt.Topic = topic
	rp := kmsg.NewOffsetCommitRequestTopicPartition()
	rp.Partition, rp.Offset, rp.Metadata = partition, offset, note
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(t.Context(), c)
	require.NoError(t, err)
	require.NoError(t, kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode))
}

// bounds returns the first and the next offset of partition 0.
func bounds(t *testing.T, c *kgo.Client, topic string) (first, next int64) {
	t.Helper()
	for ts, to := range map[int64]*int64{-2: &first, -1: &next} {
		req := kmsg.NewPtrListOffsetsRequest()
		req.ReplicaID = -1
		rt := kmsg.NewListOffsetsRequestTopic()
		rt.Topic = topic
		rp := kmsg.NewListOffsetsRequestTopicPartition()
		rp.Timestamp = ts
		rt.Partitions = append(rt.Partitions, rp)
		req.Topics = append(req.Topics, rt)
		resp, err := req.RequestWith(t.Context(), c)
		require.NoError(t, err)
		require.NoError(t, kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode))
		*to = resp.Topics[0].Partitions[0].Offset
	}
	return first, next
}

// values reads partition 0 from its start up to the offset next.
func values(t *testing.T, addr, topic string, next int64) map[string]int {
	t.Helper()
	c := client(t, addr, kgo.ConsumeTopics(topic))
	got := map[string]int{}
	for at := int64(0); at < next; {
		fetches := c.PollFetches(t.Context())
		require.NoError(t, fetches.Err())
		fetches.EachRecord(func(r *kgo.Record) {
			got[string(r.Value)]++
			at = r.Offset + 1
		})
	}
	return got
}

// child is a broker in its own process.
type child struct {
	cmd  *exec.Cmd
	out  *bufio.Scanner
	in   interface{ Write([]byte) (int, error) }
	addr string
}

func startChild(t *testing.T, dir string) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	c := &child{cmd: cmd, out: bufio.NewScanner(out), in: in}
	addr, ok := strings.CutPrefix(c.line(t), "addr ")
	require.True(t, ok)
	c.addr = addr
	return c
}

func (c *child) line(t *testing.T) string {
	t.Helper()
	require.True(t, c.out.Scan(), "the child process ended")
	return c.out.Text()
}

func (c *child) kill9(t *testing.T) {
	t.Helper()
	require.NoError(t, c.cmd.Process.Kill())
	_ = c.cmd.Wait()
}

func TestKafkaSurvivesKill9(t *testing.T) {
	dir := t.TempDir()
	var acked []string
	for round := range 3 {
		proc := startChild(t, dir)
		c := client(t, proc.addr, kgo.ProducerBatchCompression(kgo.Lz4Compression()), kgo.DefaultProduceTopic("events"), kgo.RecordRetries(0))
		if round == 0 {
			createTopic(t, c, "events", 1)
		}
		results := make(chan string, 20_000)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			defer close(results)
			for i := 0; ctx.Err() == nil; i++ {
				value := fmt.Sprintf("%d-%d", round, i)
				if c.ProduceSync(ctx, kgo.StringRecord(value)).FirstErr() == nil {
					results <- value
				}
			}
		}()
		for range 300 {
			acked = append(acked, <-results)
		}
		proc.kill9(t) // while it is being written to
		cancel()
		for value := range results {
			acked = append(acked, value)
		}
	}

	k := start(t, dir)
	_, next := bounds(t, client(t, k.Addr()), "events")
	got := values(t, k.Addr(), "events", next)
	for _, value := range acked {
		require.Contains(t, got, value)
	}
}

func TestTrim(t *testing.T) {
	t.Run("next_offset_survives_kill9_of_a_trimmed_log", func(t *testing.T) {
		dir := t.TempDir()
		proc := startChild(t, dir)
		c := client(t, proc.addr, kgo.DefaultProduceTopic("events"))
		createTopic(t, c, "events", 1)
		for i := range 10 {
			require.NoError(t, c.ProduceSync(t.Context(), kgo.StringRecord(fmt.Sprint(i))).FirstErr())
		}
		commit(t, c, "readers", "events", 0, 10) // all of it
		_, err := proc.in.Write([]byte("trim\n"))
		require.NoError(t, err)
		require.Equal(t, "trimmed <nil>", proc.line(t))
		first, next := bounds(t, c, "events")
		require.Equal(t, int64(9), first)
		require.Equal(t, int64(10), next)
		proc.kill9(t)

		k := start(t, dir)
		_, next = bounds(t, client(t, k.Addr()), "events")
		require.Equal(t, int64(10), next, "an offset was given twice")
	})

	t.Run("slowest_group_and_foreign_topics_are_respected", func(t *testing.T) {
		k, err := StartKafka(KafkaConfig{Dir: t.TempDir(), TrimGroups: []string{"readers", "others", "never joined"}, trimEvery: time.Hour})
		require.NoError(t, err)
		defer k.Close()
		c := client(t, k.Addr())
		for _, topic := range []string{"events", "catalog"} {
			createTopic(t, c, topic, 1)
			for i := range 10 {
				require.NoError(t, c.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: fmt.Append(nil, i)}).FirstErr())
			}
		}
		require.NoError(t, k.trim(t.Context())) // nothing was committed
		commit(t, c, "readers", "events", 0, 8)
		commit(t, c, "others", "events", 0, 3)
		require.NoError(t, k.trim(t.Context()))
		require.NoError(t, k.trim(t.Context())) // again, without an error
		first, next := bounds(t, c, "events")
		require.Equal(t, int64(3), first)
		require.Equal(t, int64(10), next)
		first, _ = bounds(t, c, "catalog")
		require.Equal(t, int64(0), first)
	})

	t.Run("offsets_set_by_other_tools_delete_nothing", func(t *testing.T) {
		k, err := StartKafka(KafkaConfig{Dir: t.TempDir(), TrimGroups: []string{"readers"}, trimEvery: time.Hour})
		require.NoError(t, err)
		defer k.Close()
		c := client(t, k.Addr(), kgo.DefaultProduceTopic("events"))
		createTopic(t, c, "events", 1)
		for i := range 10 {
			require.NoError(t, c.ProduceSync(t.Context(), kgo.StringRecord(fmt.Sprint(i))).FirstErr())
		}
		for _, note := range []*string{nil, kmsg.StringPtr("")} {
			commitWith(t, c, "readers", "events", 0, 10, note) // as by kafka-consumer-groups.sh --to-latest
			require.NoError(t, k.trim(t.Context()))
			first, _ := bounds(t, c, "events")
			require.Zero(t, first)
		}
		commit(t, c, "readers", "events", 0, 4)
		require.NoError(t, k.trim(t.Context()))
		first, _ := bounds(t, c, "events")
		require.EqualValues(t, 4, first)
	})
}

func TestKafkaDoesNotCreateTopicsByItself(t *testing.T) {
	k := start(t, t.TempDir())
	req := kmsg.NewPtrMetadataRequest()
	req.AllowAutoTopicCreation = true
	rt := kmsg.NewMetadataRequestTopic()
	rt.Topic = kmsg.StringPtr("typo")
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(t.Context(), client(t, k.Addr()))
	require.NoError(t, err)
	require.ErrorIs(t, kerr.ErrorForCode(resp.Topics[0].ErrorCode), kerr.UnknownTopicOrPartition)
}

// Memory does not grow with what is on disk.
func TestKafkaMemoryIsBounded(t *testing.T) {
	k := start(t, t.TempDir())
	c := client(t, k.Addr(), kgo.DefaultProduceTopic("events"), kgo.ProducerBatchCompression(kgo.NoCompression()))
	createTopic(t, c, "events", 4)
	value := make([]byte, 1024)
	rand.New(rand.NewSource(1)).Read(value)

	before := heap()
	for range 100 {
		batch := make([]*kgo.Record, 1000)
		for i := range batch {
			batch[i] = kgo.SliceRecord(value)
		}
		require.NoError(t, c.ProduceSync(t.Context(), batch...).FirstErr())
	}
	require.Less(t, heap()-before, int64(24<<20), "100 MB went through")
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// member is a member of the group "readers" that joins as kafka-go does, without asking for an id first.
type member struct {
	client        *kgo.Client
	sessionMillis int32
	id            string
	generation    int32
}

func newMember(t *testing.T, addr string) *member {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.DisableIdempotentWrite(), kgo.MaxVersions(kversion.V0_11_0()))
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return &member{client: c, sessionMillis: 3000}
}

func (m *member) join(ctx context.Context) error {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Group, req.MemberID, req.ProtocolType, req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = "readers", m.id, "consumer", m.sessionMillis, 60_000
	protocol := kmsg.NewJoinGroupRequestProtocol()
	protocol.Name = "range"
	req.Protocols = append(req.Protocols, protocol)
	resp, err := req.RequestWith(ctx, m.client)
	if err != nil {
		return err
	}
	m.id, m.generation = resp.MemberID, resp.Generation
	return kerr.ErrorForCode(resp.ErrorCode)
}

func (m *member) sync(ctx context.Context) error {
	req := kmsg.NewPtrSyncGroupRequest()
	req.Group, req.MemberID, req.Generation = "readers", m.id, m.generation
	resp, err := req.RequestWith(ctx, m.client)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(resp.ErrorCode)
}

// isRebalancing asks whether the member has to join again.
func (m *member) isRebalancing(t *testing.T) bool {
	t.Helper()
	req := kmsg.NewPtrHeartbeatRequest()
	req.Group, req.MemberID, req.Generation = "readers", m.id, m.generation
	resp, err := req.RequestWith(t.Context(), m.client)
	require.NoError(t, err)
	return errors.Is(kerr.ErrorForCode(resp.ErrorCode), kerr.RebalanceInProgress)
}

func (m *member) groupSize(t *testing.T) int {
	t.Helper()
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Groups = []string{"readers"}
	resp, err := req.RequestWith(t.Context(), m.client)
	require.NoError(t, err)
	return len(resp.Groups[0].Members)
}

// Members that are killed while they wait for a rebalance must not keep their partitions.
func TestKilledMembersLeaveTheGroup(t *testing.T) {
	k := start(t, t.TempDir())
	survivor := newMember(t, k.Addr())
	require.NoError(t, survivor.join(t.Context()))
	require.NoError(t, survivor.sync(t.Context()))

	ctx, kill := context.WithCancel(t.Context())
	var killed errgroup.Group
	var members []*member
	for range 8 {
		m := newMember(t, k.Addr())
		members = append(members, m)
		killed.Go(func() error { return m.join(ctx) })
	}
	require.Eventually(t, func() bool { return survivor.groupSize(t) == 9 }, 20*time.Second, 10*time.Millisecond) // the others wait for the survivor
	kill()
	require.ErrorIs(t, killed.Wait(), context.Canceled)
	for _, m := range members {
		m.client.Close()
	}
	time.Sleep(100 * time.Millisecond) // until the broker knows

	require.Eventually(t, func() bool {
		if survivor.isRebalancing(t) {
			require.NoError(t, survivor.join(t.Context()))
			require.NoError(t, survivor.sync(t.Context()))
		}
		return survivor.groupSize(t) == 1
	}, 20*time.Second, 50*time.Millisecond, "members that are gone are still in the group")
}

// Whatever kafka.session_timeout may be, as pkg/config has it, works.
func TestSessionTimeouts(t *testing.T) {
	for _, session := range []time.Duration{time.Second, 30 * time.Minute} {
		t.Run(session.String(), func(t *testing.T) {
			m := newMember(t, start(t, t.TempDir()).Addr())
			m.sessionMillis = int32(session.Milliseconds())
			require.NoError(t, m.join(t.Context()))
		})
	}
}

// The end of a connection is reported when what was asked on it is answered, which may take as long
// as joining a group; at once if nothing waits.
func TestEndOfAConnection(t *testing.T) {
	for name, wait := range map[string]time.Duration{"idle": 0, "joining": maxSession - time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, server := net.Pipe()
				c := newConn(lateConn{server})
				go func() {
					_, _ = client.Write([]byte("1"))
					_, _ = client.Read(make([]byte, 1))
					_, _ = client.Write([]byte("2"))
					_ = client.Close()
				}()
				var answers sync.WaitGroup
				defer answers.Wait()
				answers.Add(2)
				answer := func() { defer answers.Done(); _, _ = c.Write([]byte("0")) }
				_, err := c.Read(make([]byte, 1))
				require.NoError(t, err)
				go answer()
				_, err = c.Read(make([]byte, 1))
				require.NoError(t, err)
				time.AfterFunc(wait, answer)
				began := time.Now()
				_, err = c.Read(make([]byte, 1))
				require.ErrorIs(t, err, io.EOF)
				require.Equal(t, wait, time.Since(began))
				require.NoError(t, c.Close())
			})
		})
	}
}

// lateConn is slow to return from Write: the client may have asked again by then.
type lateConn struct{ net.Conn }

func (l lateConn) Write(p []byte) (int, error) {
	defer time.Sleep(time.Second)
	return l.Conn.Write(p)
}

func TestAddress(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"", "127.0.0.1:0"}, {":9092", "127.0.0.1:9092"}, {"0.0.0.0:1", "0.0.0.0:1"}, {"[::1]:1", "[::1]:1"},
	} {
		got, err := withLoopbackHost(tc.in)
		require.NoError(t, err)
		require.Equal(t, tc.want, got)
	}
	_, err := StartKafka(KafkaConfig{Dir: t.TempDir(), Addr: "no port"})
	require.ErrorContains(t, err, `start embedded kafka at "no port"`)
	_, err = StartRedis("no port")
	require.ErrorContains(t, err, `start embedded redis at "no port"`)

	k, err := StartKafka(KafkaConfig{Dir: t.TempDir(), Addr: "0.0.0.0:0"})
	require.NoError(t, err)
	defer k.Close()
	require.Contains(t, k.Addr(), "127.0.0.1:")
	_, err = StartKafka(KafkaConfig{Dir: t.TempDir(), Addr: k.Addr()})
	require.ErrorContains(t, err, "address already in use")
}
