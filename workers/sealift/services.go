package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sealift/sealift/pkg/assumerole"
	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/config"
	"github.com/sealift/sealift/pkg/lease"
	"github.com/sealift/sealift/pkg/netguard"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/route"
	"github.com/sealift/sealift/pkg/stream"
	"github.com/sealift/sealift/pkg/transport"
)

// services are the connections that the roles of a process share.
type services struct {
	cfg         config.Config
	credentials func(context.Context) (objstore.Credentials, error) // the operator's own, for S3 and STS
	log         *slog.Logger
	metrics     prometheus.Registerer

	kafka             *stream.Client
	redis             *lease.Client // nil if no role needs it
	staging           objstore.Store
	roles             *assumerole.Roles
	stagingClient     *http.Client // for the staging bucket
	stsClient         *http.Client
	destinationClient *http.Client // for AWS's own endpoints and destinations.endpoint
	guardedClient     *http.Client // for endpoints that customers chose
	catalog           *catalog.Live
	catalogLoaded     chan struct{} // closed once the catalog has been read to its end
	catalogErr        error         // why workspaces could not be read; set before catalogLoaded is closed

	catalogProducer func() *stream.Producer // for the catalog topic; made by the first call

	mu        sync.Mutex // guards producers and places
	producers []*stream.Producer
	places    map[place]*objstore.S3
}

// openServices prepares all connections without connecting to anything. Without credentials, the
// SDK's default chain gives them. Its errors are about the configuration.
func openServices(cfg config.Config, credentials func(context.Context) (objstore.Credentials, error), withRedis bool, log *slog.Logger, metrics prometheus.Registerer) (*services, error) {
	return openServicesThrough(func(next http.RoundTripper) http.RoundTripper { return next }, cfg, credentials, withRedis, log, metrics)
}

// withConnections opens the services of the configuration, with Redis if needed, for a command that
// somebody waits for, and closes them after fn. Unlike a role, it soon gives up a server that does
// not answer at all.
func withConnections(a *app, withRedis bool, fn func(*services) error) error {
	s, err := openServicesThrough(transport.GiveUpSilent, a.cfg, nil, withRedis, a.log, nil)
	if err != nil {
		return err
	}
	return errors.Join(fn(s), s.close())
}

func openServicesThrough(wrap func(http.RoundTripper) http.RoundTripper, cfg config.Config, credentials func(context.Context) (objstore.Credentials, error), withRedis bool, log *slog.Logger, metrics prometheus.Registerer) (*services, error) {
	s := &services{cfg: cfg, credentials: credentials, log: log, metrics: metrics, catalog: operator(cfg).NewLive(), catalogLoaded: make(chan struct{})}
	secure, err := readCertificates(cfg, log)
	if err != nil {
		return nil, err
	}
	warnUnprotected(cfg, log)
	s.kafka, err = stream.Open(stream.Config{
		Brokers: cfg.Kafka.Brokers, TLS: secure.kafka, ClientID: "sealift",
		SASL: stream.SASL{Mechanism: cfg.Kafka.SASL.Mechanism, Username: cfg.Kafka.SASL.Username, Password: cfg.Kafka.SASL.Password},
	}, log)
	if err != nil {
		return nil, err
	}
	if withRedis {
		client, err := lease.Open(cfg.Redis.URL.Reveal(), secure.redis)
		if err != nil {
			return nil, err
		}
		s.redis = client.WithNamespace(ledgerName(cfg.Staging))
	}
	if s.credentials == nil {
		s.credentials = objstore.DefaultCredentials() // one chain for all, because it caches
	}
	s.stagingClient = explainTLSErrors(objstore.NewHTTPClient(secure.staging), "staging")
	s.stsClient = explainTLSErrors(objstore.NewHTTPClient(secure.sts), "sts")
	s.destinationClient = explainTLSErrors(objstore.NewHTTPClient(secure.destinations), "destinations")
	s.guardedClient = explainTLSErrors(netguard.Client(cfg.Destinations.AllowedEndpoints, secure.destinations), "destinations")
	for _, c := range []*http.Client{s.stagingClient, s.stsClient, s.destinationClient, s.guardedClient} {
		c.Transport = wrap(c.Transport)
	}
	s.staging = objstore.WithPrefix(objstore.NewS3(objstore.S3Config{
		Bucket: cfg.Staging.Bucket, Region: cfg.Staging.Region, Endpoint: cfg.Staging.Endpoint,
		PathStyle: cfg.Staging.ForcePathStyle, Credentials: s.credentials, HTTPClient: s.stagingClient,
		ExpectedOwner: cfg.Staging.ExpectedBucketOwner, Section: "staging",
	}), cfg.Staging.Prefix)
	s.roles = assumerole.New(assumerole.Config{
		Endpoint: cmp.Or(cfg.STS.Endpoint, cfg.Destinations.Endpoint), Region: cfg.Staging.Region, Credentials: s.credentials, NoExternalID: !cfg.STS.VerifyTrust,
		HTTPClient: s.stsClient,
	})
	s.catalogProducer = sync.OnceValue(func() *stream.Producer {
		return s.topicProducer(cfg.Kafka.CatalogTopic, maxWorkspaceBytes+recordOverhead)
	})
	return s, nil
}

