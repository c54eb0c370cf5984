package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sealift/sealift/pkg/progress"
	"github.com/sealift/sealift/pkg/secret"
)

// Validate checks every value and the relations between them. It returns an
// *Error with all problems, each with its key, what is wrong and the fix.
func (c Config) Validate() error {
	v := validator{c: c}
	v.kafka()
	v.redis()
	v.staging()
	v.appender()
	v.copier()
	v.auditor()
	v.url("sts.endpoint", c.STS.Endpoint)
	v.caFile("sts.ca_file", c.STS.CAFile, c.STS.Endpoint)
	v.allowedEndpoints()
	v.principal()
	v.listeners()
	v.collector()
	v.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	v.oneOf("log.format", c.Log.Format, "", "text", "json")
	return v.problems.orNil()
}

type validator struct {
	c        Config
	problems Error
}

func (v *validator) add(key, what, fix string) {
	v.problems.Problems = append(v.problems.Problems, Problem{Key: key, From: v.c.origins[key], What: what, Fix: fix})
}

func (v *validator) oneOf(key, value string, known ...string) {
	if slices.Contains(known, value) {
		return
	}
	known = slices.DeleteFunc(known, func(s string) bool { return s == "" })
	v.add(key, fmt.Sprintf("%q is not known", value), "use "+strings.Join(known, ", "))
}

func (v *validator) between(key string, value, least, most int) {
	if value < least || value > most {
		v.add(key, fmt.Sprintf("%d is out of range", value), fmt.Sprintf("use %d to %d", least, most))
	}
}

func (v *validator) duration(key string, d, least, most time.Duration) {
	if d < least || d > most {
		v.add(key, progress.Duration(d)+" is out of range", fmt.Sprintf("use %s to %s", progress.Duration(least), progress.Duration(most)))
	}
}

func (v *validator) atLeast(key string, b, least ByteSize) {
	if b < least {
		v.add(key, b.String()+" is too small", "use at least "+least.String())
	}
}

const (
	month = 31 * 24 * time.Hour
	year  = 366 * 24 * time.Hour
)

var (
	topicName       = regexp.MustCompile(`^[A-Za-z0-9._-]{1,249}$`)
	incarnationName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
)

func (v *validator) kafka() {
	k := v.c.Kafka
	if len(k.Brokers) == 0 {
		v.add("kafka.brokers", "no broker is named", "write host:port, like localhost:9092")
	}
	for _, b := range k.Brokers {
		v.hostPort("kafka.brokers", b)
	}
	v.topics()
	if k.Group == "" {
		v.add("kafka.group", "it is empty", "name the consumer group, like sealift")
	}
	if !incarnationName.MatchString(k.Incarnation) || strings.Trim(k.Incarnation, ".") == "" {
		v.add("kafka.incarnation", fmt.Sprintf("%q cannot be part of an object's key", k.Incarnation), "use up to 64 of A-Z a-z 0-9 . _ -, like 2")
	}
	v.duration("kafka.session_timeout", k.SessionTimeout, time.Second, 30*time.Minute)
	v.between("kafka.partitions", k.Partitions, 1, 10_000)
	if k.Replication != -1 {
		v.between("kafka.replication", k.Replication, 1, 100)
	}
	v.oneOf("kafka.compression", k.Compression, "none", "gzip", "snappy", "lz4", "zstd")
	v.recordField("kafka.source_from", k.SourceFrom, "header", "key")
	v.recordField("kafka.received_from", k.ReceivedFrom, "header", "record")
	v.kafkaSecurity()
}

