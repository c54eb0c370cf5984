// Package admin serves the operators' HTTP endpoints of every Sealift process: /metrics, /healthz,
// /readyz, /version and, only if enabled, /debug/pprof.
//
// It is for monitoring systems and orchestrators. It promises to answer within the checks' timeout,
// whatever the checked services do. It does not authenticate anybody: the operator chooses where it
// listens.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Config configures a Server.
type Config struct {
	Listen string // host:port
	// Pprof serves profiles below /debug/pprof. They reveal memory and command lines, so the
	// listener must not be reachable by strangers.
	Pprof bool
	// Version is what /version answers, as JSON.
	Version map[string]string
}

// Deps are the things that a Server uses.
type Deps struct {
	Metrics prometheus.Gatherer
	Log     *slog.Logger
}

// Server is a running listener.
type Server struct {
	cfg      Config
	listener net.Listener
	http     *http.Server
	served   chan error
	draining atomic.Bool

	mu     sync.Mutex
	checks []*check // in the order they were added, guarded by mu
}

// Start listens and serves until Close.
func Start(cfg Config, deps Deps) (*Server, error) {
	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		hint := ""
		if errors.Is(err, syscall.EADDRINUSE) {
			hint = "; each process of a machine needs its own: --set admin.listen=" + withNextPort(cfg.Listen)
		}
		return nil, fmt.Errorf("listen on admin.listen %q: %w%s", cfg.Listen, err, hint)
	}
	s := &Server{cfg: cfg, listener: l, served: make(chan error, 1)}
	s.http = &http.Server{
		Handler:           s.handler(deps),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(deps.Log.Handler(), slog.LevelDebug),
	}
	go func() { s.served <- s.http.Serve(l) }()
	return s, nil
}

// withNextPort returns the address with the next port number.
func withNextPort(address string) string {
	host, port, _ := net.SplitHostPort(address) // net.Listen has parsed it
	n, _ := strconv.Atoi(port)
	if n < 1 || n >= 65535 {
		n = 9090
	}
	return net.JoinHostPort(host, strconv.Itoa(n+1))
}

func (s *Server) handler(deps Deps) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(deps.Metrics, promhttp.HandlerOpts{
		ErrorLog:      slog.NewLogLogger(deps.Log.Handler(), slog.LevelWarn),
		ErrorHandling: promhttp.ContinueOnError,
	}))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("/metrics\n/healthz\n/readyz\n/version\n"))
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, s.cfg.Version)
	})
	if s.cfg.Pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// Addr returns the host:port that it listens on.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Drain makes /readyz answer 503 from now on, because the process is ending.
func (s *Server) Drain() { s.draining.Store(true) }

// Close stops the listener and waits for the requests in flight. When ctx ends, they are cut off,
// which is not an error.
func (s *Server) Close(ctx context.Context) error {
	var err error
	if s.http.Shutdown(ctx) != nil {
		err = s.http.Close()
	}
	if served := <-s.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false) // people read the URLs in errors
	_ = e.Encode(v)        // fails only if the client has gone away
}
