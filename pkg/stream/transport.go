package stream

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/metadata"
)

// transport is kafka-go's, and a new one of it whenever that does not know what
// it has to. For kafka-go's is told once which topics to ask the brokers about,
// asks about all of the cluster if it is told none, and, until it asks again,
// believes that a partition's leader is whoever it was.
type transport struct {
	open     func(topics []string) *kafka.Transport
	addr     net.Addr
	renewing chan struct{} // of capacity 1; who has filled it owns pacing
	pacing   pacing        // of renew

	mu     sync.Mutex // guards all below, and users of each
	now    *connected
	closed bool
}

// connected is a transport of kafka-go's that knows some topics.
type connected struct {
	*kafka.Transport
	topics []string
	users  int // requests under way
}

func newTransport(addr net.Addr, open func(topics []string) *kafka.Transport) *transport {
	none := []string{} // nil would be all
	return &transport{open: open, addr: addr, renewing: make(chan struct{}, 1), now: &connected{Transport: open(none), topics: none}}
}

// RoundTrip implements kafka.RoundTripper. Whoever asks anything of a topic asks
// which partitions it has before, by which the topic comes to be known.
func (t *transport) RoundTrip(ctx context.Context, addr net.Addr, req kafka.Request) (kafka.Response, error) {
	if m, ok := req.(*metadata.Request); ok {
		if err := t.know(ctx, m.TopicNames); err != nil {
			return nil, err
		}
	}
	t.mu.Lock()
	c := t.now
	c.users++
	t.mu.Unlock()
	res, err := c.RoundTrip(ctx, addr, req)
	t.mu.Lock()
	c.users--
	idle := c != t.now && c.users == 0
	t.mu.Unlock()
	if idle {
		c.CloseIdleConnections()
	}
	return res, err
}

// know makes sure that the topics are known.
func (t *transport) know(ctx context.Context, topics []string) error {
	t.mu.Lock()
	known := len(union(t.now.topics, topics)) == len(t.now.topics)
	t.mu.Unlock()
	if known {
		return nil
	}
	return t.renew(ctx, topics, false)
}

// renew asks brokers for what they know now, of topics too, unless they were asked just
// now: see pacing, also for soon. If they do not answer, what is known stays.
func (t *transport) renew(ctx context.Context, topics []string, soon bool) error {
	select {
	case t.renewing <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-t.renewing }()
	t.mu.Lock()
	was := t.now
	t.mu.Unlock()
	all := union(was.topics, topics)
	more := len(all) > len(was.topics)
	if !t.pacing.start(time.Now(), more, soon) {
		return t.pacing.failed // somebody else just did
	}
	next := &connected{Transport: t.open(all), topics: all}
	_, err := next.RoundTrip(ctx, t.addr, &metadata.Request{TopicNames: []string{}})
	if ctx.Err() == nil {
		t.pacing.end(time.Now(), more, err)
	}
	t.mu.Lock()
	if err == nil && t.closed {
		err = net.ErrClosed
	}
	if err == nil {
		t.now = next
	}
	idle := was.users == 0
	t.mu.Unlock()
	switch {
	case err != nil:
		next.CloseIdleConnections()
	case idle:
		was.CloseIdleConnections()
	}
	return err
}

// close closes the connections when they are idle.
func (t *transport) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	t.now.CloseIdleConnections()
}

// union returns a with what b has besides.
func union(a, b []string) []string {
	all := slices.Clone(a)
	for _, s := range b {
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}

// moved tells whether, after that error, a partition's leader may be another
// than it was.
func moved(err error) bool {
	var code kafka.Error
	if !errors.As(err, &code) {
		return err != nil // the broker is away
	}
	switch code {
	case kafka.NotLeaderForPartition, kafka.LeaderNotAvailable, kafka.BrokerNotAvailable, kafka.ReplicaNotAvailable,
		kafka.FencedLeaderEpoch, kafka.UnknownLeaderEpoch, kafka.KafkaStorageError, kafka.UnknownTopicOrPartition:
		return true
	}
	return false
}
