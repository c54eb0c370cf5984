// Package stream is the only package that talks to Kafka. It has topics, batched production, reads
// of single partitions from offsets that the caller keeps, and consumer groups, which only say
// which partitions belong to whom.
//
// It guarantees at-least-once production (its producer is not idempotent), and reads that never go
// back. It never resets an offset: an offset that is out of range is an error that the caller has
// to handle. It does not interpret records.
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

// Config says how to connect to the brokers.
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
	hinting   *hintingTransport // transport, with errors that name configuration keys
	dialer    *kafka.Dialer
	conns     connPool
	log       *slog.Logger
}

// Open prepares a client. It does not connect, so it succeeds even if no broker is up.
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
			MetadataTTL:    metadataTTL,
			MetadataTopics: topics,
		}
	})
	return &Client{
		brokers:   cfg.Brokers,
		addr:      addr,
		transport: transport,
		hinting:   &hintingTransport{RoundTripper: transport, tls: cfg.TLS != nil, sasl: mechanism != nil},
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

// metadataTTL is how long metadata about topics is used before it is fetched again. A variable for
// tests.
var metadataTTL = 5 * time.Second

// Close closes idle connections. The client's producers, fetchers and groups are closed by their
// owners.
func (c *Client) Close() error {
	c.transport.close()
	c.conns.close()
	return nil
}

// api returns a kafka.Client whose calls have a timeout.
func (c *Client) api(timeout time.Duration) *kafka.Client {
	return &kafka.Client{Addr: c.addr, Transport: c.hinting, Timeout: timeout}
}

// callAPI calls a method of a kafka.Client. It removes the method's name, with which kafka-go's
// errors begin, since it means nothing to a reader of the log.
func callAPI[Q, A any](ctx context.Context, method func(context.Context, *Q) (*A, error), req *Q) (*A, error) {
	res, err := method(ctx, req)
	if err != nil && strings.HasPrefix(err.Error(), "kafka.(*Client).") {
		err = cmp.Or(errors.Unwrap(err), err)
	}
	return res, err
}

// refreshMetadata fetches the metadata of topics and leaders again if err means that they may have
// changed, so that a retry uses the new ones. electing says that an election may be in progress.
func (c *Client) refreshMetadata(ctx context.Context, err error, electing bool) {
	if !leaderMayHaveMoved(err) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_ = c.transport.refresh(ctx, nil, electing) // if it fails, the known metadata stays, and a retry meets the same problem
}

// Ping returns nil if a broker answers now. It takes at most five seconds.
func (c *Client) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	// 1. Why no broker could ever be reached. Unlike ApiVersions, this needs an authenticated user.
	if _, err := c.ClusterID(ctx); err != nil {
		return err
	}
	// 2. kafka-go caches that answer for good, but not that of ApiVersions.
	var err error
	for try := range pingTries {
		// A cached connection may lead to a broker that is gone. The next try uses another
		// connection, or dials any broker.
		if err = c.ping(ctx, try == pingTries-1); err == nil || ctx.Err() != nil {
			break
		}
	}
	return c.withBrokers(ctx, err)
}

const (
	callTimeout = 5 * time.Second
	dialTimeout = 3 * time.Second // a collector's request waits for 4.5 s, and another broker may have become the leader
	pingTries   = 3
)

// ping sends a request to a broker. It waits for half of the remaining time, or for all of it.
func (c *Client) ping(ctx context.Context, wholeTimeout bool) error {
	if deadline, ok := ctx.Deadline(); ok && !wholeTimeout {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/2)
		defer cancel()
	}
	_, err := callAPI(ctx, c.api(callTimeout).ApiVersions, &kafka.ApiVersionsRequest{})
	return err
}

// ClusterID returns the id of the cluster, which may be from an earlier answer of the brokers: it
// does not show that they are still up.
func (c *Client) ClusterID(ctx context.Context) (string, error) {
	res, err := callAPI(ctx, c.api(callTimeout).Metadata, &kafka.MetadataRequest{Topics: []string{}})
	if err := c.withBrokers(ctx, err); err != nil {
		return "", err
	}
	return res.ClusterID, nil
}

// withBrokers adds the brokers' addresses to the error of a request to any of them.
func (c *Client) withBrokers(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		err = ctx.Err() // kafka-go returns whichever came first, this or the error of dialing
	}
	return fmt.Errorf("reach kafka at %s: %w", strings.Join(c.brokers, ","), err)
}
