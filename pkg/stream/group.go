package stream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/sealift/sealift/pkg/jitter"
)

// GroupConfig configures membership in a consumer group.
type GroupConfig struct {
	ID     string
	Topics []string
	// Worker is this member's stable name, by which it keeps its partitions across rebalances and
	// restarts.
	Worker string
	// SessionTimeout is how long a member that is not heard of keeps its partitions; default 30s.
	SessionTimeout time.Duration
	// KeepOnClose keeps the partitions until the session times out when the group is closed, for a
	// worker that returns before that: nobody else gets them.
	KeepOnClose bool
	// MemberFile is where the group notes who it is, for the worker's next process: only one process
	// at a time may use it. The next one takes out of the group what was left in it by kill -9 or
	// KeepOnClose. Without the note, the group's next rebalance lasts until that session has timed
	// out, and all members stand still. Empty: no note.
	MemberFile string
}

// Group is a membership in a consumer group. It says which partitions are ours, generation by
// generation. It is for use by one goroutine.
type Group struct {
	client      *Client
	id          string
	topics      []string
	keepOnClose bool
	balancer    *stickyBalancer
	inner       *kafka.ConsumerGroup
	memberFile  string
	noted       string // in memberFile by this process
	isMember    func() // ends expel
	tasks       sync.WaitGroup
	closed      chan struct{}
	connCtx     context.Context // context of its connections: when it ends, they are closed, and no more can be opened
	closeConns  context.CancelFunc
	joinFails   WarningLimiter
}

// Join joins the group in the background. Errors of the brokers do not show here; Next deals with
// them.
func (c *Client) Join(cfg GroupConfig) (*Group, error) {
	if cfg.SessionTimeout == 0 {
		cfg.SessionTimeout = 30 * time.Second
	}
	heartbeat := min(cfg.SessionTimeout/10, time.Second)
	g := &Group{client: c, id: cfg.ID, topics: cfg.Topics, keepOnClose: cfg.KeepOnClose, balancer: &stickyBalancer{worker: cfg.Worker}, memberFile: cfg.MemberFile, closed: make(chan struct{})}
	g.connCtx, g.closeConns = context.WithCancel(context.Background())
	joining, isJoining := context.WithCancel(context.Background())
	g.balancer.ready = func() error {
		if err := g.waitForTopics(); err != nil {
			return err
		}
		isJoining()
		return nil
	}
	dialer := *c.dialer
	dialer.DialFunc = g.dial
	inner, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID:                cfg.ID,
		Brokers:           c.brokers,
		Dialer:            &dialer,
		Topics:            cfg.Topics,
		GroupBalancers:    []kafka.GroupBalancer{g.balancer},
		HeartbeatInterval: heartbeat,
		SessionTimeout:    cfg.SessionTimeout,
		// A leader has this long to divide the partitions. The sessions of the members that wait
		// for it have to last longer: the embedded broker does not extend them meanwhile.
		RebalanceTimeout: cfg.SessionTimeout - heartbeat,
		JoinGroupBackoff: 500 * time.Millisecond,
		StartOffset:      kafka.FirstOffset,
	})
	if err != nil {
		return nil, fmt.Errorf("join group %q: %w", cfg.ID, err)
	}
	g.inner = inner
	var ctx context.Context
	ctx, g.isMember = context.WithCancel(g.connCtx)
	if former := g.formerMember(); former != "" {
		g.tasks.Go(func() { g.expel(ctx, former, joining.Done()) })
	}
	return g, nil
}

// dial opens a connection that is closed when the group's life ends. kafka-go cannot stop without
// leaving the group, for which it opens another connection, and cannot stop waiting for an answer.
func (g *Group) dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(g.connCtx, cancel)()
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return groupConn{conn, context.AfterFunc(g.connCtx, func() { _ = conn.Close() })}, nil
}

// groupConn is a connection that is also closed when its group ends; detach stops that.
type groupConn struct {
	net.Conn
	detach func() bool
}

// Close implements net.Conn.
func (m groupConn) Close() error {
	m.detach()
	return m.Conn.Close()
}

// Assignment is a partition that is ours in a generation.
type Assignment struct {
	Partition int
	Mark
}

// Generation is one assignment of the partitions to the members.
type Generation struct {
	ID          int32
	Assignments map[string][]Assignment // by topic
	commit      func(ctx context.Context, topic string, marks map[int]Mark) error
	done        <-chan struct{}
}

