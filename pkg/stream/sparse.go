package stream

import (
	"context"
	"log/slog"
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

// Warn logs the message, or counts it for the next one that is logged.
func (s *Sparse) Warn(ctx context.Context, log *slog.Logger, msg string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.last.IsZero() && time.Since(s.last) < sparseEvery {
		s.held++
		return
	}
	if s.held > 0 {
		args = append(args, "not_logged", s.held)
	}
	s.last, s.held = time.Now(), 0
	log.WarnContext(ctx, msg, args...)
}
