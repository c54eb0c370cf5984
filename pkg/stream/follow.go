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
	bounds, err := retryForever(ctx, c, "reading topic "+topic, func() (map[int]Bounds, error) { return c.Bounds(ctx, topic) })
	if err != nil {
		return err
	}
	var mu sync.Mutex // serialises fn and guards pending
	pending := len(bounds)
	passed := func() {
		mu.Lock()
		defer mu.Unlock()
		if pending--; pending == 0 {
			caughtUp()
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	for p, b := range bounds {
		group.Go(func() error {
			f := c.NewFetcher(topic, p)
			offset, behind := b.First, true
			for {
				if behind && offset >= b.End {
					behind = false
					passed()
				}
				got, err := retryForever(ctx, c, "reading topic "+topic, func() (Fetched, error) { return f.Fetch(ctx, offset, FetchOptions{}) })
				if errors.Is(err, ErrOffsetOutOfRange) {
					// Retention deleted the records of a compacted topic: newer ones supersede
					// them.
					now, err := retryForever(ctx, c, "reading topic "+topic, func() (map[int]Bounds, error) { return c.Bounds(ctx, topic) })
					if err != nil {
						return err
					}
					if now[p].First > offset {
						offset = now[p].First
						continue
					}
					return fmt.Errorf("follow topic %q: %w", topic, ErrOffsetOutOfRange)
				}
				if err != nil {
					return err
				}
				if len(got.Records) > 0 {
					mu.Lock()
					err = fn(got.Records)
					mu.Unlock()
				}
				if err != nil {
					return err
				}
				if behind && got.Next == offset && got.HighWatermark >= b.End {
					// The tail was compacted away, so there is nothing more to wait for. A new
					// leader that does not know the end yet reports a lower high watermark.
					b.End = offset
				}
				offset = got.Next
			}
		})
	}
	return group.Wait()
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
