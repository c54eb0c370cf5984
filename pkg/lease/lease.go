// Package lease hands out expiring leases and small markers kept in Redis, and
// is the only place in Sealift that talks to Redis.
//
// It is for whoever wants to save work: two copiers that would copy the same
// file at once, two auditors that would walk the same ledger. It promises that
// while Redis keeps its data and clocks run alike, a name has at most one
// holder. It does not promise exclusion: Redis may be flushed or fail over, a
// process may be paused past its deadline. Nothing that must be right may
// depend on it, and nothing that cannot be lost is kept here.
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
	// ErrHeld says that someone else holds the lease.
	ErrHeld = errors.New("lease is held")
	// ErrUnavailable says that Redis did not answer, or not as Redis does:
	// what was asked may or may not have happened.
	ErrUnavailable = errors.New("redis unavailable")
)

// Every key in Redis begins with keyPrefix.
const (
	keyPrefix = "sealift:"
	fenceKey  = keyPrefix + "fence"
	pingKey   = keyPrefix + "ping"
)

// Server is what leases and markers need of Redis. There is Redis, which Open
// gives, and what simulations put in its place. Keys come whole; every error
// leaves it open whether the request was carried out.
type Server interface {
	// Ping returns an error if no lease can be had.
	Ping(ctx context.Context) error
	// Take gives the key to the token for ttl and returns a fencing number
	// larger than any before, or 0 if another token holds it. Asked again with
	// the same token, as after a lost reply, it succeeds.
	Take(ctx context.Context, key, token string, ttl time.Duration) (fence int64, err error)
	// Extend gives the key's holder another ttl; false: it is not the holder.
	Extend(ctx context.Context, key, token string, ttl time.Duration) (held bool, err error)
	// Drop deletes the key if the token holds it.
	Drop(ctx context.Context, key, token string) error
	// Set remembers the key for ttl, anew if it was there.
	Set(ctx context.Context, key string, ttl time.Duration) error
	Exists(ctx context.Context, key string) (bool, error)
	Close() error
}

// Client is a connection pool to one Redis. It is safe for concurrent use.
type Client struct {
	server Server
	space  string // part of the keys, "" or "NAME:"
}

// New returns a client of that server, which Close closes.
func New(server Server) *Client { return &Client{server: server} }

// Open prepares a client for a URL such as redis://:password@host:6379/0,
// rediss:// for TLS. With secure it is TLS in any case, by these settings. It
// does not connect, so it succeeds with Redis away.
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
	// It would write to stderr by itself, a line for every try of an outage,
	// past the process's logger. What fails is returned.
	logging.Disable()
	opts.ClientName = "sealift"
	opts.DialTimeout = 2 * time.Second
	opts.ReadTimeout = 2 * time.Second
	opts.WriteTimeout = 2 * time.Second
	// Every request here may be sent twice: scripts know their own token.
	opts.MaxRetries = 2
	opts.ContextTimeoutEnabled = true
	if secure != nil && opts.Network != "unix" {
		opts.TLSConfig = secure // whose ServerName is the address's host
	}
	return New(redisServer{redis.NewClient(opts), opts.TLSConfig != nil}), nil
}

// For returns a client on the same connections whose leases and markers are
// its own: names taken by clients for others mean nothing to it. Fencing numbers
// still come from one counter.
func (c *Client) For(space string) *Client { return &Client{server: c.server, space: space + ":"} }

// Close closes the connections. Leases still held run out by themselves.
func (c *Client) Close() error { return c.server.Close() }

// Ping returns nil if Redis takes writes, else an error that wraps
// ErrUnavailable.
func (c *Client) Ping(ctx context.Context) error {
	if err := c.server.Ping(ctx); err != nil {
		return unavailable("ping redis", err)
	}
	return nil
}

// Acquire takes the lease called name for ttl and keeps renewing it until
// Release. It returns ErrHeld if another holds it. ttl must be positive; it is
// how long the name stays taken after the holder died.
func (c *Client) Acquire(ctx context.Context, name string, ttl time.Duration) (*Lease, error) {
	token, key := newToken(), c.leaseKey(name)
	// The deadline counts from before the request: Redis cannot have started
	// its own countdown any earlier.
	sent := time.Now()
	fence, err := c.server.Take(ctx, key, token, ttl)
	switch {
	case err != nil:
		return nil, unavailable(fmt.Sprintf("acquire lease %q", name), err)
	case fence == 0:
		return nil, fmt.Errorf("acquire lease %q: %w", name, ErrHeld)
	}
	l := &Lease{Fence: fence, name: name, keeper: newKeeper(sent, ttl)}
	l.extend = func(ctx context.Context) (bool, error) { return c.server.Extend(ctx, key, token, ttl) }
	l.drop = func(ctx context.Context) error { return c.server.Drop(ctx, key, token) }
	l.start()
	return l, nil
}

// Held reports whether anybody has the lease now, and leaves it alone.
func (c *Client) Held(ctx context.Context, name string) (bool, error) {
	is, err := c.server.Exists(ctx, c.leaseKey(name))
	if err != nil {
		return false, unavailable(fmt.Sprintf("look up lease %q", name), err)
	}
	return is, nil
}

func (c *Client) leaseKey(name string) string { return keyPrefix + c.space + "lease:" + name }

func newToken() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return hex.EncodeToString(b[:])
}

// unavailable classes an error of go-redis; context errors stay visible.
func unavailable(doing string, err error) error {
	return fmt.Errorf("%s: %w: %w", doing, ErrUnavailable, err)
}
