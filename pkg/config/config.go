// Package config is the configuration of every Sealift process: one YAML file, environment
// variables and flags. A flag takes precedence over the environment, the environment over the file,
// and the file over the default. The result is checked as a whole before anything starts.
//
// It reads and validates values, and reports every problem at once with its fix. It makes no
// connections, and opens no file except the configuration itself.
package config

import (
	"time"

	"github.com/sealift/sealift/pkg/secret"
)

// Config is the whole configuration. The yaml tag of a field is its name in the file. Its
// environment variable is SEALIFT_ and its path in capitals, joined by underscores.
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

	origins map[string]string // key -> where its value came from; absent: the default
}

// Kafka is how to reach the brokers and which topics are used.
type Kafka struct {
	Brokers          []string      `yaml:"brokers"`            // host:port; default localhost:9092
	EventsTopic      string        `yaml:"events_topic"`       // events that are not in files yet; default sealift.events
	JobsTopic        string        `yaml:"jobs_topic"`         // delivery jobs; the topics of retries and replays start with this name; default sealift.copy-jobs
	DeadLettersTopic string        `yaml:"dead_letters_topic"` // records that are in no file, with the reason; default sealift.dead-letters
	CatalogTopic     string        `yaml:"catalog_topic"`      // sources and destinations; a compacted topic; default sealift.catalog
	Group            string        `yaml:"group"`              // consumer group of the appenders; that of the copiers starts with this name; default sealift
	Incarnation      string        `yaml:"incarnation"`        // identifies the events topic in the ledger; set a new value only after the topic was re-created (not when it lost records); default "1"
	SessionTimeout   time.Duration `yaml:"session_timeout"`    // a worker without a heartbeat for this long loses its partitions; default 30s
	Partitions       int           `yaml:"partitions"`         // number of partitions of topics that Sealift creates; default 8
	Replication      int           `yaml:"replication"`        // replication factor of topics that Sealift creates; default -1, the broker's (before Kafka 2.4 there is none: set it)
	CreateTopics     bool          `yaml:"create_topics"`      // create topics that are missing; default true
	Compression      string        `yaml:"compression"`        // compression of what is written to Kafka: none, gzip, snappy, lz4 or zstd; default lz4
	TLS              TLS           `yaml:"tls"`
	SASL             SASL          `yaml:"sasl"`
	// SourceFrom is where a record's source id is: "header", "key" or
	// "json:PATH"; default header (sealift-source).
	SourceFrom string `yaml:"source_from"`
	// ReceivedFrom is where a record's time of receipt is: "header", "record" or
	// "json:PATH"; default header (sealift-received).
	ReceivedFrom string `yaml:"received_from"`
}

// TLS secures connections to Kafka or to Redis. Files are PEM. The authorities are
// read when the process starts, the client certificate for each new connection: it can
// be replaced without a restart, and a broken replacement is ignored.
type TLS struct {
	Enabled  bool   `yaml:"enabled"`   // use TLS; for Redis, rediss:// in redis.url does the same; default false
	CAFile   string `yaml:"ca_file"`   // certificate authorities to trust instead of the system's; default: the system's
	CertFile string `yaml:"cert_file"` // client certificate, if the server asks for one; default none
	KeyFile  string `yaml:"key_file"`  // private key of CertFile
	// InsecureSkipVerify accepts any server certificate, so a man in the middle can
	// read everything; never for production. Default false.
	InsecureSkipVerify bool `yaml:"insecure_skip_verify"`
}

// SASL authenticates to Kafka. Only used when Mechanism is set.
type SASL struct {
	Mechanism string      `yaml:"mechanism"` // plain, scram-sha-256 or scram-sha-512; default none
	Username  string      `yaml:"username"`  // SASL user name
	Password  secret.Text `yaml:"password"`  // SASL password; best set as SEALIFT_KAFKA_SASL_PASSWORD
	// AllowPlaintext lets plain send the password over a connection without
	// TLS; scram never sends it. Default false.
	AllowPlaintext bool `yaml:"allow_plaintext"`
}

// Redis holds leases and caches, nothing that must not be lost.
type Redis struct {
	URL secret.Text `yaml:"url"` // redis://[USER:PASSWORD@]HOST:PORT/DB, or rediss:// for TLS; default redis://localhost:6379/0
	TLS TLS         `yaml:"tls"`
}