func (v *validator) topics() {
	k := v.c.Kafka
	seen := map[string]string{}
	topics := []struct{ key, name string }{
		{"kafka.events_topic", k.EventsTopic}, {"kafka.jobs_topic", k.JobsTopic},
		{"kafka.dead_letters_topic", k.DeadLettersTopic}, {"kafka.catalog_topic", k.CatalogTopic},
	}
	for _, t := range topics {
		if !topicName.MatchString(t.name) || t.name == "." || t.name == ".." {
			v.add(t.key, fmt.Sprintf("%q is not a topic name", t.name), "use up to 249 of A-Z a-z 0-9 . _ -")
		} else if other := seen[t.name]; other != "" {
			v.add(t.key, fmt.Sprintf("%q is also %s", t.name, other), "give each its own topic")
		}
		seen[t.name] = t.key
	}
	if most := 249 - len(".replay.retry-99"); len(k.JobsTopic) > most {
		v.add("kafka.jobs_topic", fmt.Sprintf("%q leaves no room for the topics that are named after it, like NAME.replay.retry-1", k.JobsTopic), fmt.Sprintf("use up to %d characters", most))
	}
	for _, t := range topics {
		if strings.HasPrefix(t.name, k.JobsTopic+".re") {
			v.add(t.key, fmt.Sprintf("%q is named like the retry tiers and replays of kafka.jobs_topic", t.name), "give it another name")
		}
	}
}

func (v *validator) kafkaSecurity() {
	t, s := v.c.Kafka.TLS, v.c.Kafka.SASL
	v.tls("kafka.tls", t, t.Enabled)
	if s.Mechanism == "" {
		if s.Username != "" || s.Password != (secret.Text{}) {
			v.add("kafka.sasl.mechanism", "it is empty but a username or password is set", "use plain, scram-sha-256 or scram-sha-512")
		}
		return
	}
	v.oneOf("kafka.sasl.mechanism", s.Mechanism, "plain", "scram-sha-256", "scram-sha-512")
	if s.Username == "" {
		v.add("kafka.sasl.username", "it is empty", "set it, or remove kafka.sasl.mechanism")
	}
	if s.Password == (secret.Text{}) {
		v.add("kafka.sasl.password", "it is empty", "set "+Env("kafka.sasl.password")+", or remove kafka.sasl.mechanism")
	}
	if s.Mechanism == "plain" && !t.Enabled && !s.AllowPlaintext {
		v.add("kafka.sasl.mechanism", "plain sends the password, and without kafka.tls.enabled everybody on the way can read it",
			"set kafka.tls.enabled, use scram-sha-512, or set kafka.sasl.allow_plaintext")
	}
}

// tls checks a TLS section; on says whether TLS is used.
func (v *validator) tls(section string, t TLS, on bool) {
	if !on && (t.CAFile != "" || t.CertFile != "" || t.KeyFile != "" || t.InsecureSkipVerify) {
		v.add(section+".enabled", "it is false but other "+section+" keys are set, so the connection would be in plain text", "set it to true, or remove them")
	}
	if (t.CertFile == "") != (t.KeyFile == "") {
		v.add(section+".cert_file", "a client certificate needs both "+section+".cert_file and "+section+".key_file", "set both or none")
	}
	if t.CAFile != "" && t.InsecureSkipVerify {
		v.add(section+".insecure_skip_verify", "it is true, so that "+section+".ca_file means nothing", "remove one of them")
	}
}

// caFile checks that file is not set for an endpoint without TLS.
func (v *validator) caFile(key, file, endpoint string) {
	if file != "" && strings.HasPrefix(endpoint, "http:") {
		at, _, _ := strings.Cut(key, ".")
		v.add(key, "it is set but "+at+".endpoint is http, so the connection would be in plain text", "write "+at+".endpoint with https, or remove it")
	}
}

// recordField checks where a property of a record is found.
func (v *validator) recordField(key, value string, words ...string) {
	if path, ok := strings.CutPrefix(value, "json:"); slices.Contains(words, value) || ok && strings.TrimSpace(path) != "" && !strings.Contains(path, ";") {
		return // no semicolon, because it separates the two places in the ledger
	}
	v.add(key, fmt.Sprintf("%q is not known", value), "use "+strings.Join(words, ", ")+" or json:PATH without a semicolon, like json:context.source")
}

