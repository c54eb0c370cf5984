// Package collector is the role that receives events: Segment's Tracking API over HTTP, in front of
// the events topic. It is for SDKs, which need nothing but another host name. The analytics.js
// script itself, which Segment's snippet loads from that host, has to be served by something else.
//
// It promises that a request answered 200 is in Kafka, acknowledged by all in-sync replicas, or, if
// there is a spool and Kafka does not accept it, fsynced on the local disk, from where it goes to
// Kafka. What cannot be accepted just now is answered 503 with Retry-After, never 200 or 400, so
// that the SDK sends it again.
//
// Memory is bounded: bytes in flight are counted from the first byte read until Kafka's client
// releases them. Requests are refused before they are read when there are too many such bytes, or
// when at the pace of the acknowledgements they would wait too long.
//
// A request is accepted whole or not at all, unless its answer was 503 or got lost: then any of its
// events may be in the log, and the SDK's retry brings the same messageIds. If an event of a batch
// can never be accepted but others of the batch can, it goes to the dead letters, acknowledged like
// the rest; so does an event that Segment accepts and does not deliver.
//
// If the collector is killed at any point, it loses requests not yet answered, which the SDK
// retries. It keeps nothing on disk but the spool, whose events may then be produced twice. It
// removes no duplicates, and logs neither bodies nor keys.
package collector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/spool"
	"github.com/sealift/sealift/pkg/stream"
)

// Config tunes a collector. Zero values take the defaults.
type Config struct {
	// Listen is the host:port to serve; port 0 means any free port.
	Listen string
	// Topic is the name of the events topic, only for the log: the producer already knows it.
	Topic string
	// MaxInFlight bounds the bytes of requests in flight, both as read and as records. Default:
	// 256 MiB.
	MaxInFlight int64
	// AnswerWithin is how long a request waits for Kafka before it is answered 503. Default: 4.5s,
	// because the least patient SDK, that of .NET, waits for 5 s.
	AnswerWithin time.Duration
	// HeaderTimeout bounds how long a client may take to send a request's header. Default: 10s.
	//
	// BodyTimeout bounds how long it may take to send the whole request or, if the request is
	// larger than that, each 64 KiB of its body. Default: 30s.
	HeaderTimeout, BodyTimeout time.Duration
	// IdleTimeout bounds how long a connection may wait for its next request. Default: 2m.
	IdleTimeout time.Duration
	// Drain bounds how long requests in flight may take at shutdown. Default: 20s.
	Drain time.Duration
	// DrainDelay is how long requests are still accepted at shutdown while Ready already says no,
	// so that load balancers can notice. Drain follows. Default: 0.
	DrainDelay time.Duration
	// CertFile and KeyFile, in PEM, make it serve https instead of http. After they change,
	// the next connection uses the new ones.
	CertFile, KeyFile string
	// MaxConnections bounds open connections; further ones wait to be accepted. Default: 10,000.
	MaxConnections int
	// TrustedProxies are the addresses whose X-Forwarded-For and X-Forwarded-Host are trusted.
	// Default: none.
	TrustedProxies []netip.Prefix
	// Validate puts events that Segment answers 200 to but delivers nowhere into the dead letters:
	// those without userId and anonymousId, and track calls without event. If false, they are
	// accepted like others.
	Validate bool
	// PublicHost, host[:port][/path], is where browsers reach the collector over https. Default:
	// the host that a settings request was sent to.
	PublicHost string
	// Limit is the event rate above which requests are answered 429.
	Limit Limit
}

func (cfg *Config) setDefaults() {
	cfg.MaxInFlight = cmp.Or(cfg.MaxInFlight, 256<<20) // 256 MiB
	cfg.AnswerWithin = cmp.Or(cfg.AnswerWithin, 4500*time.Millisecond)
	cfg.HeaderTimeout = cmp.Or(cfg.HeaderTimeout, 10*time.Second)
	cfg.BodyTimeout = cmp.Or(cfg.BodyTimeout, 30*time.Second)
	cfg.IdleTimeout = cmp.Or(cfg.IdleTimeout, 2*time.Minute)
	cfg.Drain = cmp.Or(cfg.Drain, 20*time.Second)
	cfg.MaxConnections = cmp.Or(cfg.MaxConnections, 10_000)
}

