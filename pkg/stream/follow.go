package stream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealift/sealift/pkg/jitter"
)

// Follow reads the whole topic from its start and continues forever. It calls fn with the records
// of every fetch that returned any, one call at a time; records of a partition come in order, and
// are valid until fn returns. caughtUp is called once, never during fn, when everything that the
// topic held at the start has been passed to fn.
//
// It waits while brokers are down, and while a batch cannot be read, which it logs as an error. It
// returns the error of fn, or that of ctx.
func (c *Client) Follow(ctx context.Context, topic string, fn func([]Record) error, caughtUp func()) error {
	f := &follower{client: c, topic: topic, fn: fn, caughtUp: caughtUp}
	bounds, err := f.bounds(ctx)
	if err != nil {
		return err
	}
	f.behind = len(bounds)
	group, ctx := errgroup.WithContext(ctx)
	for p, b := range bounds {
		group.Go(func() error { return f.follow(ctx, p, b.First, b.End) })
	}
	return group.Wait()
}

// follower is one call of Follow.
type follower struct {
	client   *Client
	topic    string
	fn       func([]Record) error
	caughtUp func()

	mu     sync.Mutex // serialises fn and caughtUp, and guards behind
	behind int        // partitions of which not everything has been passed that they held at the start
}

func (f *follower) bounds(ctx context.Context) (map[int]Bounds, error) {
	return retryForever(ctx, f.client, "reading topic "+f.topic, func() (map[int]Bounds, error) { return f.client.Bounds(ctx, f.topic) })
}

// follow reads a partition from offset on; end is what it held at the start.
func (f *follower) follow(ctx context.Context, partition int, offset, end int64) error {
	fetcher := f.client.NewFetcher(f.topic, partition)
	for behind := true; ; {
		if behind && offset >= end {
			behind = false
			f.noteCaughtUp()
		}
		got, err := retryForever(ctx, f.client, "reading topic "+f.topic, func() (Fetched, error) { return fetcher.Fetch(ctx, offset, FetchOptions{}) })
		if errors.Is(err, ErrOffsetOutOfRange) {
			if offset, err = f.skipDeleted(ctx, partition, offset); err != nil {
				return err
			}
			continue
		}
		if err == nil {
			err = f.pass(got.Records)
		}
		if err != nil {
			return err
		}
		if behind && got.Next == offset && got.HighWatermark >= end {
			// The tail was compacted away, so there is nothing more to wait for. A new leader that
			// does not know the end yet reports a lower high watermark.
			end = offset
		}
		offset = got.Next
	}
}

// skipDeleted returns the first offset that a partition still holds, if retention deleted records of
// a compacted topic: newer ones supersede them.
func (f *follower) skipDeleted(ctx context.Context, partition int, offset int64) (int64, error) {
	now, err := f.bounds(ctx)
	if err != nil {
		return offset, err
	}
	if now[partition].First <= offset {
		return offset, fmt.Errorf("follow topic %q: %w", f.topic, ErrOffsetOutOfRange)
	}
	return now[partition].First, nil
}

func (f *follower) pass(records []Record) error {
	if len(records) == 0 {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fn(records)
}

func (f *follower) noteCaughtUp() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.behind--; f.behind == 0 {
		f.caughtUp()
	}
}

// retryForever repeats op with backoff until it succeeds, ctx ends, or it fails with
// ErrOffsetOutOfRange.
func retryForever[T any](ctx context.Context, c *Client, what string, op func() (T, error)) (T, error) {
	backoff := jitter.Backoff{Min: 100 * time.Millisecond, Max: 5 * time.Second}
	var warnings WarningLimiter
	for {
		v, err := op()
		if err == nil || errors.Is(err, ErrOffsetOutOfRange) {
			return v, err
		}
		if ctx.Err() != nil {
			return v, ctx.Err()
		}
		warnings.Do(func(suppressed int) {
			if errors.Is(err, ErrBatch) || errors.Is(err, ErrBatchTooLarge) {
				c.log.ErrorContext(ctx, "the topic cannot be read, retrying", "doing", what, "err", err, "suppressed", suppressed)
			} else {
				c.log.WarnContext(ctx, "kafka is down, retrying", "doing", what, "err", err, "suppressed", suppressed)
			}
		})
		if ended := backoff.Wait(ctx); ended != nil {
			return v, ended
		}
	}
}