// closeTimeout limits how long close waits for brokers that are down. It is a variable for tests.
var closeTimeout = 5 * time.Second

// close closes the connections. The roles must have ended, so nobody waits for what producers have
// not written yet.
func (s *services) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	closed := make([]error, len(s.producers))
	var closing sync.WaitGroup
	for i, p := range s.producers {
		closing.Go(func() { closed[i] = p.Close(ctx) })
	}
	closing.Wait()
	s.roles.Close()
	for _, c := range []*http.Client{s.stagingClient, s.stsClient, s.destinationClient, s.guardedClient} {
		c.CloseIdleConnections()
	}
	err := errors.Join(errors.Join(closed...), s.kafka.Close())
	if s.redis != nil {
		err = errors.Join(err, s.redis.Close())
	}
	return err
}

// topicProducer returns a producer that lives as long as the services. batchBytes limits its
// batches; 0 means the default.
func (s *services) topicProducer(topic string, batchBytes int) *stream.Producer {
	return s.newProducer(stream.ProducerConfig{Topic: topic, BatchBytes: batchBytes})
}

// eventsProducer returns a producer for the events topic. It spreads hot sources as the catalog
// says at the time: by messageId, so that a message that is sent again goes to the partition of its
// first copy.
func (s *services) eventsProducer() *stream.Producer {
	spread := func(r *stream.Record) (over int, by []byte) {
		if over = s.catalog.Snapshot().Spread(string(r.Key)); over > 1 {
			by = route.MessageID(r, r.Value)
		}
		return over, by
	}
	return s.newProducer(stream.ProducerConfig{Topic: s.cfg.Kafka.EventsTopic, Spread: spread, KeepTime: s.usesRecordTime()})
}

// usesRecordTime reports whether the time of an event's record counts as its time of receipt
// (kafka.received_from: record).
func (s *services) usesRecordTime() bool { return s.cfg.Kafka.ReceivedFrom == "record" }

func (s *services) newProducer(cfg stream.ProducerConfig) *stream.Producer {
	cfg.Compression = s.cfg.Kafka.Compression
	p := s.kafka.NewProducer(cfg)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.producers = append(s.producers, p)
	return p
}

// operator returns what the catalog's destinations are checked against.
func operator(cfg config.Config) catalog.Operator {
	s := cfg.Staging
	return catalog.Operator{Endpoint: cfg.Destinations.Endpoint, Staging: catalog.Bucket{Name: s.Bucket, Region: s.Region, Endpoint: s.Endpoint}}
}

// ledgerName identifies the ledger by where it is, for names in Redis, which may be shared with a
// fleet that has another ledger of the same topic. It is the same for all spellings of
// staging.endpoint, because leases must be too; but two host names of one server give two names.
func ledgerName(c config.Staging) string {
	sum := sha256.Sum256([]byte(catalog.Server(c.Endpoint) + "\n" + c.Bucket + "\n" + c.Prefix))
	return hex.EncodeToString(sum[:8])
}
