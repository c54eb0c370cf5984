// Package jitter computes the random part of waits, so that workers that lost something at the same
// time do not all come back at the same time. N is for the periodic loops of roles, Backoff for
// retries.
//
// It promises waits that are spread evenly, and that a simulation can decide instead. It is not for
// anything that must be unpredictable.
package jitter

import (
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// override, if set, decides instead of chance.
var override atomic.Pointer[func(time.Duration) time.Duration]

// N returns a duration in [0, d); d must be positive.
func N(d time.Duration) time.Duration {
	if f := override.Load(); f != nil {
		return (*f)(d)
	}
	return rand.N(d)
}

// SetForTesting makes every N in the process return f's result until restore is called. It may be
// called from any goroutine.
func SetForTesting(f func(time.Duration) time.Duration) (restore func()) {
	old := override.Swap(&f)
	return func() { override.Store(old) }
}
