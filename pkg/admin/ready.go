package admin

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// check is one thing that must answer before the process is ready.
type check struct {
	name  string
	probe func(context.Context) error
	// flight lets at most one probe run at a time, however many requests come in and however long
	// it hangs.
	flight singleflight.Group
}

// Result is the outcome of one check, as /readyz reports it.
type Result struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Error  string `json:"error,omitempty"`
	TookMS int64  `json:"took_ms"`
}

// Readiness is the answer of /readyz; the status is 200 if Ready, else 503.
type Readiness struct {
	Ready    bool     `json:"ready"`
	Draining bool     `json:"draining,omitempty"`
	Checks   []Result `json:"checks"`
}

// Check adds a named probe to /readyz; the probe returns nil if the service answers. Check may be
// called while the server runs, and the probe may be called from any goroutine.
func (s *Server) Check(name string, probe func(context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checks = append(s.checks, &check{name: name, probe: probe})
}

// checkTimeout bounds each check.
const checkTimeout = 3 * time.Second

// Ready runs all checks concurrently, each bounded by checkTimeout. Without any it is not ready: the
// server runs before the process has added its first one.
func (s *Server) Ready(ctx context.Context) Readiness {
	s.mu.Lock()
	checks := append([]*check(nil), s.checks...)
	s.mu.Unlock()

	r := Readiness{Ready: len(checks) > 0, Draining: s.draining.Load(), Checks: make([]Result, len(checks))}
	var wg sync.WaitGroup
	for i, c := range checks {
		wg.Go(func() { r.Checks[i] = c.run(ctx, checkTimeout) })
	}
	wg.Wait()
	for _, c := range r.Checks {
		r.Ready = r.Ready && c.OK
	}
	r.Ready = r.Ready && !r.Draining
	return r
}

func (c *check) run(ctx context.Context, timeout time.Duration) Result {
	begin := time.Now()
	done := c.flight.DoChan("", func() (_ any, err error) {
		// A panic in a probe means that the service does not answer; it must not end the process.
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("probe panicked: %v", p)
			}
		}()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
		defer cancel()
		return nil, c.probe(ctx)
	})
	// A probe may ignore its context, so do not wait for it.
	late := time.NewTimer(timeout + 100*time.Millisecond)
	defer late.Stop()
	r := Result{Name: c.name}
	select {
	case res := <-done:
		r.OK = res.Err == nil
		if res.Err != nil {
			r.Error = res.Err.Error()
		}
	case <-late.C:
		r.Error = fmt.Sprintf("no answer in %v", timeout)
	}
	r.TookMS = time.Since(begin).Milliseconds()
	return r
}

func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	ready := s.Ready(r.Context())
	status := http.StatusOK
	if !ready.Ready {
		status = http.StatusServiceUnavailable
	}
	writeJSON(w, status, ready)
}
