package collector

import (
	"sync"
	"time"
)

// handoverTimeout is how long requests wait for the end of the spool at most; those that come later
// go into it. A chunk takes milliseconds.
const handoverTimeout = time.Second

// handover is the end of a detour: while the last entries of the spool are on their way to Kafka,
// requests wait for that instead of going behind them. Otherwise a spool would stay in use for as
// long as anybody sends. The zero value is idle.
type handover struct {
	mu    sync.Mutex
	done  chan struct{} // guarded by mu; closed at the handover's end; nil: none is going on
	timer *time.Timer   // guarded by mu; ends it
}

// begin begins a handover, unless one is going on.
func (h *handover) begin() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.done != nil {
		return
	}
	h.done = make(chan struct{})
	h.timer = time.AfterFunc(handoverTimeout, h.end)
}

// end ends the handover and releases those who wait for it.
func (h *handover) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.done == nil {
		return
	}
	h.timer.Stop()
	close(h.done)
	h.done = nil
}

// wait waits for the end of a handover, if one is going on.
func (h *handover) wait() {
	h.mu.Lock()
	done := h.done
	h.mu.Unlock()
	if done != nil {
		<-done
	}
}
