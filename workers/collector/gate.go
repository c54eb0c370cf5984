package collector

import "sync"

// gate counts requests and tasks in progress and, once it is closed, signals when none is left. The
// zero value is open.
type gate struct {
	mu     sync.Mutex
	inside int           // guarded by mu
	closed chan struct{} // guarded by mu; nil while open; closed when empty
}

// enter counts one in, or returns false if the gate is closed.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed != nil {
		return false
	}
	g.inside++
	return true
}

// enterAgain counts one more in, on behalf of someone who is already inside.
func (g *gate) enterAgain() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside++
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inside--; g.inside == 0 && g.closed != nil {
		close(g.closed)
	}
}

// close lets nobody in any more; the returned channel is closed when all have left. It is called
// once.
func (g *gate) close() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = make(chan struct{})
	if g.inside == 0 {
		close(g.closed)
	}
	return g.closed
}
