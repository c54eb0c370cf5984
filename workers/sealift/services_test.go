package main

import (
	"context"
	"net"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/config"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/porttest"
	"github.com/sealift/sealift/pkg/stream"
	"github.com/sealift/sealift/pkg/transport"
)

// Collectors and appenders do not start if a workspace of the catalog cannot be read: its events
// would be refused, and its files owed to nobody.
func TestRolesRefuseAnUnreadableCatalog(t *testing.T) {
	const whole = "ws_7Qm2Zc9LkTRpV4xWnBsD0a"
	for name, c := range map[string]struct {
		values []string // of one workspace, in order
		want   string
	}{
		"later_release":                  {values: []string{`{"version":99}`}, want: whole},
		"superseded":                     {values: []string{`{"version":99}`, ""}},
		"unreadable_after_a_good_record": {values: []string{"", `{"new_field":1}`}, want: "new_field"},
		"empty_and_deleted":              {values: []string{""}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config.Default()
			cfg.Kafka.Brokers = []string{porttest.Free(t)}
			startKafka(t, cfg.Kafka.Brokers[0])
			s, err := openServices(cfg, testCredentials, false, silent, nil)
			require.NoError(t, err)
			defer func() { require.NoError(t, s.close()) }()
			s.staging = objstore.NewMemory("staging")
			require.NoError(t, s.kafka.EnsureTopics(t.Context(), true, stream.Topic{Name: cfg.Kafka.CatalogTopic, Partitions: 1, Compacted: true}))
			for _, v := range c.values {
				r := stream.Record{Key: []byte(whole)}
				if v != "" {
					r.Value = []byte(v)
				}
				require.NoError(t, s.topicProducer(cfg.Kafka.CatalogTopic, 0).Produce(t.Context(), r))
			}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- s.followCatalog(ctx) }()
			<-s.catalogLoaded
			require.NoError(t, s.checkCatalogRead([]string{copierRole, auditorRole}))
			if c.want == "" {
				require.NoError(t, s.checkCatalogRead(allRoles))
			} else {
				for _, roles := range [][]string{{collectorRole}, {appenderRole}, allRoles} {
					require.ErrorContains(t, s.checkCatalogRead(roles), c.want)
				}
			}
			cancel()
			require.ErrorIs(t, <-ended, context.Canceled)
		})
	}
}

// Appenders do not start with an empty catalog if files were delivered before: a catalog topic that
// is misspelt, or was deleted, is created again, empty.
func TestAppenderRefusesACatalogThatBecameEmpty(t *testing.T) {
	cfg := config.Default()
	cfg.Kafka.Brokers = []string{porttest.Free(t)}
	s, err := openServices(cfg, testCredentials, false, silent, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.close()) }()
	staging := objstore.NewMemory("staging")
	s.staging = staging
	require.NoError(t, s.checkCatalogNotEmptied(t.Context(), allRoles), "a new fleet may start with an empty catalog")

	const workspace = "ws_7Qm2Zc9LkTRpV4xWnBsD0a"
	log := ledger.Log{Topic: cfg.Kafka.EventsTopic, Incarnation: "0", Partition: 3} // a former incarnation
	_, err = staging.Put(t.Context(), delivery.ReceiptKey(delivery.FileRef{Topic: log.Topic, Incarnation: log.Incarnation, Partition: log.Partition, Seq: 7}, workspace+"/lake"), strings.NewReader("{}"), objstore.PutOptions{})
	require.NoError(t, err)
	require.NoError(t, s.checkCatalogNotEmptied(t.Context(), []string{copierRole, auditorRole, collectorRole}))
	require.ErrorContains(t, s.checkCatalogNotEmptied(t.Context(), allRoles), "correct kafka.catalog_topic")

	cfg.Kafka.EventsTopic += "2"
	s.cfg = cfg
	require.NoError(t, s.checkCatalogNotEmptied(t.Context(), allRoles), "receipts of another topic do not count")
	s.cfg.Kafka.EventsTopic = log.Topic
	require.NoError(t, s.catalog.Apply(workspace, catalog.Encode(catalog.Workspace{ID: workspace})))
	s.catalog.Publish()
	require.NoError(t, s.checkCatalogNotEmptied(t.Context(), allRoles))
}

// Events get the time at which they are written, except with kafka.received_from: record. With the
// time of receipt, Kafka's retention could delete an event that has waited, in a spool or as a dead
// letter, before it is read.
func TestRecordTimeOfEvents(t *testing.T) {
	for from, kept := range map[string]bool{"header": false, "json:at": false, "record": true} {
		t.Run(from, func(t *testing.T) {
			cfg := config.Default()
			cfg.Kafka.ReceivedFrom, cfg.Kafka.Brokers = from, []string{porttest.Free(t)}
			startKafka(t, cfg.Kafka.Brokers[0])
			s, err := openServices(cfg, testCredentials, false, silent, nil)
			require.NoError(t, err)
			defer func() { require.NoError(t, s.close()) }()
			require.NoError(t, s.kafka.EnsureTopics(t.Context(), true, stream.Topic{Name: cfg.Kafka.EventsTopic, Partitions: 1}))
			received := time.Now().AddDate(0, -1, 0).Truncate(time.Millisecond)
			require.NoError(t, s.eventsProducer().Produce(t.Context(), stream.Record{Key: []byte("web"), Value: []byte("{}"), Time: received}))
			got, err := s.kafka.NewFetcher(cfg.Kafka.EventsTopic, 0).Fetch(t.Context(), 0, stream.FetchOptions{})
			require.NoError(t, err)
			require.Equal(t, kept, received.Equal(got.Records[0].Time), got.Records[0].Time)
		})
	}
}

