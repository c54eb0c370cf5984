package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sealift/sealift/pkg/assumerole"
	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/config"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/iam"
	"github.com/sealift/sealift/pkg/lease"
	"github.com/sealift/sealift/pkg/netguard"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/route"
	"github.com/sealift/sealift/pkg/stream"
	"github.com/sealift/sealift/pkg/transport"
)

// identity says with whose credentials a process talks to S3 and STS.
type identity struct {
	// credentials returns the operator's own; nil means the SDK's default chain.
	credentials func(context.Context) (objstore.Credentials, error)
}

// services are the connections that the roles of a process share.
type services struct {
	cfg     config.Config
	id      identity
	log     *slog.Logger
	metrics prometheus.Registerer

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
	catalogErr        error         // why workspaces could not be read; set before loaded is closed

	catalogProducer func() *stream.Producer // for the catalog topic; made by the first call

	mu        sync.Mutex // guards producers and places
	producers []*stream.Producer
	places    map[place]*objstore.S3
}

// place says where a bucket is, and how it is addressed. Buckets at the same place share a client.
type place struct {
	region, endpoint           string
	pathStyle, fips, dualStack bool
	guarded                    bool
}

// maxPlaces limits how many clients are kept; beyond that, all are dropped. A catalog names more
// places only if somebody makes endpoints up.
const maxPlaces = 1000

// openServices prepares all connections without connecting to anything. Its errors are about the
// configuration.
func openServices(cfg config.Config, id identity, withRedis bool, log *slog.Logger, metrics prometheus.Registerer) (*services, error) {
	return openServicesThrough(func(next http.RoundTripper) http.RoundTripper { return next }, cfg, id, withRedis, log, metrics)
}

// openForCommand is openServices for a command that somebody waits for: unlike a role, it soon gives
// up a server that does not answer at all.
func openForCommand(a *app, withRedis bool) (*services, error) {
	return openServicesThrough(transport.GiveUpSilent, a.cfg, identity{}, withRedis, a.log, nil)
}

