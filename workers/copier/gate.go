package copier

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sealift/sealift/pkg/jitter"
)

// dependency is something on the operator's side that copying depends on.
type dependency struct {
	name string
	ping func(context.Context) error
}

// awayError is the error of a try that a dependency interrupted. It says nothing about the file or
// its destination.
type awayError struct {
	dep *dependency
	err error
}

func (a *awayError) Error() string { return fmt.Sprintf("%s is down: %v", a.dep.name, a.err) }
func (a *awayError) Unwrap() error { return a.err }

// gate holds back all copying while a dependency is away, so that jobs wait instead of failing one
// after another. It is safe for concurrent use.
type gate struct {
	log     *slog.Logger
	waiting prometheus.Gauge // 1 while something is away
	probes  sync.WaitGroup

	mu   sync.Mutex            // guards all below
	away map[*dependency]error // and why
	open chan struct{}         // closed while nothing is away
}

func newGate(log *slog.Logger, waits prometheus.Gauge) *gate {
	g := &gate{log: log, waiting: waits, away: map[*dependency]error{}, open: make(chan struct{})}
	close(g.open)
	return g
}

// wait returns nil once no dependency is known to be away, or ctx's error.
func (g *gate) wait(ctx context.Context) error {
	g.mu.Lock()
	open := g.open
	g.mu.Unlock()
	select {
	case <-open:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// err says which dependencies are away and why; nil if none is.
func (g *gate) err() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	var errs []error
	for dep, err := range g.away {
		errs = append(errs, fmt.Errorf("copying waits for %s: %w", dep.name, err))
	}
	return errors.Join(errs...)
}

// close shuts the gate until the dependency answers again. Probing ends with ctx; the gate's owner
// must then wait for probes.
func (g *gate) close(ctx context.Context, a *awayError) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.away[a.dep] != nil {
		return
	}
	if len(g.away) == 0 {
		g.open = make(chan struct{})
	}
	g.away[a.dep] = a.err
	g.waiting.Set(1)
	g.log.WarnContext(ctx, "copying waits", "for", a.dep.name, "err", a.err)
	g.probes.Go(func() { g.probe(ctx, a.dep) })
}

// probe pings the dependency until it answers, then opens the gate.
func (g *gate) probe(ctx context.Context, dep *dependency) {
	begun, backoff := time.Now(), jitter.Backoff{Min: 100 * time.Millisecond, Max: 5 * time.Second}
	for {
		if backoff.Wait(ctx) != nil {
			return
		}
		if err := dep.ping(ctx); err != nil {
			g.mu.Lock()
			g.away[dep] = err
			g.mu.Unlock()
			continue
		}
		g.mu.Lock()
		delete(g.away, dep)
		if len(g.away) == 0 {
			close(g.open)
			g.waiting.Set(0)
		}
		g.mu.Unlock()
		g.log.InfoContext(ctx, "copying continues", "after", time.Since(begun))
		return
	}
}
