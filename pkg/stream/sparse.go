package stream

import (
	"sync"
	"time"
)

// sparseEvery is how often Sparse lets a warning through.
const sparseEvery = time.Minute

// Sparse lets one of many equal warnings through, at once and then every minute: while Kafka
// is down each of a thousand partitions has the same to say every few seconds. The
// zero value is ready for use, and safe for concurrent use.
type Sparse struct {
	mu   sync.Mutex // guards all below
	last time.Time
	held int // warnings since
}

// Say calls say, which logs a warning, with how many there were since the last one
// that was let through; or counts this one for the next.
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
