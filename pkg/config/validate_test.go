package config

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDefaultIsValid(t *testing.T) { require.NoError(t, Default().Validate()) }

func TestValidateNamesKeyAndFix(t *testing.T) {
	for name, c := range map[string]struct {
		key, value string
		want       string
	}{
		"no_brokers":            {"kafka.brokers", "", "kafka.brokers (flag): no broker is named; write host:port"},
		"broker_without_port":   {"kafka.brokers", "kafka", `"kafka" is not host:port; write host:port`},
		"broker_with_scheme":    {"kafka.brokers", "kafka://a:9092", "write a:9092"},
		"broker_port_zero":      {"kafka.brokers", "a:0", "not host:port"},
		"topic_name":            {"kafka.events_topic", "a b", `"a b" is not a topic name`},
		"topic_dots":            {"kafka.events_topic", "..", "is not a topic name"},
		"topic_twice":           {"kafka.jobs_topic", "sealift.events", `"sealift.events" is also kafka.events_topic`},
		"topic_of_a_tier":       {"kafka.events_topic", "sealift.copy-jobs.retry-1", "named like the retry tiers"},
		"jobs_topic_long":       {"kafka.jobs_topic", strings.Repeat("j", 240), "use up to 233 characters"},
		"group_empty":           {"kafka.group", "", "kafka.group"},
		"incarnation_slash":     {"kafka.incarnation", "../2", "cannot be part of an object's key"},
		"session_timeout":       {"kafka.session_timeout", "1ms", "use 1s to 30m"},
		"partitions":            {"kafka.partitions", "0", "use 1 to 10000"},
		"replication":           {"kafka.replication", "0", "kafka.replication"},
		"compression":           {"kafka.compression", "brotli", "use none, gzip, snappy, lz4, zstd"},
		"source_from":           {"kafka.source_from", "body", "use header, key or json:PATH"},
		"source_from_no_path":   {"kafka.source_from", "json:", "use header, key or json:PATH"},
		"source_from_semicolon": {"kafka.source_from", "json:a;b", "without a semicolon"},
		"received_from":         {"kafka.received_from", "key", "use header, record or json:PATH"},
		"tls_off_but_set":       {"kafka.tls.ca_file", "/ca.pem", "kafka.tls.enabled: it is false but other kafka.tls keys are set"},
		"sasl_mechanism":        {"kafka.sasl.mechanism", "oauth", "use plain, scram-sha-256, scram-sha-512"},
		"sasl_without_user":     {"kafka.sasl.mechanism", "plain", "kafka.sasl.username: it is empty"},
		"sasl_user_alone":       {"kafka.sasl.username", "x", "kafka.sasl.mechanism: it is empty but"},
		"sasl_plaintext":        {"kafka.sasl.mechanism", "plain", "set kafka.tls.enabled, use scram-sha-512, or set kafka.sasl.allow_plaintext"},
		"kafka_cert_alone":      {"kafka.tls.cert_file", "/a", "needs both kafka.tls.cert_file and kafka.tls.key_file"},
		"kafka_key_alone":       {"kafka.tls.key_file", "/a", "needs both kafka.tls.cert_file and kafka.tls.key_file"},
		"redis_tls_off":         {"redis.tls.ca_file", "/ca.pem", "redis.tls.enabled: it is false but other redis.tls keys are set"},
		"redis_cert_alone":      {"redis.tls.cert_file", "/a", "needs both redis.tls.cert_file and redis.tls.key_file"},
		"owner":                 {"staging.expected_bucket_owner", "1234", "write its 12 digits"},
		"redis_scheme":          {"redis.url", "localhost:6379", "write redis://"},
		"redis_password":        {"redis.url", "redis://:a/b@c:6379/0", "in a password, write / as %2F"},
		"redis_no_host":         {"redis.url", "redis:///0", "it names no host"},
		"redis_database":        {"redis.url", "redis://a:1/x", "end it with /0"},
		"staging_uri":           {"staging.bucket", "s3://stage/a/b/", "write staging.bucket: stage and staging.prefix: a/b"},
		"staging_with_path":     {"staging.bucket", "stage/a", "write staging.bucket: stage and staging.prefix: a"},
		"staging_upper":         {"staging.bucket", "Stage", "is not a bucket's name"},
		"staging_prefix_slash":  {"staging.prefix", "a/", "is not a key prefix"},
		"staging_prefix_dots":   {"staging.prefix", "a/../b", "is not a key prefix"},
		"staging_endpoint":      {"staging.endpoint", "localhost:9000", "write http://host:port"},
		"staging_credentials":   {"staging.endpoint", "http://a:b@c:9000", "remove them"},
		"staging_path":          {"staging.endpoint", "http://c:9000/bucket", "write http://c:9000"},
		"retain":                {"staging.retain", "0s", "staging.retain"},
		"data_dir":              {"appender.data_dir", "", "name a directory"},
		"roll_too_long":         {"appender.roll_every", "2h", "use 1s to 1h"},
		"roll_uneven":           {"appender.roll_every", "7m", "does not divide an hour"},
		"grace":                 {"appender.grace", "2h", "use 0s to appender.roll_every"},
		"grace_negative":        {"appender.grace", "-1s", "use 0s to"},
		"max_bytes_small":       {"appender.max_bytes", "10", "use at least 2MiB"},
		"max_bytes_large":       {"appender.max_bytes", "100MiB", "use at most 100MB"},
		"memory":                {"appender.memory", "1KB", "use at least 1MiB"},
		"dedup_window":          {"appender.dedup_window", "1s", "use 1m to"},
		"dedup_memory":          {"appender.dedup_memory", "1MiB", "use at least 16MiB"},
		"level":                 {"appender.level", "10", "use 1 to 9"},
		"concurrency":           {"copier.concurrency", "0", "copier.concurrency"},
		"per_destination":       {"copier.per_destination", "-1", "copier.per_destination"},
		"lock_ttl":              {"copier.lock_ttl", "1ms", "copier.lock_ttl"},
		"tiers_empty":           {"copier.retry_tiers", "", "it is empty"},
		"tiers_shrink":          {"copier.retry_tiers", "1h,1m", "must be above zero and grow"},
		"tiers_zero":            {"copier.retry_tiers", "0s,1m", "must be above zero and grow"},
		"park_after":            {"copier.park_after", "0s", "copier.park_after"},
		"audit_every":           {"auditor.every", "0s", "auditor.every"},
		"audit_minute":          {"auditor.minute", "60", "use 0 to 59"},
		"audit_grace":           {"auditor.grace", "-1s", "auditor.grace"},
		"sts_endpoint":          {"sts.endpoint", "ftp://x", "write http://host:port"},
		"allowed_bare_ip":       {"destinations.allowed_endpoints", "10.0.0.1", "neither a port nor a mask"},
		"allowed_mapped":        {"destinations.allowed_endpoints", "::ffff:10.0.0.0/104", "write it like 10.0.0.0/8"},
		"principal_name":        {"destinations.principal", "sealift", "write it like arn:aws:iam::123456789012:role/sealift"},
		"allowed_url":           {"destinations.allowed_endpoints", "http://minio:9000", "write minio:9000"},
		"listen":                {"collector.listen", "8080", "write :PORT or HOST:PORT"},
		"listen_port":           {"admin.listen", ":99999", "admin.listen"},
		"listen_twice":          {"admin.listen", ":8080", "is also collector.listen"},
		"tls_without_key":       {"collector.tls.cert_file", "/tls.crt", "set both or none"},
		"tls_without_cert":      {"collector.tls.key_file", "/tls.key", "set both or none"},
		"proxy_host":            {"collector.trusted_proxies", "proxy.internal", "write an address like 10.1.2.3"},
		"proxy_mapped":          {"collector.trusted_proxies", "::ffff:10.0.0.0/104", "neither an address nor a network"},
		"public_url":            {"collector.public_host", "https://events.example.com", "write it like events.example.com"},
		"public_query":          {"collector.public_host", "events.example.com?a", "is not host[:port][/path]"},
		"public_user":           {"collector.public_host", "u:p@events.example.com", "is not host[:port][/path]"},
		"public_path":           {"collector.public_host", "events.example.com/v1", "/v1 behind"},
		"public_slash":          {"collector.public_host", "events.example.com/", "/v1 behind"},
		"in_flight":             {"collector.max_in_flight", "63MiB", "use at least 64MiB"},
		"drain_delay":           {"collector.drain_delay", "1m", "use 0s to 20s"},
		"connections":           {"collector.max_connections", "0", "use 1 to 1000000"},
		"validation":            {"collector.validation", "strict", "use segment, none"},
		"rate_per_key":          {"collector.rate_limit.per_key", "-1", "use 0 to"},
		"rate_per_workspace":    {"collector.rate_limit.per_workspace", "-1", "use 0 to"},
		"spool":                 {"collector.spool.max_bytes", "1MiB", "use at least 64MiB"},
		"rate_burst":            {"collector.rate_limit.burst", "0s", "use 1s to 1h"},
		"log_level":             {"log.level", "loud", "use debug, info, warn, error"},
		"log_format":            {"log.format", "xml", "use text, json"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := Load("", nil, map[string]string{c.key: c.value})
			require.NoError(t, err)
			err = cfg.Validate()
			require.ErrorIs(t, err, ErrInvalid)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestValidateReportsAll(t *testing.T) {
	c := Default()
	c.Kafka.Group, c.Appender.Level, c.Log.Level = "", 0, ""
	c.Copier.RetryTiers = []time.Duration{2, 1}
	var e *Error
	require.ErrorAs(t, c.Validate(), &e)
	require.Len(t, e.Problems, 4)
	require.Contains(t, e.Error(), "4 problems\n  kafka.group: ")
}

func TestValidateAccepts(t *testing.T) {
	for key, value := range map[string]string{
		"kafka.source_from": "json:context.source", "kafka.received_from": "record", "redis.url": "unix:///run/redis.sock",
		"staging.prefix": "a/b=c", "staging.endpoint": "https://s3.example.com/", "destinations.allowed_endpoints": "minio:9000,[::1]:9000,10.0.0.0/8,fd00::/8",
		"destinations.principal": "arn:aws-cn:iam::123456789012:role/team/sealift",
		"admin.listen":           "127.0.0.1:0", "appender.roll_every": "1s", "kafka.brokers": "[::1]:9092,b:9092", "collector.listen": "localhost:80",
		"redis.tls.enabled": "true", "staging.ca_file": "/ca.pem", "sts.ca_file": "/ca.pem", "destinations.ca_file": "/ca.pem",
		"staging.expected_bucket_owner": "012345678901",
		"collector.trusted_proxies":     "10.1.2.3,10.0.0.0/8,::ffff:10.1.2.3,fd00::/8", "collector.validation": "none",
		"collector.public_host": "events.example.com:8443/in",
	} {
		cfg, err := Load("", nil, map[string]string{key: value})
		require.NoError(t, err)
		require.NoError(t, cfg.Validate(), key)
	}
}

// Values that contradict themselves, or another key.
func TestValidateRelations(t *testing.T) {
	for name, c := range map[string]struct {
		set  map[string]string
		want string // "" is valid
	}{
		"plain_with_tls":    {map[string]string{"kafka.sasl.mechanism": "plain", "kafka.sasl.username": "u", "kafka.sasl.password": "p", "kafka.tls.enabled": "true"}, ""},
		"plain_allowed":     {map[string]string{"kafka.sasl.mechanism": "plain", "kafka.sasl.username": "u", "kafka.sasl.password": "p", "kafka.sasl.allow_plaintext": "true"}, ""},
		"scram_without_tls": {map[string]string{"kafka.sasl.mechanism": "scram-sha-256", "kafka.sasl.username": "u", "kafka.sasl.password": "p"}, ""},
		"kafka_unverified":  {map[string]string{"kafka.tls.enabled": "true", "kafka.tls.ca_file": "/ca", "kafka.tls.insecure_skip_verify": "true"}, "kafka.tls.insecure_skip_verify (flag): it is true, so that kafka.tls.ca_file means nothing"},
		"rediss_ca":         {map[string]string{"redis.url": "rediss://a:1/0", "redis.tls.ca_file": "/ca"}, ""},
		"redis_ca":          {map[string]string{"redis.tls.enabled": "true", "redis.tls.ca_file": "/ca", "redis.tls.cert_file": "/c", "redis.tls.key_file": "/k"}, ""},
		"redis_socket":      {map[string]string{"redis.url": "unix:///a.sock", "redis.tls.enabled": "true"}, "redis.tls.enabled (flag): redis.url is a socket"},
		"staging_http":      {map[string]string{"staging.endpoint": "http://a:1", "staging.ca_file": "/ca"}, "staging.ca_file (flag): it is set but staging.endpoint is http"},
		"sts_http":          {map[string]string{"sts.endpoint": "http://a:1", "sts.ca_file": "/ca"}, "sts.ca_file (flag): it is set but sts.endpoint is http"},
		"staging_https":     {map[string]string{"staging.endpoint": "https://a:1", "staging.ca_file": "/ca"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := Load("", nil, c.set)
			require.NoError(t, err)
			if err = cfg.Validate(); c.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.want)
			}
		})
	}
}

// At AWS the default name may be that of a stranger's bucket, so the operator must have named one.
func TestDefaultBucketOnAWS(t *testing.T) {
	for name, c := range map[string]struct {
		set  map[string]string
		want bool
	}{
		"default":                {nil, true},
		"named":                  {map[string]string{"staging.bucket": "acme"}, false},
		"named_like_the_default": {map[string]string{"staging.bucket": "sealift-staging"}, false},
		"other_server":           {map[string]string{"staging.endpoint": "http://minio:9000"}, false},
	} {
		cfg, err := Load("", nil, c.set)
		require.NoError(t, err)
		require.Equal(t, c.want, cfg.DefaultBucketOnAWS(), name)
	}
}

func TestErrorsHoldNoSecret(t *testing.T) {
	for _, url := range []string{"redis//:hunter2@x", "redis://:hunter2@:1/0", "redis://:hunter2@x/y\x7f", "http://:hunter2@x"} {
		c, err := Load("", []string{"SEALIFT_REDIS_URL=" + url}, nil)
		require.NoError(t, err)
		err = c.Validate()
		require.Error(t, err)
		require.NotContains(t, err.Error(), "hunter2")
	}
}