func (v *validator) redis() {
	// The URL may contain a password, so neither it nor an error about it is shown.
	u, err := url.Parse(v.c.Redis.URL.Reveal())
	switch {
	case err != nil || !slices.Contains([]string{"redis", "rediss", "unix"}, u.Scheme):
		v.add("redis.url", "it is not a Redis URL", "write redis://[user:password@]host:port/database, or rediss:// for TLS; in a password, write / as %2F, # as %23 and ? as %3F")
	case u.Scheme != "unix" && u.Hostname() == "":
		v.add("redis.url", "it names no host", "write redis://host:6379/0")
	case u.Scheme != "unix" && strings.Trim(u.Path, "/") != "":
		if n, err := strconv.Atoi(strings.Trim(u.Path, "/")); err != nil || n < 0 {
			v.add("redis.url", "its path is not the number of a database", "end it with /0")
		}
	}
	t := v.c.Redis.TLS
	v.tls("redis.tls", t, v.c.Redis.UsesTLS())
	if err == nil && u.Scheme == "unix" && t.Enabled {
		v.add("redis.tls.enabled", "redis.url is a socket of this machine, which has no TLS", "set it to false, or write rediss://host:port/0")
	}
}

// UsesTLS reports whether connections to Redis use TLS, according to the URL or to
// redis.tls.enabled.
func (r Redis) UsesTLS() bool {
	return r.TLS.Enabled || strings.HasPrefix(strings.ToLower(r.URL.Reveal()), "rediss://")
}

var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

func (v *validator) staging() {
	s := v.c.Staging
	switch bucket, prefix, slash := strings.Cut(strings.TrimPrefix(s.Bucket, "s3://"), "/"); {
	case strings.HasPrefix(s.Bucket, "s3://") || slash:
		fix := "write staging.bucket: " + bucket
		if prefix = strings.Trim(prefix, "/"); prefix != "" {
			fix += " and staging.prefix: " + prefix
		}
		v.add("staging.bucket", fmt.Sprintf("%q is more than a bucket's name", s.Bucket), fix)
	case !bucketName.MatchString(s.Bucket):
		v.add("staging.bucket", fmt.Sprintf("%q is not a bucket's name", s.Bucket), "use 3 to 63 of a-z 0-9 . - that begin and end with a letter or digit")
	}
	if p := s.Prefix; p != "" && (p != strings.Trim(p, "/") || slices.ContainsFunc(strings.Split(p, "/"), badSegment)) {
		v.add("staging.prefix", fmt.Sprintf("%q is not a key prefix", p), "write it like path/prefix: A-Z a-z 0-9 . _ - = between slashes, none at the ends")
	}
	v.url("staging.endpoint", s.Endpoint)
	v.caFile("staging.ca_file", s.CAFile, s.Endpoint)
	if o := s.ExpectedBucketOwner; o != "" && !account.MatchString(o) {
		v.add("staging.expected_bucket_owner", fmt.Sprintf("%q is not an AWS account", o), "write its 12 digits")
	}
	v.duration("staging.retain", s.Retain, time.Second, 10*year)
}

var account = regexp.MustCompile(`^[0-9]{12}$`)

// DefaultBucketOnAWS reports whether nobody has said which bucket at AWS is meant. The default name
// may well be that of a stranger's bucket.
func (c Config) DefaultBucketOnAWS() bool {
	return c.Staging.Endpoint == "" && c.Origin("staging.bucket") == "default" && c.Staging.Bucket == Default().Staging.Bucket
}

var segment = regexp.MustCompile(`^[A-Za-z0-9._=-]+$`)

func badSegment(s string) bool { return !segment.MatchString(s) || s == "." || s == ".." }

