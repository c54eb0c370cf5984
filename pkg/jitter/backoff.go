package jitter

import (
	"context"
	"time"

	"github.com/sealift/sealift/pkg/sleep"
)

// Backoff computes the waits between retries of something that fails. They double from Min to Max,
// and each is shortened at random by up to a half, so no wait is longer than Max. A Backoff is for
// one goroutine and one series of tries.
type Backoff struct {
	Min, Max time.Duration // Min must be positive, Max not less than Min

	next time.Duration // the next wait before it is shortened; 0: Min
}

// Next returns how long to wait before the next try.
func (b *Backoff) Next() time.Duration {
	wait := max(b.next, b.Min)
	b.next = min(2*wait, b.Max)
	return wait/2 + N(wait-wait/2)
}

// Wait waits for the duration that Next returns, or until ctx ends; then it returns ctx's error.
func (b *Backoff) Wait(ctx context.Context) error { return sleep.For(ctx, b.Next()) }

// Reset starts a new series of tries: the next wait is Min again.
func (b *Backoff) Reset() { b.next = 0 }
