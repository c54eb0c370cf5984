package stream_test

import (
	"context"
	"errors"
	"log/slog"
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

// follow is a member of a group until ctx ends: it tells how many partitions of the topic each
// division of the group gives it.
func follow(ctx context.Context, t *testing.T, g *stream.Group, topic string, tell func(partitions int)) {
	defer g.Close(t.Context())
	for {
		gen, err := g.Next(ctx)
		if err != nil {
			return
		}
		tell(len(gen.Assignments[topic]))
	}
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
		members.Go(func() { follow(inGroup, t, g, topic, func(partitions int) { divisions <- news{worker, partitions} }) })
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
		members.Go(func() { follow(inGroup, t, g, topic, func(partitions int) { shares <- [2]int{i, partitions} }) })
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
