// Package config is the configuration of every Sealift process: one YAML
// file, environment variables and flags, merged in that order of strength
// (flag > environment > file > default), checked as a whole before anything
// starts.
//
// It reads and validates values, and reports every problem at once with its
// fix. It connects to nothing and opens no file but the configuration itself.
package config

import (
	"time"

	"github.com/sealift/sealift/pkg/secret"
)

// Config is the whole configuration. The yaml tag of a field is its name in
// the file; SEALIFT_ and the path in capitals, joined by underscores, is its
// environment variable.
type Config struct {
	Kafka        Kafka        `yaml:"kafka"`
	Redis        Redis        `yaml:"redis"`
	Staging      Staging      `yaml:"staging"`
	Appender     Appender     `yaml:"appender"`
	Copier       Copier       `yaml:"copier"`
	Auditor      Auditor      `yaml:"auditor"`
	STS          STS          `yaml:"sts"`
	Destinations Destinations `yaml:"destinations"`
	Collector    Collector    `yaml:"collector"`
	Admin        Admin        `yaml:"admin"`
	Log          Log          `yaml:"log"`

	origins map[string]string // key -> where its value came from; absent: default
}

// Kafka is how to reach the brokers and which topics are used.
type Kafka struct {
	Brokers          []string      `yaml:"brokers"`            // host:port; default localhost:9092
	EventsTopic      string        `yaml:"events_topic"`       // events on their way into files; default sealift.events
	JobsTopic        string        `yaml:"jobs_topic"`         // files on their way to customers; those of its retries and replays begin with it; default sealift.copy-jobs
	DeadLettersTopic string        `yaml:"dead_letters_topic"` // records that are in no file, with the reason; default sealift.dead-letters
	CatalogTopic     string        `yaml:"catalog_topic"`      // sources and destinations, compacted; default sealift.catalog
	Group            string        `yaml:"group"`              // consumer group of the appenders; that of copiers begins with it; default sealift
	Incarnation      string        `yaml:"incarnation"`        // names the events topic's life in the ledger: a new one when the topic was re-created; default "1"
	SessionTimeout   time.Duration `yaml:"session_timeout"`    // a worker that is not heard of for so long loses its partitions; default 30s
	Partitions       int           `yaml:"partitions"`         // of topics that Sealift creates; default 8
	Replication      int           `yaml:"replication"`        // of topics that Sealift creates; default -1, the broker's own
	CreateTopics     bool          `yaml:"create_topics"`      // create topics that are missing; default true
	Compression      string        `yaml:"compression"`        // of what is written to Kafka: none, gzip, snappy, lz4 or zstd; default lz4
	TLS              TLS           `yaml:"tls"`
	SASL             SASL          `yaml:"sasl"`
	// SourceFrom is where a record's source id is: "header", "key" or
	// "json:PATH"; default header (sealift-source).
	SourceFrom string `yaml:"source_from"`
	// ReceivedFrom is where its time of receipt is: "header", "record" or
	// "json:PATH"; default header (sealift-received).
	ReceivedFrom string `yaml:"received_from"`
}

// TLS secures connections to Kafka or to Redis. Files are PEM. Authorities are
// read when the process starts, our own certificate again for each connection: a
// new one is taken up without a restart, and one that is broken changes nothing.
type TLS struct {
	Enabled  bool   `yaml:"enabled"`   // default false; a redis.url with rediss:// is as good
	CAFile   string `yaml:"ca_file"`   // authorities that are trusted instead of the system's; default: the system's
	CertFile string `yaml:"cert_file"` // our own certificate, where clients need one; default none
	KeyFile  string `yaml:"key_file"`  // of CertFile
	// InsecureSkipVerify takes any certificate of the server, so that whoever is
	// between can read all; never for production. Default false.
	InsecureSkipVerify bool `yaml:"insecure_skip_verify"`
}

// SASL authenticates to Kafka. Only used when Mechanism is set.
type SASL struct {
	Mechanism string      `yaml:"mechanism"` // plain, scram-sha-256 or scram-sha-512
	Username  string      `yaml:"username"`  // of the account at the brokers
	Password  secret.Text `yaml:"password"`  // best as a variable
	// AllowPlaintext lets plain send the password over a connection without
	// TLS; scram never sends it. Default false.
	AllowPlaintext bool `yaml:"allow_plaintext"`
}

// Redis holds leases and caches; nothing that cannot be lost.
type Redis struct {
	URL secret.Text `yaml:"url"` // default redis://localhost:6379/0; rediss:// is TLS
	TLS TLS         `yaml:"tls"`
}

