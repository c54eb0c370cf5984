package stream

import (
	"sync"
	"time"
)

// sparseEvery is how often Sparse lets a warning through.
const sparseEvery = time.Minute

// Sparse lets the first of many similar warnings through, and then one per minute: while Kafka is
// down, each of a thousand partitions would log the same every few seconds. The zero value is ready
// to use, and safe for concurrent use.
type Sparse struct {
	mu   sync.Mutex // guards all below
	last time.Time
	held int // warnings held back since
}

// Say calls say, which logs a warning, with the number of warnings held back since the last one; or
// it holds this one back and counts it.
func (s *Sparse) Say(say func(since int)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.last.IsZero() && time.Since(s.last) < sparseEvery {
		s.held++
		return
	}
	say(s.held)
	s.last, s.held = time.Now(), 0
}
