package embedded

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// trimEvery trims until ctx ends.
func (k *Kafka) trimEvery(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := k.trim(ctx); err != nil && ctx.Err() == nil && k.log != nil {
				k.log.Warn("trim embedded kafka", "err", err)
			}
		}
	}
}

// trim deletes the records that every group of TrimGroups is done with. The last record of a
// partition is kept: it preserves the next offset over a kill -9.
//
// Invariant: I12 makes this safe. An offset that a worker commits is never above the ledger's
// watermark, so nothing is deleted that recovery may need. An offset without metadata was set by
// Kafka's own tools; it deletes nothing.
func (k *Kafka) trim(ctx context.Context) error {
	if k.client == nil {
		return nil
	}
	committed, err := k.lowestCommitted(ctx)
	if err != nil || len(committed) == 0 {
		return err
	}
	ends, err := k.endOffsets(ctx, committed)
	if err != nil {
		return err
	}
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.TimeoutMillis = 10_000
	for topic, parts := range committed {
		rt := kmsg.NewDeleteRecordsRequestTopic()
		rt.Topic = topic
		for p, offset := range parts {
			to := min(offset, ends[topic][p]-1)
			if to <= 0 {
				continue
			}
			rp := kmsg.NewDeleteRecordsRequestTopicPartition()
			rp.Partition, rp.Offset = p, to
			rt.Partitions = append(rt.Partitions, rp)
		}
		if len(rt.Partitions) > 0 {
			req.Topics = append(req.Topics, rt)
		}
	}
	if len(req.Topics) == 0 {
		return nil
	}
	resp, err := req.RequestWith(ctx, k.client)
	if err != nil {
		return fmt.Errorf("delete records: %w", err)
	}
	var errs []error
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			// Out of range: the partition is already trimmed to there.
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil && !errors.Is(err, kerr.OffsetOutOfRange) {
				errs = append(errs, fmt.Errorf("delete records of %s/%d: %w", t.Topic, p.Partition, err))
			}
		}
	}
	return errors.Join(errs...)
}

// lowestCommitted returns the lowest committed offset of all groups, by topic and partition.
func (k *Kafka) lowestCommitted(ctx context.Context) (map[string]map[int32]int64, error) {
	lowest := map[string]map[int32]int64{}
	for _, group := range k.groups {
		req := kmsg.NewPtrOffsetFetchRequest()
		req.Group = group
		g := kmsg.NewOffsetFetchRequestGroup()
		g.Group = group
		req.Groups = append(req.Groups, g)
		resp, err := req.RequestWith(ctx, k.client)
		if err != nil {
			return nil, fmt.Errorf("fetch offsets of group %q: %w", group, err)
		}
		for _, g := range resp.Groups {
			if err := kerr.ErrorForCode(g.ErrorCode); err != nil {
				if errors.Is(err, kerr.GroupIDNotFound) {
					continue
				}
				return nil, fmt.Errorf("fetch offsets of group %q: %w", group, err)
			}
			for _, t := range g.Topics {
				for _, p := range t.Partitions {
					if p.ErrorCode != 0 || p.Offset < 0 {
						continue
					}
					if p.Metadata == nil || *p.Metadata == "" {
						p.Offset = 0
					}
					if lowest[t.Topic] == nil {
						lowest[t.Topic] = map[int32]int64{}
					}
					if low, ok := lowest[t.Topic][p.Partition]; !ok || p.Offset < low {
						lowest[t.Topic][p.Partition] = p.Offset
					}
				}
			}
		}
	}
	return lowest, nil
}

// endOffsets returns the offset of the next record of each of the partitions.
func (k *Kafka) endOffsets(ctx context.Context, partitions map[string]map[int32]int64) (map[string]map[int32]int64, error) {
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	for topic, parts := range partitions {
		rt := kmsg.NewListOffsetsRequestTopic()
		rt.Topic = topic
		for p := range parts {
			rp := kmsg.NewListOffsetsRequestTopicPartition()
			rp.Partition, rp.Timestamp = p, -1
			rt.Partitions = append(rt.Partitions, rp)
		}
		req.Topics = append(req.Topics, rt)
	}
	resp, err := req.RequestWith(ctx, k.client)
	if err != nil {
		return nil, fmt.Errorf("list offsets: %w", err)
	}
	ends := map[string]map[int32]int64{}
	for _, t := range resp.Topics {
		ends[t.Topic] = map[int32]int64{}
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return nil, fmt.Errorf("list offsets of %s/%d: %w", t.Topic, p.Partition, err)
			}
			ends[t.Topic][p.Partition] = p.Offset
		}
	}
	return ends, nil
}