// GenerationForTesting returns a generation without a group. It ends when done is closed, and
// commits go to commit.
func GenerationForTesting(id int32, assignments map[string][]Assignment, done <-chan struct{}, commit func(ctx context.Context, topic string, marks map[int]Mark) error) *Generation {
	return &Generation{ID: id, Assignments: assignments, done: done, commit: commit}
}

// Next returns the next generation when the previous one has ended. It ignores generations in which
// no member is assigned anything, as when a topic is missing. It retries forever, and returns an
// error only if ctx ended or the group is closed.
func (g *Group) Next(ctx context.Context) (*Generation, error) {
	for {
		inner, err := g.inner.Next(ctx)
		switch {
		case err == nil:
			gen, err := g.newGeneration(ctx, inner)
			if err == nil {
				return gen, nil
			}
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			g.client.log.WarnContext(ctx, "consumer group generation ignored", "group", g.id, "err", err)
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, kafka.ErrGroupClosed):
			return nil, fmt.Errorf("group %q: %w", g.id, err)
		case errors.Is(err, kafka.RebalanceInProgress):
		default:
			// kafka-go backs off before it joins again, but only for half a second.
			g.joinFails.Do(func(suppressed int) {
				g.client.log.WarnContext(ctx, "joining consumer group", "group", g.id, "brokers", strings.Join(g.client.brokers, ","), "err", err, "suppressed", suppressed)
			})
		}
	}
}

// Close leaves the group, which ends the generation for all members at once. With KeepOnClose, or
// if ctx ends first, it only stops taking part.
func (g *Group) Close(ctx context.Context) error {
	defer g.tasks.Wait()
	defer g.closeConns()
	close(g.closed)
	if g.keepOnClose {
		g.closeConns()
	}
	defer context.AfterFunc(ctx, g.closeConns)()
	return g.inner.Close()
}

// newGeneration returns the generation with the offsets committed for its partitions. It returns an
// error if the generation ended before these could be read, or assigned nothing to any member.
func (g *Group) newGeneration(ctx context.Context, inner *kafka.Generation) (*Generation, error) {
	g.isMember()
	g.noteMember(inner.MemberID)
	done := make(chan struct{})
	gen := &Generation{ID: inner.ID, Assignments: map[string][]Assignment{}, done: done}
	gen.commit = func(ctx context.Context, topic string, marks map[int]Mark) error {
		return g.client.commit(ctx, inner, topic, marks)
	}
	ours := map[string][]int{}
	for topic, as := range inner.Assignments {
		for _, a := range as {
			ours[topic] = append(ours[topic], a.ID)
		}
	}
	inner.Start(func(ctx context.Context) {
		<-ctx.Done()
		close(done)
	})
	inner.Start(g.watchPartitions)
	backoff := jitter.Backoff{Min: 100 * time.Millisecond, Max: 5 * time.Second}
	for {
		err := g.fillAssignments(ctx, gen, inner.GroupID, ours)
		if err == nil {
			return gen, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-done:
			return nil, err
		case <-time.After(backoff.Next()):
		}
	}
}

// fillAssignments adds the committed offsets to a generation. It returns an error if the generation
// assigned nothing to any member.
func (g *Group) fillAssignments(ctx context.Context, gen *Generation, group string, ours map[string][]int) error {
	if len(ours) == 0 {
		nothing, err := g.assignedNothing(ctx)
		if nothing {
			err = errNothingAssigned
		}
		return err
	}
	// kafka-go has already read the offsets, but drops the notes.
	marks, err := g.client.fetchMarks(ctx, group, ours)
	if err != nil {
		return err
	}
	for topic, partitions := range ours {
		for _, p := range partitions {
			gen.Assignments[topic] = append(gen.Assignments[topic], Assignment{Partition: p, Mark: marks[topic][p]})
		}
	}
	return nil
}

// errNothingAssigned says that a generation must be ignored, because all members would give up
// their partitions for no reason.
var errNothingAssigned = errors.New("it gives nobody any partition")

// Done is closed when the generation has ended.
func (g *Generation) Done() <-chan struct{} { return g.done }

// Commit commits the marks of a topic's partitions. It fails once the generation has ended.
func (g *Generation) Commit(ctx context.Context, topic string, marks map[int]Mark) error {
	if len(marks) == 0 {
		return nil
	}
	if err := g.commit(ctx, topic, marks); err != nil {
		return fmt.Errorf("commit offsets of topic %q in generation %d: %w", topic, g.ID, err)
	}
	return nil
}