// Staging is Sealift's own bucket.
type Staging struct {
	Bucket   string `yaml:"bucket"`   // name of the bucket; must be set on AWS, where the default may be a stranger's; default sealift-staging
	Prefix   string `yaml:"prefix"`   // key prefix, without a trailing slash; default none
	Region   string `yaml:"region"`   // region of the bucket; default: the SDK's, else us-east-1
	Endpoint string `yaml:"endpoint"` // URL of an S3-compatible server; default AWS
	// ForcePathStyle puts the bucket's name into the path, endpoint/bucket/key, instead of
	// the host, bucket.endpoint/key; most servers other than AWS need it. Default false.
	ForcePathStyle bool `yaml:"force_path_style"`
	// CAFile holds the certificate authorities, in PEM, to trust for an https Endpoint.
	// Default: AWS_CA_BUNDLE, else the system's.
	CAFile string `yaml:"ca_file"`
	// ExpectedBucketOwner is the account (12 digits) that must own the bucket, so that
	// nothing goes into another's bucket of this name. Default: not checked.
	ExpectedBucketOwner string        `yaml:"expected_bucket_owner"`
	Retain              time.Duration `yaml:"retain"` // delivered files are kept this long for replay; default 168h
}

// Appender configures reading events into files and sealing them.
type Appender struct {
	DataDir   string        `yaml:"data_dir"`   // directory of open files; one per process, on a disk that outlives it; default ./sealift-data/appender
	RollEvery time.Duration `yaml:"roll_every"` // how often files are sealed, aligned to UTC; 1s to 1h, must divide an hour; default 1h
	Grace     time.Duration `yaml:"grace"`      // how long to wait for late records after that; at most roll_every; default 10s, or roll_every if shorter
	MaxBytes  ByteSize      `yaml:"max_bytes"`  // largest object, compressed; only a single line may exceed it; default 100MB
	Memory    ByteSize      `yaml:"memory"`     // memory for the contents of open files; default 512MiB
	// DedupWindow is how long a message is remembered after its receipt, so that
	// copies that SDKs resend are dropped; 0 turns this off; default 24h.
	DedupWindow time.Duration `yaml:"dedup_window"`
	// DedupMemory is the memory for that; only used when DedupWindow is not 0. A
	// message takes 1.5 bytes, or 1 when memory is short; default 256MiB.
	DedupMemory ByteSize `yaml:"dedup_memory"`
	DiskFree    ByteSize `yaml:"disk_free"` // reading pauses while less than this is free on the disk, which has to hold a quarter more; default 1GiB
	Level       int      `yaml:"level"`     // gzip level 1 to 9; 2 to 6 are identical; 1 compresses with a quarter less CPU, into files a sixth larger; default 6
	// SealOnStop seals open files when the process stops, and gives its partitions up
	// at once: for scaling in. Otherwise they stay on the disk for this worker to
	// continue with, if it is back within kafka.session_timeout; else the next owner
	// reads their records again. Default false.
	SealOnStop bool `yaml:"seal_on_stop"`
}

// Copier configures copying to customers' buckets.
type Copier struct {
	// Concurrency is how many copies run at once; default 16. Stalled copies and copies
	// to suspect destinations come on top, up to three times this number in all; a
	// copy whose object is stored no longer counts.
	Concurrency    int           `yaml:"concurrency"`
	PerDestination int           `yaml:"per_destination"` // copies at once to one destination; default 4
	LockTTL        time.Duration `yaml:"lock_ttl"`        // expiry of a file's lease in Redis; renewed while the file is copied; default 2m
	// SpoolDir is the directory of the files that are being copied: up to three of
	// appender.max_bytes for each of Concurrency and ReplayConcurrency. Default: the
	// system's temporary directory.
	SpoolDir     string          `yaml:"spool_dir"`
	RetryTiers   []time.Duration `yaml:"retry_tiers"`   // delays before the second, third, … try; the last one repeats; default 1m,10m,1h
	ParkAfter    time.Duration   `yaml:"park_after"`    // a file that has failed for this long is parked; one that is refused, as by a policy, at the third refusal; default 24h
	WithoutRedis bool            `yaml:"without_redis"` // continue copying while Redis is down; default false
	// ReplayConcurrency is how many copies for replays run at once, besides the
	// others; 0: this copier takes no replays; default 2.
	ReplayConcurrency int `yaml:"replay_concurrency"`
}

// Auditor configures how what is owed is compared with what was delivered.
type Auditor struct {
	Every  time.Duration `yaml:"every"`  // how often audits run; default 1h
	Minute int           `yaml:"minute"` // minute of the hour at which audits run, when every is 1h; default 40
	Grace  time.Duration `yaml:"grace"`  // entries younger than this are skipped, except by audit --force; default 10m
}

