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
			if err != nil && !errors.Is(err, ErrNoTopic) {
				break // the next tick asks again
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
	res, err := c.api(10*time.Second).DescribeGroups(ctx, &kafka.DescribeGroupsRequest{GroupIDs: []string{group}})
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
