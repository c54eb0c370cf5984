package stream

import (
	"sync"
	"time"
)

// warningInterval is how often a WarningLimiter lets a warning through.
const warningInterval = time.Minute

// WarningLimiter lets the first of many similar warnings through, and then one per minute: while
// Kafka is down, each of a thousand partitions would log the same every few seconds. The zero value
// is ready to use, and safe for concurrent use.
type WarningLimiter struct {
	mu         sync.Mutex // guards all below
	last       time.Time
	suppressed int // warnings held back since last
}

// Do calls log, which logs a warning, with the number of warnings suppressed since the last one; or
// it suppresses this one and counts it.
func (s *WarningLimiter) Do(log func(suppressed int)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.last.IsZero() && time.Since(s.last) < warningInterval {
		s.suppressed++
		return
	}
	log(s.suppressed)
	s.last, s.suppressed = time.Now(), 0
}
