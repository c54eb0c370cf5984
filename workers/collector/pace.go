package collector

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// freely is how many bytes may wait for Kafka whatever its pace: that is not
	// known after a pause.
	freely = 8 << 20 // 8 MiB
	// perRequest is what a request counts for beside its body: thousands of
	// single events hold few bytes, and take their time all the same.
	perRequest = 2 << 10 // 2 KiB
	// longestWait is that of a request without a spool, at Kafka's pace.
	longestWait = 2 * time.Second
	// paceOver is how long acknowledged bytes are added up for a pace.
	paceOver = time.Second
)

// pace tells whether a request that came now would wait too long: how many bytes wait
// for their answers, against how many were acknowledged a second. With more requests
// than can be served the wait would otherwise grow up to Config.AnswerWithin, after
// which all would be answered 503, and be stored all the same, and sent again.
type pace struct {
	within  time.Duration // the longest wait
	waiting atomic.Int64  // bytes

	mu     sync.Mutex
	since  time.Time // guarded by mu; when acked was 0
	acked  int64     // guarded by mu; bytes
	second float64   // guarded by mu; bytes acknowledged a second before that
}

// admits tells whether one more request may wait.
func (p *pace) admits() bool {
	waiting := p.waiting.Load()
	if waiting < freely {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return float64(waiting) < p.second*p.within.Seconds()
}

// enter counts a body that waits from now on.
func (p *pace) enter(bytes int) { p.waiting.Add(int64(bytes)) }

// leave says that it waits no more, and whether Kafka has it.
func (p *pace) leave(bytes int, acked bool) {
	p.waiting.Add(-int64(bytes))
	if !acked {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.acked += int64(bytes)
	if d := now.Sub(p.since); d >= paceOver {
		p.second, p.acked, p.since = float64(p.acked)/d.Seconds(), 0, now
	}
}
