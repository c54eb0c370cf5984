package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"
)

// watchPartitions returns, which ends the generation and calls for a new one,
// when a topic has other partitions than those that this member, as the leader,
// has divided. kafka-go's own watcher compares with what it sees once the
// generation is there: what was added in between it would never notice. And
// only a leader that joins again makes the brokers ask for a new division.
func (g *Group) watchPartitions(ctx context.Context) {
	ticker := time.NewTicker(partitionsEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		divided, leads := g.balancer.lastDivision()
		for _, topic := range g.topics {
			if !leads {
				break
			}
			n, err := g.client.Partitions(ctx, topic)
			if err != nil {
				break // the next tick asks again; without the topic, nothing is to be divided anew
			}
			if n != divided[topic] {
				g.client.log.InfoContext(ctx, "the number of partitions changed", "group", g.id, "topic", topic, "partitions", n, "before", divided[topic])
				return
			}
		}
	}
}

// partitionsEvery is how often a group's leader counts the partitions.
const partitionsEvery = 5 * time.Second

// topicsThere returns an error if a topic is missing, and not for a moment only:
// nobody joins then. A leader that did would divide nothing, so that everybody
// lost all that they have, and kafka-go would let the brokers make the topic,
// with as many partitions as they like. It asks for longer than what is known of
// topics is kept: all of that may be one answer.
func (g *Group) topicsThere() error {
	for _, topic := range g.topics {
		for tries := 0; ; tries++ {
			_, err := g.client.Partitions(g.life, topic)
			if !errors.Is(err, ErrNoTopic) {
				break // joining meets other trouble itself
			}
			if tries == int(topicsFor/time.Second)+1 {
				return err
			}
			select {
			case <-g.closed:
				return err
			case <-time.After(time.Second):
			}
		}
	}
	return nil
}

// nobodys says whether a generation gave nobody anything: its leader saw no
// topic. An error says that it is not known.
func (g *Group) nobodys(ctx context.Context) (bool, error) {
	for _, topic := range g.topics {
		n, err := g.client.Partitions(ctx, topic)
		if errors.Is(err, ErrNoTopic) {
			continue
		}
		if err != nil {
			return false, err
		}
		unowned, err := g.client.Unowned(ctx, g.id, topic)
		if err != nil || len(unowned) < n {
			return false, err
		}
	}
	return true, nil
}

// ErrRebalancing says that a group is dividing its partitions just now, or
// that the brokers are finding out which of them coordinates it.
var ErrRebalancing = errors.New("the consumer group is rebalancing")

// Unowned returns the partitions of the topic that no member of the group is
// assigned, in order; all of them if the group has no member. It returns
// ErrRebalancing while that is being decided.
func (c *Client) Unowned(ctx context.Context, group, topic string) ([]int, error) {
	n, err := c.Partitions(ctx, topic)
	if err != nil {
		return nil, err
	}
	res, err := bare(ctx, c.api(10*time.Second).DescribeGroups, &kafka.DescribeGroupsRequest{GroupIDs: []string{group}})
	if err != nil {
		return nil, fmt.Errorf("describe group %q: %w", group, err)
	}
	owned := make([]bool, n)
	for _, g := range res.Groups {
		switch {
		case g.Error == nil:
		case errors.Is(g.Error, kafka.GroupIdNotFound): // Kafka 4 says so of a group that nobody ever joined
		case errors.Is(g.Error, kafka.NotCoordinatorForGroup), errors.Is(g.Error, kafka.GroupCoordinatorNotAvailable), errors.Is(g.Error, kafka.GroupLoadInProgress):
			return nil, fmt.Errorf("describe group %q: %w: %w", group, ErrRebalancing, g.Error)
		default:
			return nil, fmt.Errorf("describe group %q: %w", group, g.Error)
		}
		switch g.GroupState {
		case "PreparingRebalance", "CompletingRebalance":
			return nil, fmt.Errorf("describe group %q: %w", group, ErrRebalancing)
		}
		for _, m := range g.Members {
			for _, t := range m.MemberAssignments.Topics {
				for _, p := range t.Partitions {
					if t.Topic == topic && p >= 0 && p < n {
						owned[p] = true
					}
				}
			}
		}
	}
	var unowned []int
	for p, o := range owned {
		if !o {
			unowned = append(unowned, p)
		}
	}
	return unowned, nil
}
