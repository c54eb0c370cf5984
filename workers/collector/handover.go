package collector

import (
	"context"
	"sync"
	"time"
)

// handOverFor is how long requests wait for the end of the spool at most; those
// that come later go into it. A chunk takes milliseconds.
const handOverFor = time.Second

// handover is the end of a detour: the last entries of the spool are on their
// way to Kafka, and requests wait for that instead of going behind them. Else a
// spool would stay in use for as long as anybody sends. The zero value is none.
type handover struct {
	mu    sync.Mutex
	over  chan struct{} // guarded by mu; nil: none goes on; closed when it is over
	timer *time.Timer   // guarded by mu; ends it
}

// begin begins a handover, unless one goes on.
func (h *handover) begin() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over != nil {
		return
	}
	h.over = make(chan struct{})
	h.timer = time.AfterFunc(handOverFor, h.end)
}

// end lets go those who wait.
func (h *handover) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over == nil {
		return
	}
	h.timer.Stop()
	close(h.over)
	h.over = nil
}

// wait waits for the end of a handover, if one goes on.
func (h *handover) wait(ctx context.Context) {
	h.mu.Lock()
	over := h.over
	h.mu.Unlock()
	if over == nil {
		return
	}
	select {
	case <-over:
	case <-ctx.Done():
	}
}
