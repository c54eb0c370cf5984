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
)

// identity is as whom a process talks to S3 and STS.
type identity struct {
	// credentials are the operator's own; nil: the SDK's default chain.
	credentials func(context.Context) (objstore.Credentials, error)
}

// services are the connections that the roles of a process share.
type services struct {
	cfg     config.Config
	id      identity
	log     *slog.Logger
	metrics prometheus.Registerer

	kafka   *stream.Client
	redis   *lease.Client // nil if no role needs it
	staging objstore.Store
	roles   *assumerole.Roles
	own     *http.Client // for the staging bucket
	sts     *http.Client
	web     *http.Client // for destinations at AWS's own endpoints
	guarded *http.Client // for endpoints that customers chose
	catalog *catalog.Live
	loaded  chan struct{} // closed when the catalog was read to its end
	unread  error         // workspaces of it that could not be read; set before loaded is closed

	catalogProducer func() *stream.Producer // of the catalog topic, made when first asked for

	mu        sync.Mutex // guards producers and places
	producers []*stream.Producer
	places    map[place]*objstore.S3
}

// place is where buckets are that can share a client.
type place struct {
	region, endpoint           string
	pathStyle, fips, dualStack bool
	guarded                    bool
}

// maxPlaces is how many clients are kept. More places than that are made up.
const maxPlaces = 1000

// open prepares all connections; it connects to nothing. Its errors are of the
// configuration.
func open(cfg config.Config, id identity, withRedis bool, log *slog.Logger, metrics prometheus.Registerer) (*services, error) {
	s := &services{cfg: cfg, id: id, log: log, metrics: metrics, catalog: operator(cfg).NewLive(), loaded: make(chan struct{})}
	secure, err := readCertificates(cfg, log)
	if err != nil {
		return nil, err
	}
	warnUnverified(cfg, log)
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
		s.redis = client.For(ledgerName(cfg.Staging))
	}
	if s.id.credentials == nil {
		s.id.credentials = objstore.DefaultCredentials() // one chain, which caches
	}
	s.own = explained(objstore.NewHTTPClient(secure.staging), "staging")
	s.sts = explained(objstore.NewHTTPClient(secure.sts), "sts")
	s.web = explained(objstore.NewHTTPClient(secure.destinations), "destinations")
	s.guarded = explained(netguard.Client(cfg.Destinations.AllowedEndpoints, secure.destinations), "destinations")
	s.staging = objstore.WithPrefix(objstore.NewS3(objstore.S3Config{
		Bucket: cfg.Staging.Bucket, Region: cfg.Staging.Region, Endpoint: cfg.Staging.Endpoint,
		PathStyle: cfg.Staging.ForcePathStyle, Credentials: s.id.credentials, HTTPClient: s.own,
		ExpectedOwner: cfg.Staging.ExpectedBucketOwner, Section: "staging",
	}), cfg.Staging.Prefix)
	s.roles = assumerole.New(assumerole.Config{
		Endpoint: cmp.Or(cfg.STS.Endpoint, cfg.Destinations.Endpoint), Region: cfg.Staging.Region, Credentials: s.id.credentials, AnyTrust: !cfg.STS.VerifyTrust,
		HTTPClient: s.sts,
	})
	s.catalogProducer = sync.OnceValue(func() *stream.Producer {
		return s.producer(cfg.Kafka.CatalogTopic, maxWorkspaceBytes+recordOverhead)
	})
	return s, nil
}

// closeWithin bounds close, when brokers are away. A variable for tests.
var closeWithin = 5 * time.Second

// close closes the connections. The roles have ended before: nobody waits for
// what a producer may still have to write.
func (s *services) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeWithin)
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
	for _, c := range []*http.Client{s.own, s.sts, s.web, s.guarded} {
		c.CloseIdleConnections()
	}
	err := errors.Join(errors.Join(closed...), s.kafka.Close())
	if s.redis != nil {
		err = errors.Join(err, s.redis.Close())
	}
	return err
}

// producer returns a producer that lives as long as the services. batchBytes
// is its largest batch, 0: the default.
func (s *services) producer(topic string, batchBytes int) *stream.Producer {
	return s.keep(stream.ProducerConfig{Topic: topic, BatchBytes: batchBytes})
}

// events returns a producer of the events topic that spreads hot sources as the
// catalog says at that time: by messageId, so that a message that is sent again
// meets its copy.
func (s *services) events() *stream.Producer {
	spread := func(r *stream.Record) (over int, by []byte) {
		if over = s.catalog.Snapshot().Spread(string(r.Key)); over > 1 {
			by = route.MessageID(r, r.Value)
		}
		return over, by
	}
	return s.keep(stream.ProducerConfig{Topic: s.cfg.Kafka.EventsTopic, Spread: spread, KeepTime: s.receivedIsRecords()})
}

// receivedIsRecords tells whether an event was received when its record was written,
// by the record's own time.
func (s *services) receivedIsRecords() bool { return s.cfg.Kafka.ReceivedFrom == "record" }

func (s *services) keep(cfg stream.ProducerConfig) *stream.Producer {
	cfg.Compression = s.cfg.Kafka.Compression
	p := s.kafka.NewProducer(cfg)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.producers = append(s.producers, p)
	return p
}

