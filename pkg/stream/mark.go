package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"
)

// Mark is what a group commits for a partition.
type Mark struct {
	Committed int64 // next offset to be read; -1 if there is none
	// Note is what was stored with the offset; Kafka's own tools store nothing. It is meant for
	// programs, and short (brokers accept 4096 bytes).
	Note string
}

// fetchMarks returns what the group has committed for the partitions.
func (c *Client) fetchMarks(ctx context.Context, group string, partitions map[string][]int) (map[string]map[int]Mark, error) {
	bad := func(err error) (map[string]map[int]Mark, error) {
		return nil, fmt.Errorf("fetch offsets of group %q: %w", group, err)
	}
	res, err := callAPI(ctx, c.api(10*time.Second).OffsetFetch, &kafka.OffsetFetchRequest{GroupID: group, Topics: partitions})
	if err != nil {
		return bad(err)
	}
	if res.Error != nil {
		return bad(res.Error)
	}
	marks := map[string]map[int]Mark{}
	for topic, asked := range partitions {
		marks[topic] = map[int]Mark{}
		for _, p := range res.Topics[topic] {
			if p.Error != nil {
				return bad(fmt.Errorf("topic %q, partition %d: %w", topic, p.Partition, p.Error))
			}
			marks[topic][p.Partition] = Mark{Committed: max(p.CommittedOffset, -1), Note: p.Metadata}
		}
		if len(marks[topic]) != len(asked) {
			return bad(fmt.Errorf("topic %q: %d of %d partitions answered", topic, len(marks[topic]), len(asked)))
		}
	}
	return marks, nil
}

// commit does what kafka-go's Generation.CommitOffsets does, but with notes.
func (c *Client) commit(ctx context.Context, gen *kafka.Generation, topic string, marks map[int]Mark) error {
	req := &kafka.OffsetCommitRequest{
		GroupID: gen.GroupID, GenerationID: int(gen.ID), MemberID: gen.MemberID,
		Topics: map[string][]kafka.OffsetCommit{},
	}
	for p, m := range marks {
		req.Topics[topic] = append(req.Topics[topic], kafka.OffsetCommit{Partition: p, Offset: m.Committed, Metadata: m.Note})
	}
	res, err := callAPI(ctx, c.api(10*time.Second).OffsetCommit, req)
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range res.Topics[topic] {
		if p.Error != nil {
			errs = append(errs, fmt.Errorf("partition %d: %w", p.Partition, p.Error))
		}
	}
	return errors.Join(errs...)
}
