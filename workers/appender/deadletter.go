package appender

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/sealift/sealift/pkg/deadletter"
	"github.com/sealift/sealift/pkg/jitter"
	"github.com/sealift/sealift/pkg/stream"
)

// deadLetter returns the record as it is written to the dead letters: its key, value and headers
// (except those that dead letters use themselves), plus where it came from and why it is there. It
// is a copy, because a producer may still be reading it when the buffers of the fetch are reused.
func deadLetter(r *stream.Record, reason string) stream.Record {
	d := r.Clone()
	d.Time = time.Now()
	d.Headers = slices.DeleteFunc(d.Headers, func(h stream.Header) bool { return deadletter.IsReservedHeader(h.Key) })
	d.Headers = append(d.Headers,
		stream.Header{Key: deadletter.HeaderReason, Value: []byte(reason)},
		stream.Header{Key: deadletter.HeaderTopic, Value: []byte(r.Topic)},
		stream.Header{Key: deadletter.HeaderPartition, Value: strconv.AppendInt(nil, int64(r.Partition), 10)},
		stream.Header{Key: deadletter.HeaderOffset, Value: strconv.AppendInt(nil, r.Offset, 10)},
		stream.Header{Key: deadletter.HeaderTime, Value: strconv.AppendInt(nil, r.Time.UnixMilli(), 10)},
	)
	return d
}

// writeDeadLetters writes dead letters, and returns when they are safe or ctx ends. Until then
// nothing of the partition is read, and nothing that was read is thrown away.
func (p *partition) writeDeadLetters(ctx context.Context, dead []stream.Record) error {
	backoff := jitter.Backoff{Min: 200 * time.Millisecond, Max: 10 * time.Second}
	var failed error
	for {
		left, large, err := deadletter.Write(ctx, p.appender.deps.DeadLetters, dead)
		if dead = append(left, large...); len(dead) == 0 {
			if failed != nil {
				p.view.clearProblem()
			}
			return nil
		}
		if err == nil {
			err = fmt.Errorf("%w, cut short, for their topic: raise its max.message.bytes", stream.ErrRecordTooLarge)
		}
		failed = fmt.Errorf("write dead letters of partition %d: %w", p.log.Partition, err)
		if ctx.Err() != nil {
			return failed
		}
		wait := backoff.Next().Round(time.Millisecond)
		p.logger.WarnContext(ctx, "dead letters are not taken, retrying", "records", len(dead), "err", err, "in", wait)
		p.view.noteProblem(failed)
		p.rejectRequests(ctx, failed, wait)
	}
}