// operator is what the catalog is held against.
func operator(cfg config.Config) catalog.Operator {
	s := cfg.Staging
	return catalog.Operator{Endpoint: cfg.Destinations.Endpoint, Staging: catalog.Bucket{Name: s.Bucket, Region: s.Region, Endpoint: s.Endpoint}}
}

// bucket opens a destination as whoever creds is; nil is the operator.
func (s *services) bucket(t catalog.Target, creds func(context.Context) (objstore.Credentials, error)) objstore.Store {
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
		style = nil // a bucket's name before it would be a choice among the operator's hosts
	}
	if style != nil {
		at.pathStyle = *style
	}
	return s.place(at).At(t.BucketName, t.Owner, creds)
}

// place returns some bucket at the place: setting a client up for each file
// would cost what remembering endpoints saves.
func (s *services) place(at place) *objstore.S3 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.places[at]; known != nil {
		return known
	}
	c := objstore.S3Config{
		Region: at.region, Endpoint: at.endpoint, PathStyle: at.pathStyle, UseFIPS: at.fips, DualStack: at.dualStack,
		Credentials: s.id.credentials, HTTPClient: s.web,
	}
	if at.guarded {
		c.HTTPClient = s.guarded
	}
	if s.places == nil || len(s.places) >= maxPlaces {
		s.places = map[place]*objstore.S3{}
	}
	s.places[at] = objstore.NewS3(c)
	return s.places[at]
}

// pathStyle tells whether an endpoint takes the bucket in the path: all but
// AWS's own do, and AWS's newer buckets do not.
func pathStyle(endpoint string) bool {
	u, err := url.Parse(endpoint)
	if err != nil {
		return true
	}
	_, isAWS := iam.CutDomain(u.Hostname())
	return !isAWS
}

// followCatalog keeps the catalog as its topic says until ctx ends. A record
// that cannot be read is logged; the workspace stays as it was. It is published
// here, once when the topic was read to its end and then with each fetch.
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
		s.unread = errors.Join(slices.Collect(maps.Values(bad))...)
		loaded = true
		close(s.loaded)
	})
}

// complete returns why these roles must not start on the catalog as it was
// loaded. With a workspace missing, as when it was written by a later release,
// its events would be refused, by an answer after which SDKs drop them; and
// what a file is owed to is fixed when it is sealed: to nobody, for good.
func (s *services) complete(roles []string) error {
	if s.unread == nil || !slices.Contains(roles, appenderRole) && !slices.Contains(roles, collectorRole) {
		return nil
	}
	return fmt.Errorf("read the catalog: events of a workspace that is not understood would be refused, and its files owed to nobody; run the release that wrote it, or apply it again with this one: %w", s.unread)
}

// stillFull returns an error if an appender would start on an empty catalog, and files
// of the events topic were delivered before. They no longer would be: a misspelt
// kafka.catalog_topic, or one that was deleted, is created anew, and empty.
func (s *services) stillFull(ctx context.Context, roles []string) error {
	if !slices.Contains(roles, appenderRole) || len(s.catalog.Snapshot().Workspaces()) > 0 {
		return nil
	}
	k := s.cfg.Kafka
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	page, err := s.staging.List(ctx, delivery.ReceiptsOf(k.EventsTopic), "", 1)
	switch {
	case err != nil:
		return fmt.Errorf("ask whether files of topic %q were delivered before, for catalog topic %q is empty: %w", k.EventsTopic, k.CatalogTopic, err)
	case len(page) > 0:
		return fmt.Errorf("catalog topic %q has no workspace, but files of topic %q were delivered before: each file that is sealed now would be owed to nobody, for good; "+
			"correct kafka.catalog_topic, or apply the customers' documents again (sealift catalog apply), and start again", k.CatalogTopic, k.EventsTopic)
	}
	return nil
}

// topics are those that Sealift needs.
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

// deadLetterBytes lets the dead letters take what the events topic took, and
// the headers that say why.
const deadLetterBytes = 2 << 20

const kafkaName = "kafka"

// topicsName is the dependency that is looked at only when the process starts.
const topicsName = "topics"

// dependencies are the services that must answer before these roles start.
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
	if slices.Contains(roles, copierRole) && !s.cfg.Copier.WithoutRedis { // auditors do without
		deps = append(deps, dependency{
			name: "redis", address: redisAddress(s.cfg.Redis.URL.Reveal()), key: "redis.url",
			probe: s.redis.Ping,
		})
	}
	return deps
}

// doesWithout tells whether roles that run stay ready while a service is away:
// a collector with a spool goes on without Kafka.
func (s *services) doesWithout(d dependency, roles []string) bool {
	return d.name == kafkaName && s.cfg.Collector.Spool.Dir != "" && slices.Equal(roles, []string{collectorRole})
}

// ledgerName names the ledger by its place, for what is kept in Redis: that
// may be shared with a fleet that has another ledger of the same topic. It is
// the same for all spellings of staging.endpoint, lest a command have leases
// of its own; but not for two host names of one server.
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

// redisAddress is the URL without its secrets.
func redisAddress(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return "?"
	}
	return u.Host
}
