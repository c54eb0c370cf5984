// Package collector is the role that receives events: Segment's Tracking API
// over HTTP, in front of the events topic. It is for SDKs, which need nothing
// but another host name.
//
// It promises that a request answered 200 is in Kafka, acknowledged by all
// in-sync replicas, and that what cannot be taken just now is answered 503
// with Retry-After, never 200 and never 400, so that an SDK sends it again.
// Memory is bounded: bytes in flight are counted from the first byte read
// until Kafka's client lets go of them, and when there are too many, requests
// are refused before they are read. A request is taken whole or not at all,
// but for one whose answer was 503 or lost: any of its events may be in the
// log, and the SDK's retry brings the same messageIds.
//
// If it is killed at any point, requests not yet answered are lost to it; the
// SDK retries them. It keeps nothing on disk, removes no duplicates, and logs
// neither bodies nor keys.
package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/stream"
)

// Config tunes a collector. Zero values take the defaults.
type Config struct {
	// Listen is the host:port to serve; port 0 is any free one.
	Listen string
	// Topic is the events topic; for the log only: the producer knows it.
	Topic string
	// MaxInFlight bounds the bytes of requests in flight, as read and as
	// produced together. Default: 256 MiB.
	MaxInFlight int64
	// AnswerWithin is how long a request waits for Kafka before it is
	// answered 503. Default: 8s; the least patient SDKs wait for ten.
	AnswerWithin time.Duration
	// GiveUpAfter is how long Kafka's client may go on with a request that was
	// answered 503; its bytes count as in flight until then. Default: 2m.
	GiveUpAfter time.Duration
	// HeaderTimeout and BodyTimeout bound how long a client may take to send
	// a request's header, and all of it. Default: 10s and 30s.
	HeaderTimeout, BodyTimeout time.Duration
	// Drain bounds how long requests in flight may take at shutdown.
	// Default: 20s.
	Drain time.Duration
	// TrustedProxies are the addresses whose X-Forwarded-For is believed.
	// Default: none.
	TrustedProxies []netip.Prefix
}

func (cfg *Config) setDefaults() {
	set(&cfg.MaxInFlight, 256<<20) // 256 MiB
	set(&cfg.AnswerWithin, 8*time.Second)
	set(&cfg.GiveUpAfter, 2*time.Minute)
	set(&cfg.HeaderTimeout, 10*time.Second)
	set(&cfg.BodyTimeout, 30*time.Second)
	set(&cfg.Drain, 20*time.Second)
}

func set[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// Producer writes records to the events topic; *stream.Producer is one. When
// Produce returns nil, all in-sync replicas have all records. It must return
// when ctx ends.
type Producer interface {
	Produce(ctx context.Context, records ...stream.Record) error
}

// Deps is what a collector needs.
type Deps struct {
	Catalog  *catalog.Live
	Producer Producer
	// Loaded is closed when the catalog was read to its end for the first
	// time. Until then no key can be called unknown: requests are answered
	// 503. nil: it is loaded.
	Loaded <-chan struct{}
	// Ping tells whether Kafka answers; for Ready. nil: not asked.
	Ping    func(context.Context) error
	Log     *slog.Logger
	Metrics prometheus.Registerer // nil: none
}

// Collector is the role. Its methods are safe for concurrent use; Run is
// called once.
type Collector struct {
	cfg      Config
	deps     Deps
	metrics  *metrics
	inFlight budget
	parsers  parsers
	producer health
	gate     gate
	addr     atomic.Pointer[string]
	draining atomic.Bool
	// detached returns a context for work that outlives its request; cut ends
	// all of them.
	detached func() (context.Context, context.CancelFunc)
	cut      context.CancelFunc
}

// New returns a collector that is not listening yet.
func New(cfg Config, deps Deps) (*Collector, error) {
	cfg.setDefaults()
	if deps.Catalog == nil || deps.Producer == nil {
		return nil, errors.New("new collector: a catalog and a producer are needed")
	}
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	c := &Collector{cfg: cfg, deps: deps, parsers: newParsers()}
	c.inFlight.max = cfg.MaxInFlight
	c.producer.log = deps.Log.With("topic", cfg.Topic)
	var err error
	if c.metrics, err = newMetrics(deps.Metrics, c.inFlight.used.Load); err != nil {
		return nil, fmt.Errorf("register the collector's metrics: %w", err)
	}
	base, cut := context.WithCancel(context.Background())
	c.cut = cut
	c.detached = func() (context.Context, context.CancelFunc) {
		return context.WithTimeout(base, cfg.GiveUpAfter)
	}
	return c, nil
}

// Addr returns the address it listens on, "" before it does.
func (c *Collector) Addr() string {
	if addr := c.addr.Load(); addr != nil {
		return *addr
	}
	return ""
}

// Ready tells whether requests can be taken: the catalog is known, Kafka
// answers, and it is not draining.
func (c *Collector) Ready(ctx context.Context) error {
	switch {
	case c.draining.Load():
		return errors.New("the collector is draining")
	case !c.loaded():
		return errors.New("the catalog is not loaded yet")
	case c.deps.Ping == nil:
		return nil
	}
	if err := c.deps.Ping(ctx); err != nil {
		return fmt.Errorf("reach Kafka: %w", err)
	}
	return nil
}

func (c *Collector) loaded() bool {
	if c.deps.Loaded == nil {
		return true
	}
	select {
	case <-c.deps.Loaded:
		return true
	default:
		return false
	}
}

// Run listens and serves until ctx ends; then it takes no more requests,
// finishes those in flight within Config.Drain, and returns nil.
func (c *Collector) Run(ctx context.Context) error {
	defer c.cut()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen on collector.listen %q: %w", c.cfg.Listen, err)
	}
	addr := listener.Addr().String()
	c.addr.Store(&addr)
	server := &http.Server{
		Handler:           c.Handler(),
		ReadHeaderTimeout: c.cfg.HeaderTimeout,
		ReadTimeout:       c.cfg.BodyTimeout,
		WriteTimeout:      c.cfg.BodyTimeout + c.cfg.AnswerWithin + 10*time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10, // 64 KiB: a pixel's query holds an event
		ErrorLog:          slog.NewLogLogger(c.deps.Log.Handler(), slog.LevelDebug),
	}
	c.deps.Log.Info("collector listens", "addr", addr, "topic", c.cfg.Topic)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve collector.listen %q: %w", c.cfg.Listen, err)
	case <-ctx.Done():
	}
	c.drain(ctx, server)
	<-served
	return nil
}

// drain ends what runs, in order: 1. intake  2. requests  3. what Kafka's
// client still holds of requests already answered.
func (c *Collector) drain(ctx context.Context, server *http.Server) {
	start := time.Now()
	c.draining.Store(true)
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.cfg.Drain)
	defer cancel()
	if err := server.Shutdown(bounded); err != nil {
		_ = server.Close() // cuts what is left
	}
	idle := c.gate.close()
	select {
	case <-idle:
	case <-bounded.Done():
		c.cut()
		<-idle
	}
	c.deps.Log.Info("collector drained", "took", time.Since(start), "in_time", bounded.Err() == nil)
}
