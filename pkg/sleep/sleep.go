// Package sleep waits as time.Sleep does, but no longer than a context lasts.
//
// It is for every loop that waits for nothing but time. It promises that nothing is left behind when
// the context ends. It spreads no waits: pkg/jitter does.
package sleep

import (
	"context"
	"time"
)

// For waits for d, or until ctx ends; then it returns ctx's error.
func For(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
