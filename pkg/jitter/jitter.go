// Package jitter gives the random part of waits, so that workers that lost
// something together do not come back together: N is for every periodic loop
// of a role, Backoff for every try that follows a failed one.
//
// It promises waits that are spread evenly, and, while a simulation runs, waits
// that the simulation decides. It is not for what must be unpredictable.
package jitter

import (
	"math/rand/v2"
	"sync/atomic"
	"time"
)

var decide atomic.Pointer[func(time.Duration) time.Duration]

// N returns a duration in [0, d); d must be positive.
func N(d time.Duration) time.Duration {
	if f := decide.Load(); f != nil {
		return (*f)(d)
	}
	return rand.N(d)
}

// SetForTesting lets f answer every N of the process until restore is called.
// It may be called by any goroutine.
func SetForTesting(f func(time.Duration) time.Duration) (restore func()) {
	old := decide.Swap(&f)
	return func() { decide.Store(old) }
}