// A broker that accepts connections but never answers does not delay the end of a process.
func TestCloseDoesNotWaitForUnresponsiveBrokers(t *testing.T) {
	silence, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silence.Close()
	previous := closeTimeout
	closeTimeout = 50 * time.Millisecond
	defer func() { closeTimeout = previous }()
	cfg := config.Default()
	cfg.Kafka.Brokers = []string{silence.Addr().String()}
	s, err := openServices(cfg, testCredentials, false, silent, nil)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.Error(t, s.topicProducer("t", 0).Produce(ctx, stream.Record{Value: []byte("x")}))
	start := time.Now()
	require.NoError(t, s.close())
	require.Less(t, time.Since(start), 3*time.Second)
}

func TestLedgerNamesDiffer(t *testing.T) {
	a := config.Staging{Bucket: "staging"}
	names := map[string]bool{ledgerName(a): true}
	for _, c := range []config.Staging{{Bucket: "staging2"}, {Bucket: "staging", Prefix: "b"}, {Bucket: "staging", Endpoint: "https://s3.example"}} {
		names[ledgerName(c)] = true
	}
	require.Len(t, names, 4)
	a.Region = "eu-west-1" // not part of the name
	require.True(t, names[ledgerName(a)])
}

// Processes that spell the endpoint of one store differently share its leases.
func TestLedgerNameIsTheSameForAllSpellingsOfAnEndpoint(t *testing.T) {
	for store, endpoints := range map[string][]string{
		"a_server":     {"https://minio:9000", "https://minio:9000/", "https://MinIO:9000"},
		"default_port": {"https://minio", "https://minio:443/"},
		"aws":          {"", "https://s3.eu-west-1.amazonaws.com", "https://bucket.vpce-1a2b-3c4d.s3.eu-west-1.vpce.amazonaws.com"},
		"sovereign":    {"", "https://s3.eusc-de-east-1.amazonaws.eu", "https://bucket.vpce-1a2b-3c4d.s3.eusc-de-east-1.vpce.amazonaws.eu"},
		"isolated":     {"", "https://s3.us-isob-east-1.sc2s.sgov.gov"},
	} {
		names := map[string]bool{}
		for _, e := range endpoints {
			names[ledgerName(config.Staging{Bucket: "staging", Endpoint: e})] = true
		}
		require.Len(t, names, 1, store)
	}
}

