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

// transport is a transport of kafka-go, which is replaced whenever it lacks something. kafka-go's
// transport learns only at creation which topics to ask the brokers about, asks about all topics of
// the cluster if there are none, and takes a partition's leader for the same until its metadata is
// refreshed.
type transport struct {
	open       func(topics []string) *kafka.Transport
	addr       net.Addr
	refreshing chan struct{} // of capacity 1; whoever sends to it owns pacing until receiving from it
	pacing     pacing        // of refreshes

	mu      sync.Mutex // guards all below, and users of each
	current *topicTransport
	closed  bool
}

// topicTransport is a kafka-go transport that knows some topics.
type topicTransport struct {
	*kafka.Transport
	topics []string
	users  int // requests in flight
}

func newTransport(addr net.Addr, open func(topics []string) *kafka.Transport) *transport {
	none := []string{} // nil would mean all
	return &transport{open: open, addr: addr, refreshing: make(chan struct{}, 1), current: &topicTransport{Transport: open(none), topics: none}}
}

// RoundTrip implements kafka.RoundTripper. Every use of a topic begins with a metadata request for
// its partitions, by which the topic becomes known.
func (t *transport) RoundTrip(ctx context.Context, addr net.Addr, req kafka.Request) (kafka.Response, error) {
	if m, ok := req.(*metadata.Request); ok {
		if err := t.ensureTopics(ctx, m.TopicNames); err != nil {
			return nil, err
		}
	}
	t.mu.Lock()
	c := t.current
	c.users++
	t.mu.Unlock()
	res, err := c.RoundTrip(ctx, addr, req)
	t.mu.Lock()
	c.users--
	idle := c != t.current && c.users == 0
	t.mu.Unlock()
	if idle {
		c.CloseIdleConnections()
	}
	return res, err
}

// ensureTopics makes sure that the topics are known.
func (t *transport) ensureTopics(ctx context.Context, topics []string) error {
	t.mu.Lock()
	known := len(union(t.current.topics, topics)) == len(t.current.topics)
	t.mu.Unlock()
	if known {
		return nil
	}
	return t.refresh(ctx, topics, false)
}

// refresh fetches the brokers' current metadata, with topics added, unless that was just done: see
// pacing, also for electing. If no broker answers, the known metadata stays.
func (t *transport) refresh(ctx context.Context, topics []string, electing bool) error {
	select {
	case t.refreshing <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-t.refreshing }()
	t.mu.Lock()
	previous := t.current
	t.mu.Unlock()
	all := union(previous.topics, topics)
	newTopics := len(all) > len(previous.topics)
	if !t.pacing.allow(time.Now(), newTopics, electing) {
		return t.pacing.lastErr // another caller has just refreshed it
	}
	next := &topicTransport{Transport: t.open(all), topics: all}
	_, err := next.RoundTrip(ctx, t.addr, &metadata.Request{TopicNames: []string{}})
	if ctx.Err() == nil {
		t.pacing.record(time.Now(), newTopics, err)
	}
	t.mu.Lock()
	if err == nil && t.closed {
		err = net.ErrClosed
	}
	if err == nil {
		t.current = next
	}
	idle := previous.users == 0
	t.mu.Unlock()
	switch {
	case err != nil:
		next.CloseIdleConnections()
	case idle:
		previous.CloseIdleConnections()
	}
	return err
}

// close closes the connections as soon as they are idle.
func (t *transport) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	t.current.CloseIdleConnections()
}

// union returns a plus those elements of b that are not in a.
func union(a, b []string) []string {
	all := slices.Clone(a)
	for _, s := range b {
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}

// leaderMayHaveMoved reports whether, after that error, a partition's leader may have changed.
func leaderMayHaveMoved(err error) bool {
	var code kafka.Error
	if !errors.As(err, &code) {
		return err != nil // the broker is down
	}
	switch code {
	case kafka.NotLeaderForPartition, kafka.LeaderNotAvailable, kafka.BrokerNotAvailable, kafka.ReplicaNotAvailable,
		kafka.FencedLeaderEpoch, kafka.UnknownLeaderEpoch, kafka.KafkaStorageError, kafka.UnknownTopicOrPartition:
		return true
	}
	return false
}
