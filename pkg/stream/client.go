// Package stream is how Sealift talks to Kafka, and the only place that does:
// topics, batched production, explicit partition reads from offsets that the
// caller owns, and consumer-group membership that only says which partitions
// are whose.
//
// It promises at-least-once production (its producer is not
// idempotent) and reads that never go back. It never resets an offset: an
// offset out of range is an error for the caller to act upon. It does not
// decide what a record means.
package stream

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"

	"github.com/sealift/sealift/pkg/secret"
)

// Header is a record header.
type Header = kafka.Header

// Config says how brokers are reached.
type Config struct {
	Brokers  []string    // host:port, at least one
	TLS      *tls.Config // nil: plain TCP
	SASL     SASL
	ClientID string // shown in the brokers' logs; default "sealift"
}

// SASL authenticates connections. Only used when Mechanism is set.
type SASL struct {
	Mechanism string // "plain", "scram-sha-256" or "scram-sha-512"
	Username  string
	Password  secret.Text
}

func (s SASL) mechanism() (sasl.Mechanism, error) {
	switch strings.ToLower(s.Mechanism) {
	case "":
		return nil, nil
	case "plain":
		return plain.Mechanism{Username: s.Username, Password: s.Password.Reveal()}, nil
	case "scram-sha-256":
		return scram.Mechanism(scram.SHA256, s.Username, s.Password.Reveal())
	case "scram-sha-512":
		return scram.Mechanism(scram.SHA512, s.Username, s.Password.Reveal())
	}
	return nil, fmt.Errorf("unknown SASL mechanism %q: use plain, scram-sha-256 or scram-sha-512", s.Mechanism)
}

// Client is a connection to one cluster. It is safe for concurrent use.
type Client struct {
	brokers   []string
	addr      net.Addr
	transport *transport
	explained *explained // transport, whose errors name keys of the configuration
	dialer    *kafka.Dialer
	wires     wires
	log       *slog.Logger
}

// Open prepares a client; it does not connect, so it succeeds with every
// broker away.
func Open(cfg Config, log *slog.Logger) (*Client, error) {
	if len(cfg.Brokers) == 0 {
		return nil, errors.New("open kafka client: no brokers; set kafka.brokers")
	}
	mechanism, err := cfg.SASL.mechanism()
	if err != nil {
		return nil, fmt.Errorf("open kafka client: %w", err)
	}
	if cfg.ClientID == "" {
		cfg.ClientID = "sealift"
	}
	addr := kafka.TCP(cfg.Brokers...)
	transport := newTransport(addr, func(topics []string) *kafka.Transport {
		return &kafka.Transport{
			ClientID:       cfg.ClientID,
			TLS:            cfg.TLS,
			SASL:           mechanism,
			DialTimeout:    dialTimeout,
			MetadataTTL:    topicsFor,
			MetadataTopics: topics,
		}
	})
	return &Client{
		brokers:   cfg.Brokers,
		addr:      addr,
		transport: transport,
		explained: &explained{RoundTripper: transport, tls: cfg.TLS != nil, sasl: mechanism != nil},
		dialer: &kafka.Dialer{
			ClientID:      cfg.ClientID,
			TLS:           cfg.TLS,
			SASLMechanism: mechanism,
			Timeout:       dialTimeout,
			DualStack:     true,
		},
		log: log,
	}, nil
}

// topicsFor is how long what the brokers said of topics is taken for true.
// A variable for tests.
var topicsFor = 5 * time.Second

// Close closes idle connections. Producers, fetchers and groups of the client
// are closed by their owners.
func (c *Client) Close() error {
	c.transport.close()
	c.wires.close()
	return nil
}

// api is a view on the client with a bound on each call.
func (c *Client) api(timeout time.Duration) *kafka.Client {
	return &kafka.Client{Addr: c.addr, Transport: c.explained, Timeout: timeout}
}

// bare makes a call of a kafka.Client. Its errors begin with the method's name, which
// means nothing to who reads a log.
func bare[Q, A any](ctx context.Context, method func(context.Context, *Q) (*A, error), req *Q) (*A, error) {
	res, err := method(ctx, req)
	if err != nil && strings.HasPrefix(err.Error(), "kafka.(*Client).") {
		err = cmp.Or(errors.Unwrap(err), err)
	}
	return res, err
}

// renew asks brokers anew for what they know of topics and leaders, if they may
// have other ones after that error. Whoever tries again finds them then. soon: the trouble
// may be of an election.
func (c *Client) renew(ctx context.Context, err error, soon bool) {
	if !moved(err) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_ = c.transport.renew(ctx, nil, soon) // what is known stays: to try again meets the same trouble
}

// Ping returns nil if a broker answers now. It takes five seconds at most.
func (c *Client) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	// 1. why nothing was ever reached: unlike ApiVersions, this wants a user who is let in
	if _, err := c.ClusterID(ctx); err != nil {
		return err
	}
	// 2. kafka-go keeps what it was told once for ever; ApiVersions is not kept
	var err error
	for try := range pingTries {
		// A connection that was kept may lead to a broker that is gone; the
		// next one is another, or dialed, to any broker.
		if err = c.ping(ctx, try == pingTries-1); err == nil || ctx.Err() != nil {
			break
		}
	}
	return c.reached(ctx, err)
}

const (
	callTimeout = 5 * time.Second
	dialTimeout = 3 * time.Second // a request of a collector waits for 4.5 s, and another broker may have become the leader
	pingTries   = 3
)

// ping asks a broker, and waits for half of the time that is left, or all of
// it.
func (c *Client) ping(ctx context.Context, all bool) error {
	if deadline, ok := ctx.Deadline(); ok && !all {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/2)
		defer cancel()
	}
	_, err := bare(ctx, c.api(callTimeout).ApiVersions, &kafka.ApiVersionsRequest{})
	return err
}

// ClusterID returns the id of the cluster that the brokers belong to, as they
// said last: it is no sign that they are there still.
func (c *Client) ClusterID(ctx context.Context) (string, error) {
	res, err := bare(ctx, c.api(callTimeout).Metadata, &kafka.MetadataRequest{Topics: []string{}})
	if err := c.reached(ctx, err); err != nil {
		return "", err
	}
	return res.ClusterID, nil
}

// reached names the brokers in an error of a request to any of them.
func (c *Client) reached(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		err = ctx.Err() // kafka-go takes whichever came first, this or what dialing said
	}
	return fmt.Errorf("reach kafka at %s: %w", strings.Join(c.brokers, ","), err)
}
