package stream

import (
	"context"
	"fmt"
	"time"

	"github.com/sealift/sealift/pkg/jitter"
)

// maxRetryTime is how long a command waits for brokers. Most restarts and all elections are over by
// then.
const maxRetryTime = 2 * time.Minute

// RetryTransient repeats op for up to two minutes while it fails with an error that may pass, for
// instance because a leader changes or a broker restarts. It is for commands that would otherwise
// have to start over; roles wait forever. op must continue where it was.
func RetryTransient[T any](ctx context.Context, op func() (T, error)) (T, error) {
	began, backoff := time.Now(), jitter.Backoff{Min: 100 * time.Millisecond, Max: 5 * time.Second}
	for {
		v, err := op()
		if !isTransient(err) || ctx.Err() != nil {
			return v, err
		}
		if waited := time.Since(began); waited > maxRetryTime {
			return v, fmt.Errorf("tried again for %s: %w", waited.Round(time.Second), err)
		}
		if ended := backoff.Wait(ctx); ended != nil {
			return v, ended
		}
	}
}
