package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"
)

// watchPartitions returns when a topic has another number of partitions than this member, as the
// leader, has divided. That ends the generation and starts a new one. kafka-go's own watcher
// compares with what it sees after the generation has begun, so it would never notice partitions
// that were added in between. And only a leader that joins again makes the brokers ask for a new
// division.
func (g *Group) watchPartitions(ctx context.Context) {
	ticker := time.NewTicker(partitionCheckInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		divided, leads := g.balancer.lastPartitionCounts()
		for _, topic := range g.topics {
			if !leads {
				break
			}
			n, err := g.client.Partitions(ctx, topic)
			if err != nil {
				break // the next tick tries again; if the topic is missing, there is nothing to divide
			}
			if n != divided[topic] {
				g.client.log.InfoContext(ctx, "the number of partitions changed", "group", g.id, "topic", topic, "partitions", n, "before", divided[topic])
				return
			}
		}
	}
}

// partitionCheckInterval is how often a group's leader checks the number of partitions.
const partitionCheckInterval = 5 * time.Second

// waitForTopics returns an error if a topic is missing for more than a moment. Then this member
// does not join: a leader that did would divide nothing, so that all members lost their partitions,
// and kafka-go would make the brokers create the topic with their own number of partitions.
// waitForTopics tries for longer than metadataTTL, since all answers within that time may come from
// the same metadata.
func (g *Group) waitForTopics() error {
	for _, topic := range g.topics {
		for tries := 0; ; tries++ {
			_, err := g.client.Partitions(g.connCtx, topic)
			if !errors.Is(err, ErrNoTopic) {
				break // joining reports other errors itself
			}
			if tries == int(metadataTTL/time.Second)+1 {
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

// assignedNothing reports whether a generation assigned nothing to any member, because its leader
// saw no topic. An error means that this is unknown.
func (g *Group) assignedNothing(ctx context.Context) (bool, error) {
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

// ErrRebalancing says that a group is rebalancing, or that its coordinator is being determined.
var ErrRebalancing = errors.New("the consumer group is rebalancing")

// Unowned returns the partitions of the topic that are assigned to no member of the group, in
// order; all of them if the group has no members. It returns ErrRebalancing while that is being
// decided.
func (c *Client) Unowned(ctx context.Context, group, topic string) ([]int, error) {
	n, err := c.Partitions(ctx, topic)
	if err != nil {
		return nil, err
	}
	res, err := callAPI(ctx, c.api(10*time.Second).DescribeGroups, &kafka.DescribeGroupsRequest{GroupIDs: []string{group}})
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