func openServicesThrough(wrap func(http.RoundTripper) http.RoundTripper, cfg config.Config, id identity, withRedis bool, log *slog.Logger, metrics prometheus.Registerer) (*services, error) {
	s := &services{cfg: cfg, id: id, log: log, metrics: metrics, catalog: operator(cfg).NewLive(), catalogLoaded: make(chan struct{})}
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
	if s.id.credentials == nil {
		s.id.credentials = objstore.DefaultCredentials() // one chain for all, because it caches
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
		PathStyle: cfg.Staging.ForcePathStyle, Credentials: s.id.credentials, HTTPClient: s.stagingClient,
		ExpectedOwner: cfg.Staging.ExpectedBucketOwner, Section: "staging",
	}), cfg.Staging.Prefix)
	s.roles = assumerole.New(assumerole.Config{
		Endpoint: cmp.Or(cfg.STS.Endpoint, cfg.Destinations.Endpoint), Region: cfg.Staging.Region, Credentials: s.id.credentials, NoExternalID: !cfg.STS.VerifyTrust,
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

// openBucket opens a destination's bucket with these credentials; nil means the operator's.
func (s *services) openBucket(t catalog.Target, creds func(context.Context) (objstore.Credentials, error)) objstore.Store {
	if creds == nil {
		creds = s.id.credentials
	}
	at := place{region: t.Region, endpoint: t.Endpoint, fips: t.FIPS, dualStack: t.DualStack}
	style := t.PathStyle
	switch own := s.cfg.Destinations.Endpoint; {
	case t.Endpoint != "":
		at.pathStyle, at.guarded = pathStyle(t.Endpoint), true
	case own != "":
		at.endpoint, at.pathStyle = own, pathStyle(own)
		style = nil // as part of the host, a bucket's name could choose among the operator's hosts
	}
	if style != nil {
		at.pathStyle = *style
	}
	return s.clientAt(at).At(t.BucketName, t.Owner, creds)
}

// clientAt returns a client for the place; its At opens any bucket there. Clients are kept because
// it would be too expensive to set one up for each file.
func (s *services) clientAt(at place) *objstore.S3 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.places[at]; known != nil {
		return known
	}
	c := objstore.S3Config{
		Region: at.region, Endpoint: at.endpoint, PathStyle: at.pathStyle, UseFIPS: at.fips, DualStack: at.dualStack,
		Credentials: s.id.credentials, HTTPClient: s.destinationClient,
	}
	if at.guarded {
		c.HTTPClient = s.guardedClient
	}
	if s.places == nil || len(s.places) >= maxPlaces {
		s.places = map[place]*objstore.S3{}
	}
	s.places[at] = objstore.NewS3(c)
	return s.places[at]
}

// pathStyle reports whether the bucket goes into the path of an endpoint's URLs. All servers
// support that, except AWS for its newer buckets.
func pathStyle(endpoint string) bool {
	u, err := url.Parse(endpoint)
	if err != nil {
		return true
	}
	_, isAWS := iam.CutDomain(u.Hostname())
	return !isAWS
}

// followCatalog keeps the catalog as its topic says until ctx ends. A record that cannot be read is
// logged, and leaves its workspace as it was. The catalog is published when the topic has been read
// to its end, and after every fetch from then on.
func (s *services) followCatalog(ctx context.Context) error {
	bad := map[string]error{} // by workspace
	loaded := false
	return s.kafka.Follow(ctx, s.cfg.Kafka.CatalogTopic, func(records []stream.Record) error {
		for _, r := range records {
			delete(bad, string(r.Key))
			if err := s.catalog.Apply(string(r.Key), r.Value); err != nil {
				bad[string(r.Key)] = err
				s.log.Error("catalog record ignored", "partition", r.Partition, "offset", r.Offset, "err", err)
			}
		}
		if loaded {
			s.catalog.Publish()
		}
		return nil
	}, func() {
		s.catalog.Publish()
		s.catalogErr = errors.Join(slices.Collect(maps.Values(bad))...)
		loaded = true
		close(s.catalogLoaded)
	})
}

// checkCatalogRead returns an error if these roles must not start because a workspace could not be
// read, for instance because a later release wrote it. A collector would refuse its events, with an
// answer after which SDKs drop them. An appender would seal its files as owed to nobody, for good.
func (s *services) checkCatalogRead(roles []string) error {
	if s.catalogErr == nil || !slices.Contains(roles, appenderRole) && !slices.Contains(roles, collectorRole) {
		return nil
	}
	return fmt.Errorf("read the catalog: events of a workspace that is not understood would be refused, and its files owed to nobody; run the release that wrote it, or apply it again with this one: %w", s.catalogErr)
}

// checkCatalogNotEmptied returns an error if an appender would start with an empty catalog although
// files of the events topic were delivered before. This happens if kafka.catalog_topic is misspelt,
// or the topic was deleted: it is then created again, empty, and all files would be owed to nobody.
func (s *services) checkCatalogNotEmptied(ctx context.Context, roles []string) error {
	if !slices.Contains(roles, appenderRole) || len(s.catalog.Snapshot().Workspaces()) > 0 {
		return nil
	}
	k := s.cfg.Kafka
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	page, err := s.staging.List(ctx, delivery.TopicReceiptsPrefix(k.EventsTopic), "", 1)
	switch {
	case err != nil:
		return fmt.Errorf("ask whether files of topic %q were delivered before, for catalog topic %q is empty: %w", k.EventsTopic, k.CatalogTopic, err)
	case len(page) > 0:
		return fmt.Errorf("catalog topic %q has no workspace, but files of topic %q were delivered before: each file that is sealed now would be owed to nobody, for good; "+
			"correct kafka.catalog_topic, or apply the customers' documents again (sealift catalog apply), and start again", k.CatalogTopic, k.EventsTopic)
	}
	return nil
}

// topics returns the topics that Sealift needs.
func (s *services) topics() []stream.Topic {
	k := s.cfg.Kafka
	topics := []stream.Topic{
		{Name: k.EventsTopic, Partitions: k.Partitions, Replication: k.Replication},
		{Name: k.DeadLettersTopic, Partitions: k.Partitions, Replication: k.Replication, MaxRecordBytes: deadLetterBytes},
		{Name: k.CatalogTopic, Partitions: 1, Replication: k.Replication, Compacted: true, MaxRecordBytes: maxWorkspaceBytes},
	}
	for _, name := range copierConfig(s.cfg).Topics() {
		topics = append(topics, stream.Topic{Name: name, Partitions: k.Partitions, Replication: k.Replication})
	}
	return topics
}

// deadLetterBytes is the size limit of a dead letter: room for what the events topic accepts, and
// for the headers that give the reason.
const deadLetterBytes = 2 << 20

const kafkaName = "kafka"

// topicsName is the dependency that is checked only while the process starts.
const topicsName = "topics"

// dependencies returns the services that must answer before these roles start.
func (s *services) dependencies(roles []string) []dependency {
	brokers := strings.Join(s.cfg.Kafka.Brokers, ",")
	deps := []dependency{{
		name: kafkaName, address: brokers, key: "kafka.brokers",
		probe: s.kafka.Ping,
	}, {
		name: topicsName, address: brokers, key: "kafka.*_topic",
		probe: func(ctx context.Context) error {
			return s.kafka.EnsureTopics(ctx, s.cfg.Kafka.CreateTopics, s.topics()...)
		},
	}}
	if !slices.Equal(roles, []string{collectorRole}) {
		deps = append(deps, dependency{
			name: "staging", address: stagingAddress(s.cfg.Staging), key: "staging.bucket",
			probe: func(ctx context.Context) error { return objstore.Probe(ctx, s.staging) },
			alive: func(ctx context.Context) error { _, err := s.staging.List(ctx, "probe/", "", 1); return err },
			permanent: func(err error) bool {
				return errors.Is(err, objstore.ErrUnconditional) || errors.Is(err, objstore.ErrWrongRegion) || errors.Is(err, objstore.ErrInvalid)
			},
		})
	}
	if slices.Contains(roles, copierRole) && !s.cfg.Copier.WithoutRedis { // auditors work without Redis
		deps = append(deps, dependency{
			name: "redis", address: redisAddress(s.cfg.Redis.URL.Reveal()), key: "redis.url",
			probe: s.redis.Ping,
		})
	}
	return deps
}

// toleratesOutage reports whether roles that are running stay ready while a service is down: a
// collector with a spool works without Kafka.
func (s *services) toleratesOutage(d dependency, roles []string) bool {
	return d.name == kafkaName && s.cfg.Collector.Spool.Dir != "" && slices.Equal(roles, []string{collectorRole})
}

// ledgerName identifies the ledger by where it is, for names in Redis, which may be shared with a
// fleet that has another ledger of the same topic. It is the same for all spellings of
// staging.endpoint, because leases must be too; but two host names of one server give two names.
func ledgerName(c config.Staging) string {
	sum := sha256.Sum256([]byte(catalog.Server(c.Endpoint) + "\n" + c.Bucket + "\n" + c.Prefix))
	return hex.EncodeToString(sum[:8])
}

func stagingAddress(c config.Staging) string {
	if c.Endpoint == "" {
		return "s3://" + c.Bucket
	}
	return strings.TrimSuffix(c.Endpoint, "/") + "/" + c.Bucket
}

// redisAddress returns the host and port of the URL, without its secrets.
func redisAddress(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return "?"
	}
	return u.Host
}