func (v *validator) appender() {
	a := v.c.Appender
	if a.DataDir == "" {
		v.add("appender.data_dir", "it is empty", "name a directory, like ./sealift-data/appender")
	}
	v.duration("appender.roll_every", a.RollEvery, time.Second, time.Hour)
	if a.RollEvery > 0 && a.RollEvery <= time.Hour && time.Hour%a.RollEvery != 0 {
		v.add("appender.roll_every", progress.Duration(a.RollEvery)+" does not divide an hour", "use 1h, 30m, 20m, 15m, 10m, 5m, 1m or another part of an hour")
	}
	if a.Grace < 0 || a.RollEvery > 0 && a.Grace > a.RollEvery { // a grace that nobody set is 0s if roll_every is wrong
		v.add("appender.grace", progress.Duration(a.Grace)+" is out of range", "use 0s to appender.roll_every")
	}
	v.atLeast("appender.max_bytes", a.MaxBytes, 2<<20) // 2 MiB: segment.MinMaxBytes
	if a.MaxBytes > 100e6 {
		v.add("appender.max_bytes", a.MaxBytes.String()+" is above what readers of these files expect", "use at most 100MB")
	}
	v.atLeast("appender.memory", a.Memory, 1<<20)
	v.atLeast("appender.disk_free", a.DiskFree, 0)
	if a.DedupWindow != 0 {
		v.duration("appender.dedup_window", a.DedupWindow, time.Minute, month)
		v.atLeast("appender.dedup_memory", a.DedupMemory, 16<<20)
	}
	v.between("appender.level", a.Level, 1, 9)
}

func (v *validator) copier() {
	c := v.c.Copier
	v.between("copier.concurrency", c.Concurrency, 1, 10_000)
	v.between("copier.per_destination", c.PerDestination, 1, 10_000)
	v.between("copier.replay_concurrency", c.ReplayConcurrency, 0, 10_000)
	v.duration("copier.lock_ttl", c.LockTTL, time.Second, time.Hour)
	if len(c.RetryTiers) == 0 {
		v.add("copier.retry_tiers", "it is empty", "write durations that grow, like 1m,10m,1h")
	}
	if !slices.IsSorted(c.RetryTiers) || len(c.RetryTiers) > 0 && slices.Min(c.RetryTiers) <= 0 {
		v.add("copier.retry_tiers", "they must be above zero and grow", "write them like 1m,10m,1h")
	}
	v.duration("copier.park_after", c.ParkAfter, time.Second, month)
}

func (v *validator) auditor() {
	a := v.c.Auditor
	v.duration("auditor.every", a.Every, time.Second, month)
	v.between("auditor.minute", a.Minute, 0, 59)
	v.duration("auditor.grace", a.Grace, 0, month)
}

func (v *validator) collector() {
	c := v.c.Collector
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		v.add("collector.tls.cert_file", "https needs both collector.tls.cert_file and collector.tls.key_file", "set both or none")
	}
	if _, err := c.Proxies(); err != nil {
		v.add("collector.trusted_proxies", err.Error(), "write an address like 10.1.2.3, or a network like 10.0.0.0/8")
	}
	if host := c.PublicHost; host != "" {
		u, err := url.Parse("https://" + host)
		if err != nil || u.Hostname() == "" || u.Host+u.Path != host || strings.Contains(host, "//") || strings.HasSuffix(host, "/") || strings.HasSuffix(host, "/v1") {
			v.add("collector.public_host", fmt.Sprintf("%q is not host[:port][/path]", withoutCredentials(host)), "write it like events.example.com: without https:// before it and /v1 behind")
		}
	}
	v.atLeast("collector.max_in_flight", c.MaxInFlight, 64<<20)          // less would refuse the largest requests forever
	v.duration("collector.drain_delay", c.DrainDelay, 0, 20*time.Second) // workers/sealift gives a role 45 s to stop
	v.between("collector.max_connections", c.MaxConnections, 1, 1_000_000)
	v.oneOf("collector.validation", c.Validation, "segment", "none")
	v.between("collector.rate_limit.per_key", c.RateLimit.PerKey, 0, 100_000_000)
	v.between("collector.rate_limit.per_workspace", c.RateLimit.PerWorkspace, 0, 100_000_000)
	v.duration("collector.rate_limit.burst", c.RateLimit.Burst, time.Second, time.Hour)
	v.atLeast("collector.spool.max_bytes", c.Spool.MaxBytes, 64<<20)
}

