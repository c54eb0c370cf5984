package collector

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// unpacedBytes is how many bytes may wait for Kafka whatever its pace, which is not known after
	// a pause.
	unpacedBytes = 8 << 20 // 8 MiB
	// requestOverhead is what a request counts for in addition to its body: thousands of single
	// events hold few bytes, but still take time.
	requestOverhead = 2 << 10 // 2 KiB
	// maxPaceWait is how long a request may have to wait at Kafka's pace if there is no spool.
	maxPaceWait = 2 * time.Second
	// paceWindow is the time over which acknowledged bytes are added up to compute the pace.
	paceWindow = time.Second
)

// pace tells whether a new request would wait too long: it compares the bytes that wait for an
// answer with the bytes acknowledged per second. Otherwise, with more requests than can be served,
// the wait would grow to Config.AnswerWithin, and then all of them would be answered 503, stored
// all the same, and sent again.
type pace struct {
	maxWait time.Duration // the longest wait
	waiting atomic.Int64  // bytes

	mu             sync.Mutex
	windowStart    time.Time // guarded by mu; when acked was last reset
	acked          int64     // guarded by mu; bytes
	bytesPerSecond float64   // guarded by mu; bytes per second acknowledged in the period before that
}

// admits tells whether one more request may wait.
func (p *pace) admits() bool {
	waiting := p.waiting.Load()
	if waiting < unpacedBytes {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return float64(waiting) < p.bytesPerSecond*p.maxWait.Seconds()
}

// enter counts a body that is now waiting.
func (p *pace) enter(bytes int) { p.waiting.Add(int64(bytes)) }

// leave says that a body no longer waits, and whether Kafka has it.
func (p *pace) leave(bytes int, acked bool) {
	p.waiting.Add(-int64(bytes))
	if !acked {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.acked += int64(bytes)
	if d := now.Sub(p.windowStart); d >= paceWindow {
		p.bytesPerSecond, p.acked, p.windowStart = float64(p.acked)/d.Seconds(), 0, now
	}
}
