package stream

import (
	"context"
	"fmt"
	"time"

	"github.com/sealift/sealift/pkg/jitter"
)

// patience is for how long a command waits for brokers: most restarts, and every
// election, are over by then.
const patience = 2 * time.Minute

// Patiently calls op again for up to two minutes while it fails by what may pass,
// such as a leader that changes or a broker that restarts. It is for commands
// that would have to begin anew; roles wait for ever. Op is to begin where it is.
func Patiently[T any](ctx context.Context, op func() (T, error)) (T, error) {
	began, backoff := time.Now(), jitter.Backoff{Min: 100 * time.Millisecond, Max: 5 * time.Second}
	for {
		v, err := op()
		if !mayPass(err) || ctx.Err() != nil {
			return v, err
		}
		if waited := time.Since(began); waited > patience {
			return v, fmt.Errorf("tried again for %s: %w", waited.Round(time.Second), err)
		}
		if ended := backoff.Wait(ctx); ended != nil {
			return v, ended
		}
	}
}