// Proxies returns TrustedProxies as networks. A single address is a network of its own.
func (c Collector) Proxies() ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, text := range c.TrustedProxies {
		network, err := netip.ParsePrefix(text)
		if addr, bad := netip.ParseAddr(text); bad == nil {
			network, err = netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen()), nil
		}
		if err != nil || network.Addr().Is4In6() { // addresses are compared as IPv4
			return nil, fmt.Errorf("%q is neither an address nor a network", text)
		}
		out = append(out, network)
	}
	return out, nil
}

func (v *validator) allowedEndpoints() {
	v.url("destinations.endpoint", v.c.Destinations.Endpoint)
	const key = "destinations.allowed_endpoints"
	for _, e := range v.c.Destinations.AllowedEndpoints {
		if network, err := netip.ParsePrefix(e); err == nil {
			if network.Addr().Is4In6() { // addresses are compared as IPv4, so it would contain none
				v.add(key, fmt.Sprintf("%q is an IPv4 network in IPv6 form", e), "write it like 10.0.0.0/8")
			}
			continue
		}
		if _, err := netip.ParseAddr(e); err == nil {
			v.add(key, fmt.Sprintf("%q has neither a port nor a mask", e), "write host:port, or a network like 10.0.0.0/8")
			continue
		}
		v.hostPort(key, e)
	}
}

var principalARN = regexp.MustCompile(`^arn:aws[a-z-]*:(iam::[0-9]{12}:(root|(user|role)/[A-Za-z0-9_+=,.@/-]+)|sts::[0-9]{12}:assumed-role/.+)$`)

func (v *validator) principal() {
	if p := v.c.Destinations.Principal; p != "" && !principalARN.MatchString(p) {
		v.add("destinations.principal", fmt.Sprintf("%q is not the ARN of a user or role", p), "write it like arn:aws:iam::123456789012:role/sealift")
	}
}

func (v *validator) listeners() {
	c, a := v.c.Collector.Listen, v.c.Admin.Listen
	okC, okA := v.listen("collector.listen", c), v.listen("admin.listen", a)
	if okC && okA && c == a && !strings.HasSuffix(c, ":0") {
		v.add("admin.listen", fmt.Sprintf("%q is also collector.listen", a), "give each its own port")
	}
}

func (v *validator) listen(key, value string) bool {
	_, port, err := net.SplitHostPort(value)
	if n, bad := strconv.ParseUint(port, 10, 16); err == nil && bad == nil && n <= 65535 {
		return true
	}
	v.add(key, fmt.Sprintf("%q is not an address to listen on", value), "write :PORT or HOST:PORT, port 0 for any free one")
	return false
}

func (v *validator) hostPort(key, value string) {
	host, port, err := net.SplitHostPort(value)
	n, bad := strconv.ParseUint(port, 10, 16)
	if err == nil && bad == nil && n > 0 && host != "" && !strings.ContainsAny(host, "/ @") {
		return
	}
	fix := "write host:port"
	if u, err := url.Parse(value); err == nil && u.Host != "" {
		fix = "write " + u.Host // the value has a scheme
		if u.Port() == "" {
			fix += ":PORT"
		}
	}
	v.add(key, fmt.Sprintf("%q is not host:port", withoutCredentials(value)), fix)
}

// url checks an optional http or https URL of a server.
func (v *validator) url(key, value string) {
	if value == "" {
		return
	}
	u, err := url.Parse(value)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		v.add(key, "it is not a URL of a server", "write http://host:port or https://host[:port]")
	case u.User != nil:
		v.add(key, "it holds credentials", "remove them; they come from the SDK's default chain")
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		v.add(key, fmt.Sprintf("%q has a path or query", withoutCredentials(value)), "write "+u.Scheme+"://"+u.Host)
	}
}
