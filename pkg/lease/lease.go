// Package lease provides expiring leases and small markers, kept in Redis. It is the only place in
// Sealift that talks to Redis.
//
// It is for saving work: two copiers should not copy the same file at once, nor two auditors walk
// the same ledger. It promises that a name has at most one holder as long as Redis keeps its data
// and clocks run at the same speed. It does not promise exclusion: Redis may be flushed or fail
// over, and a process may be paused past its deadline. Nothing that must be right may depend on it,
// and nothing that must not be lost is kept here.
package lease

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
)

// Errors of this package.
var (
	// ErrHeld says that somebody else holds the lease.
	ErrHeld = errors.New("lease is held")
	// ErrMarked says that there is no use for the lease any more, because the marker exists.
	ErrMarked = errors.New("marked")
	// ErrUnavailable says that Redis did not answer, or not as Redis does. The request may or may
	// not have been carried out.
	ErrUnavailable = errors.New("redis unavailable")
)

// Every key in Redis begins with keyPrefix.
const (
	keyPrefix = "sealift:"
	fenceKey  = keyPrefix + "fence"
	pingKey   = keyPrefix + "ping"
)

// Results of Server.Take in place of a fencing number.
const (
	TakenByAnother int64 = 0
	Marked         int64 = -1
)

// Server is what leases and markers need from Redis. It is implemented by the Redis that Open
// connects to, and by simulations. Keys are complete. After any error it is unknown whether the
// request was carried out.
type Server interface {
	// Ping returns an error if leases cannot be acquired.
	Ping(ctx context.Context) error
	// Take gives the key to the token for ttl and returns a fencing number larger than any before,
	// or TakenByAnother, or Marked if marker exists, which may be "". Repeated with the same token,
	// for instance after a lost reply, it succeeds.
	Take(ctx context.Context, key, token string, ttl time.Duration, marker string) (fence int64, err error)
	// Extend gives the key's holder another ttl. held is false if the token does not hold the key.
	Extend(ctx context.Context, key, token string, ttl time.Duration) (held bool, err error)
	// Drop deletes the key if the token holds it, and stores marker for ttl in any case, unless it is
	// "".
	Drop(ctx context.Context, key, token, marker string, ttl time.Duration) error
	// Set stores the key for ttl, which starts again if the key exists.
	Set(ctx context.Context, key string, ttl time.Duration) error
	Exists(ctx context.Context, key string) (bool, error)
	Close() error
}

// Client is a connection pool to one Redis. It is safe for concurrent use.
type Client struct {
	server    Server
	namespace string // part of the keys, "" or "NAME:"
}

// New returns a client of that server. Closing the client closes the server.
func New(server Server) *Client { return &Client{server: server} }

// Open prepares a client for a URL such as redis://:password@host:6379/0, or rediss:// for TLS. A
// non-nil secure enables TLS in any case, with these settings. Open does not connect, so it
// succeeds while Redis is down.
func Open(rawURL string, secure *tls.Config) (*Client, error) {
	opts, err := redis.ParseURL(rawURL)
	if err != nil {
		// The parser's error quotes the URL, and that may hold a password.
		var malformed *url.Error
		if errors.As(err, &malformed) {
			err = malformed.Err
		}
		return nil, fmt.Errorf("open redis: %w; redis.url looks like redis://host:6379/0", err)
	}
	// By itself the library would write to stderr, past the process's logger, a line for every
	// attempt during an outage. All failures are returned as errors anyway.
	logging.Disable()
	opts.ClientName = "sealift"
	opts.DialTimeout = 2 * time.Second
	opts.ReadTimeout = 2 * time.Second
	opts.WriteTimeout = 2 * time.Second
	// Every request here may be sent twice: scripts recognize their own token.
	opts.MaxRetries = 2
	opts.ContextTimeoutEnabled = true
	if secure != nil && opts.Network != "unix" {
		opts.TLSConfig = secure // its ServerName must be the host of the address
	}
	return New(redisServer{redis.NewClient(opts), opts.TLSConfig != nil}), nil
}

// WithNamespace returns a client that shares the connections but has leases and markers of its own:
// names of other clients mean nothing to it. All clients share the counter of fencing numbers.
func (c *Client) WithNamespace(namespace string) *Client {
	return &Client{server: c.server, namespace: namespace + ":"}
}

// Close closes the connections. Leases still held expire by themselves.
func (c *Client) Close() error { return c.server.Close() }

// Ping returns nil if Redis accepts writes, or else an error that wraps ErrUnavailable.
func (c *Client) Ping(ctx context.Context) error {
	if err := c.server.Ping(ctx); err != nil {
		return unavailable("ping redis", err)
	}
	return nil
}

// Acquire takes the lease called name for ttl and keeps renewing it until Release. It returns
// ErrHeld if somebody else holds it. ttl must be positive; it is how long the name stays taken
// after its holder died.
func (c *Client) Acquire(ctx context.Context, name string, ttl time.Duration) (*Lease, error) {
	return c.acquire(ctx, name, ttl, "")
}

// AcquireUnlessMarked is Acquire, but returns ErrMarked if the marker exists, whether or not
// somebody holds the lease. It is one request to Redis.
func (c *Client) AcquireUnlessMarked(ctx context.Context, name string, ttl time.Duration, marker string) (*Lease, error) {
	return c.acquire(ctx, name, ttl, c.markerKey(marker))
}

func (c *Client) acquire(ctx context.Context, name string, ttl time.Duration, marker string) (*Lease, error) {
	token, key := newToken(), c.leaseKey(name)
	// The deadline counts from before the request, because Redis cannot have started its own
	// countdown earlier.
	sent := time.Now()
	fence, err := c.server.Take(ctx, key, token, ttl, marker)
	switch {
	case err != nil:
		return nil, unavailable(fmt.Sprintf("acquire lease %q", name), err)
	case fence == TakenByAnother:
		return nil, fmt.Errorf("acquire lease %q: %w", name, ErrHeld)
	case fence == Marked:
		return nil, fmt.Errorf("acquire lease %q: %w", name, ErrMarked)
	}
	l := &Lease{Fence: fence, name: name, keeper: newKeeper(sent, ttl)}
	l.extend = func(ctx context.Context) (bool, error) { return c.server.Extend(ctx, key, token, ttl) }
	l.drop = func(ctx context.Context, marker string, ttl time.Duration) error {
		if marker != "" {
			marker = c.markerKey(marker)
		}
		return c.server.Drop(ctx, key, token, marker, ttl)
	}
	l.start()
	return l, nil
}

// Held reports whether anybody holds the lease now, without changing it.
func (c *Client) Held(ctx context.Context, name string) (bool, error) {
	is, err := c.server.Exists(ctx, c.leaseKey(name))
	if err != nil {
		return false, unavailable(fmt.Sprintf("look up lease %q", name), err)
	}
	return is, nil
}

func (c *Client) leaseKey(name string) string { return keyPrefix + c.namespace + "lease:" + name }

func newToken() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return hex.EncodeToString(b[:])
}

// unavailable wraps an error of go-redis in ErrUnavailable; context errors stay visible.
func unavailable(doing string, err error) error {
	return fmt.Errorf("%s: %w: %w", doing, ErrUnavailable, err)
}