// STS is where roles are assumed.
type STS struct {
	Endpoint string `yaml:"endpoint"` // URL of STS; default: destinations.endpoint, or if that is not set, AWS's by region
	CAFile   string `yaml:"ca_file"`  // as staging.ca_file, for STS
	// VerifyTrust refuses destinations whose role can be assumed without the
	// workspace's external id. Set it to false only for an STS without external ids,
	// such as MinIO's. Default true.
	VerifyTrust bool `yaml:"verify_trust"`
}

// Destinations is where customers' buckets are, and what Sealift may connect to.
type Destinations struct {
	// Endpoint is the URL of S3 (and, if sts.endpoint is not set, of STS) for destinations
	// that name none: for fleets whose buckets are all on one store of your own.
	// Default: AWS's.
	Endpoint         string   `yaml:"endpoint"`
	AllowedEndpoints []string `yaml:"allowed_endpoints"` // host:port or CIDR that a destination's own endpoint may use even though it is plain http, loopback or private; default none
	// CAFile holds certificate authorities, in PEM, to trust for destinations' servers,
	// besides those of AWS_CA_BUNDLE or the system. Default none.
	CAFile string `yaml:"ca_file"`
	// Principal is the ARN of the user or role that copiers run as, for the
	// policies that customers attach. Default: the principal of the command's own
	// credentials.
	Principal string `yaml:"principal"`
}

// Collector is the Tracking API.
type Collector struct {
	Listen string `yaml:"listen"` // host:port of the Tracking API; default :8080
	// TLS serves https, including HTTP/2, instead of http. Changed files are used from
	// the next connection on. Default: none.
	TLS ServerTLS `yaml:"tls"`
	// TrustedProxies are the addresses or networks whose X-Forwarded-For and
	// X-Forwarded-Host are believed; default none.
	TrustedProxies []string `yaml:"trusted_proxies"`
	// PublicHost is where browsers reach the collector over https, as host[:port][/path];
	// the API's /v1 follows it. SDKs that load their settings from the collector, and have
	// no apiHost of their own, send there. Default: the host that they asked over https; a
	// proxy has to pass it on as Host or, if trusted, X-Forwarded-Host. Over http no host is
	// given, and they send to Segment.
	PublicHost  string   `yaml:"public_host"`
	MaxInFlight ByteSize `yaml:"max_in_flight"` // memory for requests being read or produced; default 256MiB
	// DrainDelay is how long requests are still taken after SIGTERM while /readyz answers
	// 503, so that a load balancer notices. Requests in flight then have 20 s. Default 0s.
	DrainDelay     time.Duration `yaml:"drain_delay"`
	MaxConnections int           `yaml:"max_connections"` // open connections; more wait to be accepted; default 10000
	// Validation is which events become dead letters: with "segment", as at Segment,
	// those without userId and anonymousId, and track calls without event; with "none",
	// these are taken like others. Default segment.
	Validation string    `yaml:"validation"`
	RateLimit  RateLimit `yaml:"rate_limit"`
	Spool      Spool     `yaml:"spool"`
}

// Spool is a local disk that takes events while Kafka is down, and gives them
// to it afterwards, in order. Until then, what was answered 200 is on this disk
// alone, fsynced.
type Spool struct {
	// Dir is the directory, one per process; default none: requests are answered
	// 503 while Kafka is down.
	Dir string `yaml:"dir"`
	// MaxBytes is how much it holds, an eighth of it for dead letters; when it is full,
	// requests are answered 503. Only used when Dir is set. Default 1GiB.
	MaxBytes ByteSize `yaml:"max_bytes"`
}

// ServerTLS is a listener's certificate, in PEM.
type ServerTLS struct {
	CertFile string `yaml:"cert_file"` // certificate, followed by the intermediate ones; default none
	KeyFile  string `yaml:"key_file"`  // private key of CertFile
}

// RateLimit limits what one collector process takes, in events per second.
type RateLimit struct {
	PerKey       int `yaml:"per_key"`       // limit of each write key; default 0, no limit
	PerWorkspace int `yaml:"per_workspace"` // limit of all write keys of a workspace together; default 0, no limit
	// Burst is the size of the token bucket as time: after a pause this long, this much
	// time's worth of events may come at once; never less than one full batch, 2,500
	// events. Default 10s.
	Burst time.Duration `yaml:"burst"`
}

// Admin is the operators' HTTP listener: /metrics /healthz /readyz /version.
type Admin struct {
	Listen string `yaml:"listen"` // host:port; one per process; default :9090
	Pprof  bool   `yaml:"pprof"`  // serve profiles below /debug/pprof; default false
}

// Log configures the log, on stderr.
type Log struct {
	Level  string `yaml:"level"`  // debug, info, warn or error; default info
	Format string `yaml:"format"` // text or json; default text on a terminal, else json
}