// Staging is the operator's own bucket.
type Staging struct {
	Bucket   string `yaml:"bucket"`   // its name; has to be set at AWS, where the default may be a stranger's; default sealift-staging
	Prefix   string `yaml:"prefix"`   // key prefix, without a trailing slash; default none
	Region   string `yaml:"region"`   // the bucket's; default: the SDK's, else us-east-1
	Endpoint string `yaml:"endpoint"` // URL of an S3-compatible server; default AWS
	// ForcePathStyle asks for endpoint/bucket/key in place of bucket.endpoint/key,
	// as most servers but AWS want it. Default false.
	ForcePathStyle bool `yaml:"force_path_style"`
	// CAFile holds the authorities, in PEM, that an https Endpoint is trusted by.
	// Default: AWS_CA_BUNDLE, else the system's.
	CAFile string `yaml:"ca_file"`
	// ExpectedBucketOwner is the account of 12 digits that has to own the bucket:
	// another's, of the same name, gets nothing. Default: not checked.
	ExpectedBucketOwner string        `yaml:"expected_bucket_owner"`
	Retain              time.Duration `yaml:"retain"` // delivered files are kept this long for replay; default 168h
}

// Appender configures reading events into files and sealing them.
type Appender struct {
	DataDir   string        `yaml:"data_dir"`   // open files; of one process; on a disk that outlives it; default ./sealift-data/appender
	RollEvery time.Duration `yaml:"roll_every"` // files are sealed at each turn of it; 1s to 1h, divides an hour; UTC-aligned; default 1h
	Grace     time.Duration `yaml:"grace"`      // how long after the turn late records are awaited; at most roll_every; default 10s, or roll_every if shorter
	MaxBytes  ByteSize      `yaml:"max_bytes"`  // compressed, upper bound of an object, but for one line that might exceed it alone; default 100MB
	Memory    ByteSize      `yaml:"memory"`     // bound on what open files hold; default 512MiB
	// DedupWindow is how long a message is remembered after its receipt, so that
	// copies of it that SDKs resend are dropped; 0 is off; default 24h.
	DedupWindow time.Duration `yaml:"dedup_window"`
	// DedupMemory bounds what that takes; only used when DedupWindow is set. A
	// message takes 1.5 bytes, 1 when memory is short; default 256MiB.
	DedupMemory ByteSize `yaml:"dedup_memory"`
	DiskFree    ByteSize `yaml:"disk_free"` // reading pauses below this much free disk; default 1GiB
	Level       int      `yaml:"level"`     // gzip level 1 to 9, of which 2 to 6 are the same; 1 takes a quarter less CPU to compress, for files a sixth larger; default 6
	// SealOnStop seals what is open when the process stops, and leaves its
	// partitions to others at once: for scaling in. Otherwise it stays on the
	// disk, for this worker to come back within kafka.session_timeout, or to
	// be read again by the next owner. Default false.
	SealOnStop bool `yaml:"seal_on_stop"`
}

// Copier configures copying to customers' buckets.
type Copier struct {
	// Concurrency is how many copies go on at once; default 16. With those at
	// which nothing moves, and to destinations that are suspects, there are
	// at most three times as many; one whose object is stored counts no more.
	Concurrency    int           `yaml:"concurrency"`
	PerDestination int           `yaml:"per_destination"` // copies at once to one destination; default 4
	LockTTL        time.Duration `yaml:"lock_ttl"`        // of a file's lease in Redis, which is renewed while it is copied; default 2m
	// SpoolDir holds the files that are being copied: up to three of
	// appender.max_bytes for each copy of Concurrency and ReplayConcurrency.
	// Default: the system's temporary directory.
	SpoolDir     string          `yaml:"spool_dir"`
	RetryTiers   []time.Duration `yaml:"retry_tiers"`   // what failed waits so long for its second, third, … try, the last one again and again; default 1m,10m,1h
	ParkAfter    time.Duration   `yaml:"park_after"`    // a file that failed for so long is parked; default 24h
	WithoutRedis bool            `yaml:"without_redis"` // go on copying while Redis is down; default false
	// ReplayConcurrency is how many copies are made at once for replays, beside
	// the others; 0: this copier takes none; default 2.
	ReplayConcurrency int `yaml:"replay_concurrency"`
}

// Auditor configures the reconciliation of owed against received.
type Auditor struct {
	Every  time.Duration `yaml:"every"`  // how often what is owed is compared with receipts; default 1h
	Minute int           `yaml:"minute"` // of the hour, when every is 1h; default 40
	Grace  time.Duration `yaml:"grace"`  // younger entries are left alone, but by audit --force; default 10m
}