// For every way to address a bucket, a PUT goes to the right URL, through the right HTTP client.
func TestBucketAddresses(t *testing.T) {
	yes, no := true, false
	for name, c := range map[string]struct {
		d       catalog.Destination
		dev     string // destinations.endpoint
		want    string
		guarded bool // by destinations.allowed_endpoints
	}{
		"aws":                  {d: catalog.Destination{Bucket: "acme-logs", Region: "eu-west-1"}, want: "https://acme-logs.s3.eu-west-1.amazonaws.com/k"},
		"dots":                 {d: catalog.Destination{Bucket: "logs.acme.example", Region: "eu-west-1"}, want: "https://s3.eu-west-1.amazonaws.com/logs.acme.example/k"},
		"path_style":           {d: catalog.Destination{Bucket: "acme-logs", Region: "eu-west-1", PathStyle: &yes}, want: "https://s3.eu-west-1.amazonaws.com/acme-logs/k"},
		"dual_stack":           {d: catalog.Destination{Bucket: "acme-logs", Region: "eu-west-1", DualStack: true}, want: "https://acme-logs.s3.dualstack.eu-west-1.amazonaws.com/k"},
		"fips":                 {d: catalog.Destination{Bucket: "acme-logs", Region: "us-west-2", FIPS: true}, want: "https://acme-logs.s3-fips.us-west-2.amazonaws.com/k"},
		"fips_dual_stack":      {d: catalog.Destination{Bucket: "acme-logs", Region: "us-gov-west-1", FIPS: true, DualStack: true}, want: "https://acme-logs.s3-fips.dualstack.us-gov-west-1.amazonaws.com/k"},
		"fips_path_style":      {d: catalog.Destination{Bucket: "acme-logs", Region: "us-east-1", FIPS: true, PathStyle: &yes}, want: "https://s3-fips.us-east-1.amazonaws.com/acme-logs/k"},
		"china":                {d: catalog.Destination{Bucket: "acme-logs", Region: "cn-north-1"}, want: "https://acme-logs.s3.cn-north-1.amazonaws.com.cn/k"},
		"interface_endpoint":   {d: catalog.Destination{Bucket: "acme-logs", Region: "eu-west-1", Endpoint: "https://bucket.vpce-1a-2b.s3.eu-west-1.vpce.amazonaws.com"}, want: "https://acme-logs.bucket.vpce-1a-2b.s3.eu-west-1.vpce.amazonaws.com/k", guarded: true},
		"sovereign":            {d: catalog.Destination{Bucket: "acme-logs", Region: "eusc-de-east-1"}, want: "https://acme-logs.s3.eusc-de-east-1.amazonaws.eu/k"},
		"sovereign_interface":  {d: catalog.Destination{Bucket: "acme-logs", Region: "eusc-de-east-1", Endpoint: "https://bucket.vpce-1a-2b.s3.eusc-de-east-1.vpce.amazonaws.eu"}, want: "https://acme-logs.bucket.vpce-1a-2b.s3.eusc-de-east-1.vpce.amazonaws.eu/k", guarded: true},
		"interface_path_style": {d: catalog.Destination{Bucket: "acme-logs", Region: "eu-west-1", Endpoint: "https://bucket.vpce-1a-2b.s3.eu-west-1.vpce.amazonaws.com", PathStyle: &yes}, want: "https://bucket.vpce-1a-2b.s3.eu-west-1.vpce.amazonaws.com/acme-logs/k", guarded: true},
		"compatible":           {d: catalog.Destination{Bucket: "acme-logs", Endpoint: "http://minio:9000"}, want: "http://minio:9000/acme-logs/k", guarded: true},
		"compatible_virtual":   {d: catalog.Destination{Bucket: "acme-logs", Endpoint: "https://s3.example.com", PathStyle: &no}, want: "https://acme-logs.s3.example.com/k", guarded: true},
		"operators_endpoint":   {d: catalog.Destination{Bucket: "vault", PathStyle: &no}, dev: "http://minio.corp:9000", want: "http://minio.corp:9000/vault/k"},
		"dev":                  {d: catalog.Destination{Bucket: "acme-logs", FIPS: true, PathStyle: &no}, dev: "http://127.0.0.1:9000", want: "http://127.0.0.1:9000/acme-logs/k"},
	} {
		t.Run(name, func(t *testing.T) {
			c.d.Name, c.d.Sources = "main", []string{"web"}
			snapshot, err := catalog.NewSnapshot([]catalog.Workspace{{ID: "ws_AAAAAAAAAAAAAAAA", Sources: []catalog.Source{{ID: "web"}}, Destinations: []catalog.Destination{c.d}}})
			require.NoError(t, err)
			target, _ := snapshot.Destination("ws_AAAAAAAAAAAAAAAA/main")
			if target.Region == "" {
				target.Region = "us-east-1" // as pkg/destination does
			}
			var ours, guarded recorder
			s := &services{cfg: config.Config{Destinations: config.Destinations{Endpoint: c.dev}}, credentials: testCredentials, destinationClient: &http.Client{Transport: &ours}, guardedClient: &http.Client{Transport: &guarded}}
			_, err = s.openBucket(target, nil).Put(t.Context(), "k", strings.NewReader("x"), objstore.PutOptions{})
			require.NoError(t, err)
			if c.guarded {
				require.Equal(t, recorder{c.want}, guarded)
				require.Empty(t, ours)
			} else {
				require.Equal(t, recorder{c.want}, ours)
				require.Empty(t, guarded)
			}
		})
	}
}

// recorder answers every request, and records its URL.
type recorder []string

func (r *recorder) RoundTrip(q *http.Request) (*http.Response, error) {
	u := *q.URL
	u.RawQuery = ""
	*r = append(*r, u.String())
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Etag": {`"e"`}}, Body: http.NoBody, Request: q}, nil
}

// openStack starts the embedded services, and connects to them with a configuration that change may
// adapt. The staging bucket and the topics are there.
func openStack(t *testing.T, change func(*config.Config)) (*stack, *services) {
	t.Helper()
	s, err := startStack(stackConfig{dir: t.TempDir()}, silent)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.close()) })
	cfg := config.Default()
	s.configure(&cfg)
	change(&cfg)
	require.NoError(t, s.s3.CreateBucket(cfg.Staging.Bucket))
	svc, err := openServices(cfg, s.credentials, false, silent, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, svc.close()) })
	require.NoError(t, svc.kafka.EnsureTopics(t.Context(), true, svc.topics()...))
	return s, svc
}

// Commands soon give up a server that does not answer; roles wait for it as long as ever.
func TestOnlyCommandsGiveUpSilentServers(t *testing.T) {
	a := &app{cfg: config.Default(), log: silent}
	impatient := transport.GiveUpSilent(nil)
	require.NoError(t, withConnections(a, false, func(command *services) error {
		for _, c := range []*http.Client{command.stagingClient, command.stsClient, command.destinationClient, command.guardedClient} {
			require.IsType(t, impatient, c.Transport)
		}
		return nil
	}))
	role, err := openServices(a.cfg, nil, false, silent, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, role.close()) }()
	for _, c := range []*http.Client{role.stagingClient, role.stsClient, role.destinationClient, role.guardedClient} {
		require.NotEqual(t, reflect.TypeOf(impatient), reflect.TypeOf(c.Transport))
	}
}