// Producer writes records to a topic; *stream.Producer implements it. When Produce returns nil, all
// in-sync replicas have all records. It must return when ctx ends.
type Producer interface {
	Produce(ctx context.Context, records ...stream.Record) error
}

// Deps is what a collector needs.
type Deps struct {
	Catalog  *catalog.Live
	Producer Producer
	// DeadLetters receives the events that are answered 200 but not accepted.
	DeadLetters Producer
	// Spool keeps the events that Kafka does not accept just now, and Letters the dead letters. Run
	// empties both, and closes them at its end. nil: there is no spool.
	Spool, Letters *spool.Spool
	// Refill writes events from the spool to the events topic. It is a producer of its own so that
	// these do not share batches with Producer's. Only used with Spool.
	Refill Producer
	// Loaded is closed when the catalog has been read to its end for the first time. Until then no
	// key can be called unknown, and requests are answered 503. nil: it is loaded.
	Loaded <-chan struct{}
	// Ping tells whether Kafka answers; Ready uses it. nil: Kafka is not asked.
	Ping    func(context.Context) error
	Log     *slog.Logger
	Metrics prometheus.Registerer // nil: none
}

// Collector is the role. Its methods are safe for concurrent use; Run is called once.
type Collector struct {
	cfg           Config
	deps          Deps
	metrics       *metrics
	inFlight      budget
	pace          pace
	parsers       parsers
	limits        *limits
	eventsHealth  pathHealth
	lettersHealth pathHealth
	gate          gate
	handover      handover
	spooled       spooledKeys
	stuckLetters  stuckKeys
	addr          atomic.Pointer[string]
	draining      atomic.Bool
	// base is the context of work that outlives its request; cut cancels it.
	base context.Context //nolint:containedctx // what cut ends
	cut  context.CancelFunc
}

// New returns a collector that is not listening yet.
func New(cfg Config, deps Deps) (*Collector, error) {
	cfg.setDefaults()
	if deps.Catalog == nil || deps.Producer == nil || deps.DeadLetters == nil || deps.Spool != nil && (deps.Letters == nil || deps.Refill == nil) {
		return nil, errors.New("new collector: a catalog, a producer, one of dead letters and, with a spool, one of dead letters and a producer to refill Kafka are needed")
	}
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	c := &Collector{cfg: cfg, deps: deps, parsers: newParsers(), limits: newLimits(cfg.Limit)}
	c.inFlight.max = cfg.MaxInFlight
	c.initHealth()
	c.pace.maxWait = min(maxPaceWait, cfg.AnswerWithin/2) // a broker that fails delays its partitions for some seconds
	if deps.Spool != nil {
		c.pace.maxWait = cfg.AnswerWithin // here the spool ends the wait
		c.spooled.unread = !deps.Spool.Empty()
	}
	c.metrics = newMetrics(deps.Metrics, c.inFlight.used.Load, deps.Spool, deps.Letters)
	c.base, c.cut = context.WithCancel(context.Background())
	return c, nil
}

// Addr returns the address it listens on, or "" before it listens.
func (c *Collector) Addr() string {
	if addr := c.addr.Load(); addr != nil {
		return *addr
	}
	return ""
}

// Ready returns nil if requests can be accepted: the catalog is loaded, the collector is not
// draining, and either Kafka answers or the spool accepts events.
func (c *Collector) Ready(ctx context.Context) error {
	switch {
	case c.draining.Load():
		return errors.New("the collector is draining")
	case !c.loaded():
		return errors.New("the catalog is not loaded yet")
	case c.deps.Ping == nil:
		return nil
	case c.deps.Spool != nil && !c.deps.Spool.Stats().Full:
		return c.spoolReady(ctx)
	}
	err := c.deps.Ping(ctx)
	switch {
	case err == nil: // even with a full spool, which perhaps only one partition without a leader has filled
		return nil
	case c.deps.Spool != nil:
		return fmt.Errorf("the spool is full (collector.spool.max_bytes), and Kafka does not answer: %w", err)
	}
	return fmt.Errorf("reach Kafka: %w", err)
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