// STS is where roles are assumed.
type STS struct {
	Endpoint string `yaml:"endpoint"` // URL of STS; default: destinations.endpoint, or without that AWS's own, by region
	CAFile   string `yaml:"ca_file"`  // as staging.ca_file, for STS
	// VerifyTrust refuses destinations whose role can be assumed without the
	// workspace's external id; false is for an STS that does not know external
	// ids, such as MinIO's. Default true.
	VerifyTrust bool `yaml:"verify_trust"`
}

// Destinations guards what customers may ask Sealift to connect to.
type Destinations struct {
	// Endpoint is the URL of S3, and of STS without sts.endpoint, for
	// destinations that name none, as where all are on one store of your own.
	// Default: AWS's.
	Endpoint         string   `yaml:"endpoint"`
	AllowedEndpoints []string `yaml:"allowed_endpoints"` // host:port or CIDR that a destination's own endpoint may use though it is plain http, loopback or private; default none
	// CAFile holds authorities, in PEM, that destinations' servers are trusted by
	// beside those of AWS_CA_BUNDLE or the system. Default none.
	CAFile string `yaml:"ca_file"`
	// Principal is the ARN of the user or role that copiers run as, for the
	// policies that customers attach. Default: as whom a command runs.
	Principal string `yaml:"principal"`
}

// Collector is the Tracking API.
type Collector struct {
	Listen string `yaml:"listen"` // host:port of the Tracking API; default :8080
	// TLS serves https, HTTP/2 too, instead of http. Files that change are
	// taken up by the next connection. Default: none.
	TLS ServerTLS `yaml:"tls"`
	// TrustedProxies are the addresses or networks whose X-Forwarded-For and
	// X-Forwarded-Host are believed; default none.
	TrustedProxies []string `yaml:"trusted_proxies"`
	// PublicHost is where browsers reach it over https, as host[:port][/path];
	// what comes after is the API's /v1. SDKs that load their settings here, and have no
	// apiHost of their own, send there. Default: the host that they asked, over https, which
	// a proxy has to pass on as Host or, if trusted, X-Forwarded-Host; over http they are told
	// none, and send to Segment.
	PublicHost  string   `yaml:"public_host"`
	MaxInFlight ByteSize `yaml:"max_in_flight"` // of requests being read or produced; default 256MiB
	// DrainDelay is how long requests are taken at SIGTERM while /readyz answers 503, so
	// that a load balancer sees that first. What is in flight then has 20 s. Default 0s.
	DrainDelay     time.Duration `yaml:"drain_delay"`
	MaxConnections int           `yaml:"max_connections"` // at once; more wait to be accepted; default 10000
	// Validation says which events are taken: "segment", as Segment, puts those
	// without userId and anonymousId and track calls without event into the
	// dead letters; "none" takes them like others. Default segment.
	Validation string    `yaml:"validation"`
	RateLimit  RateLimit `yaml:"rate_limit"`
	Spool      Spool     `yaml:"spool"`
}

// Spool is a local disk that takes events while Kafka is away, and gives them
// to it afterwards, in order. What is answered 200 then is on this disk alone,
// fsynced, until Kafka is back.
type Spool struct {
	// Dir is the directory, of one process; default none: requests are answered
	// 503 while Kafka is away.
	Dir string `yaml:"dir"`
	// MaxBytes is how much it holds, an eighth of it dead letters; beyond, requests are
	// answered 503. Only used when Dir is set. Default 1GiB.
	MaxBytes ByteSize `yaml:"max_bytes"`
}

// ServerTLS is a listener's certificate, in PEM.
type ServerTLS struct {
	CertFile string `yaml:"cert_file"` // the certificate, with those between it and its authority; default none
	KeyFile  string `yaml:"key_file"`  // its key
}

// RateLimit bounds, in events a second, what one collector process takes.
type RateLimit struct {
	PerKey       int `yaml:"per_key"`       // of each write key; default 0, no limit
	PerWorkspace int `yaml:"per_workspace"` // of all keys of a workspace; default 0, no limit
	// Burst is how long a limit's events may come at once after as long a
	// pause; never less than one full batch, 2,500 events. Default 10s.
	Burst time.Duration `yaml:"burst"`
}

// Admin is the operators' HTTP listener: /metrics /healthz /readyz /version.
type Admin struct {
	Listen string `yaml:"listen"` // host:port; of one process; default :9090
	Pprof  bool   `yaml:"pprof"`  // serve profiles below /debug/pprof; default false
}

// Log is how a process speaks.
type Log struct {
	Level  string `yaml:"level"`  // debug, info, warn or error; default info
	Format string `yaml:"format"` // text or json; default text on a terminal, else json
}
