package config

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// writeFile writes a configuration file and returns its path.
func writeFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sealift.yaml")
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func TestFlagBeatsEnvBeatsFileBeatsDefault(t *testing.T) {
	path := writeFile(t, "kafka:\n  group: from-file\n  events_topic: from-file\n  jobs_topic: from-file\n")
	env := []string{"HOME=/root", "SEALIFT_KAFKA_GROUP=from-env", "SEALIFT_KAFKA_EVENTS_TOPIC=from-env"}
	c, err := Load(path, env, map[string]string{"kafka.group": "from-flag"})
	require.NoError(t, err)
	require.Equal(t, "from-flag", c.Kafka.Group)
	require.Equal(t, "from-env", c.Kafka.EventsTopic)
	require.Equal(t, "from-file", c.Kafka.JobsTopic)
	require.Equal(t, "sealift.catalog", c.Kafka.CatalogTopic)
	require.Equal(t, "flag", c.Origin("kafka.group"))
	require.Equal(t, "SEALIFT_KAFKA_EVENTS_TOPIC", c.Origin("kafka.events_topic"))
	require.Equal(t, path+":4", c.Origin("kafka.jobs_topic"))
	require.Equal(t, "default", c.Origin("kafka.catalog_topic"))
}

// The README's example configuration is valid.
func TestReadmeExample(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	_, example, found := strings.Cut(string(readme), "```yaml\n# sealift.yaml\n")
	require.True(t, found)
	example, _, _ = strings.Cut(example, "```")
	c, err := Load(writeFile(t, example), nil, nil)
	require.NoError(t, err)
	require.NoError(t, c.Validate())
	require.Equal(t, []string{"kafka-1:9092", "kafka-2:9092", "kafka-3:9092"}, c.Kafka.Brokers)
}

func TestEveryKeyIsAVariable(t *testing.T) {
	example := map[string]string{
		"kafka.brokers": "a:1, b:2", "kafka.session_timeout": "45s", "kafka.partitions": "12", "kafka.replication": "3",
		"kafka.create_topics": "false", "kafka.tls.enabled": "true", "kafka.tls.insecure_skip_verify": "true",
		"kafka.sasl.allow_plaintext": "true", "redis.tls.enabled": "true", "redis.tls.insecure_skip_verify": "true",
		"staging.force_path_style": "true", "staging.retain": "24h", "appender.roll_every": "30m", "appender.grace": "5s",
		"appender.max_bytes": "50MB", "appender.memory": "1GiB", "appender.dedup_window": "48h", "appender.dedup_memory": "1GiB", "appender.disk_free": "2GB", "appender.level": "9", "appender.seal_on_stop": "true",
		"copier.concurrency": "2", "copier.per_destination": "1", "copier.lock_ttl": "1m", "copier.retry_tiers": "1s,2s",
		"copier.park_after": "1h", "copier.replay_concurrency": "5", "copier.without_redis": "true", "auditor.every": "30m", "auditor.minute": "5",
		"auditor.grace": "1m", "admin.pprof": "true", "sts.verify_trust": "false", "destinations.allowed_endpoints": "minio:9000,10.0.0.0/8",
		"collector.max_in_flight": "1GiB", "collector.drain_delay": "5s", "collector.max_connections": "100", "collector.rate_limit.per_key": "100",
		"collector.rate_limit.per_workspace": "1000", "collector.rate_limit.burst": "5s",
		"collector.spool.max_bytes": "2GiB",
	}
	for _, path := range Keys() {
		value := example[path]
		if value == "" {
			value = "text"
		}
		c, err := Load("", []string{Env(path) + "=" + value}, nil)
		require.NoError(t, err, "%s: if it is no text, it needs an example above", path)
		require.Equal(t, Env(path), c.Origin(path))
		k, _ := findKey(path)
		d := Default()
		require.NotEqual(t, k.value(&d).Interface(), k.value(&c).Interface(), "%s was not set", path)
	}
	c, err := Load("", []string{"SEALIFT_KAFKA_BROKERS=a:1, b:2,", "SEALIFT_COPIER_RETRY_TIERS=1s,1h30m"}, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"a:1", "b:2"}, c.Kafka.Brokers)
	require.Equal(t, []time.Duration{time.Second, 90 * time.Minute}, c.Copier.RetryTiers)
}

func TestLoadReportsEveryProblem(t *testing.T) {
	path := writeFile(t, `
kafka:
  broker: a:1
  partitions: many
  replication: three
  tls: yes
kafak:
  group: x
brokers: [a:1]
apender: {}
appender:
  max_bytes: 5 apples
  roll_every: 60
redis: {url: {host: x}}
staging:
  bucket: [a, b]
  retain: 7d
`)
	_, err := Load(path, []string{"SEALIFT_KAFKA_TOPIC=x"}, map[string]string{"redis.uri": "x"})
	require.ErrorIs(t, err, ErrInvalid)
	for _, want := range []string{
		"kafka.broker (" + path + ":3): unknown key; the nearest known key is kafka.brokers",
		`kafka.partitions (` + path + `:4): "many" is not a whole number; write one, like 8`,
		`kafka.replication (` + path + `:5): "three" is not a whole number; write one, like 3`,
		"kafka.tls (" + path + ":6): it is text, not a mapping",
		"kafak.group (" + path + ":7): unknown key; the nearest known key is kafka.group",
		"brokers (" + path + ":9): unknown key; the nearest known key is kafka.brokers",
		"apender (" + path + ":10): unknown key; `sealift config print` shows all keys",
		`appender.max_bytes (` + path + `:12): "5 apples" is not a size; write`,
		`appender.roll_every (` + path + `:13): "60" is not a duration; write`,
		"redis.url (" + path + ":14): it takes a value, not a mapping",
		"staging.bucket (" + path + ":16): it takes one value, not a list",
		"staging.retain (" + path + `:17): "7d" is not a duration, since its largest unit is h; write 168h`,
		"SEALIFT_KAFKA_TOPIC (environment): unknown variable; the nearest known one is SEALIFT_KAFKA_",
		"redis.uri (flag): unknown key; the nearest known key is redis.url",
	} {
		require.ErrorContains(t, err, want)
	}
}

func TestLoadRefusesFiles(t *testing.T) {
	for name, c := range map[string]struct{ content, want string }{
		"two_documents": {"kafka: {group: a}\n---\nkafka: {group: b}\n", "sealift.yaml:3: a second YAML document begins here"},
		"a_list":        {"- kafka\n", "not a mapping"},
		"duplicate_key": {"kafka: {group: a}\nredis: {}\nkafka: {group: b}\n", "line 3"},
		"broken":        {"kafka: [", "sealift.yaml: line 1: not the YAML that is understood here"},
		"nested_list":   {"kafka:\n  brokers: [[a]]\n", "plain values"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Load(writeFile(t, c.content), nil, nil)
			require.ErrorIs(t, err, ErrInvalid)
			require.ErrorContains(t, err, c.want)
		})
	}
	_, err := Load(filepath.Join(t.TempDir(), "none.yaml"), nil, nil)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestFileIsFoundByDefaultOrVariable(t *testing.T) {
	t.Chdir(t.TempDir())
	c, err := Load("", nil, nil)
	require.NoError(t, err)
	require.Equal(t, "sealift", c.Kafka.Group)

	require.NoError(t, os.WriteFile("sealift.yaml", []byte("kafka: {group: found}\n"), 0o600))
	c, err = Load("", nil, nil)
	require.NoError(t, err)
	require.Equal(t, "found", c.Kafka.Group)

	c, err = Load("", []string{"SEALIFT_CONFIG=" + writeFile(t, "kafka: {group: named}\n")}, nil)
	require.NoError(t, err)
	require.Equal(t, "named", c.Kafka.Group)
}

func TestEmptyFilesAndValuesLeaveDefaults(t *testing.T) {
	for _, content := range []string{"", "# nothing\n", "kafka:\n", "kafka:\n  group:\n"} {
		c, err := Load(writeFile(t, content), nil, nil)
		require.NoError(t, err, "%q", content)
		require.Equal(t, "sealift", c.Kafka.Group)
	}
}

// Kubernetes sets such variables in each container for a Service named sealift-collector.
func TestKubernetesServiceLinksAreIgnored(t *testing.T) {
	_, err := Load("", []string{
		"SEALIFT_SERVICE_HOST=10.0.0.1", "SEALIFT_PORT=tcp://10.0.0.1:80", "SEALIFT_COLLECTOR_SERVICE_HOST=10.0.0.1",
		"SEALIFT_COLLECTOR_SERVICE_PORT=8080", "SEALIFT_COLLECTOR_SERVICE_PORT_HTTP=8080", "SEALIFT_COLLECTOR_PORT=tcp://10.0.0.1:8080",
		"SEALIFT_COLLECTOR_PORT_8080_TCP=tcp://10.0.0.1:8080", "SEALIFT_COLLECTOR_PORT_8080_TCP_PROTO=tcp", "SEALIFT_COLLECTOR_PORT_8080_TCP_ADDR=10.0.0.1",
	}, nil)
	require.NoError(t, err)
	_, err = Load("", []string{"SEALIFT_REDIS_PORT=6379"}, nil)
	require.ErrorContains(t, err, "SEALIFT_REDIS_PORT")
}

func TestScriptVariablesAreIgnored(t *testing.T) {
	_, err := Load("", []string{"SEALIFT_CACHE=/c", "SEALIFT_MINIO=/m", "SEALIFT_BIN=/b", "SEALIFT_WRITE_KEY=k", "SEALIFT_TEST_KAFKA=127.0.0.1:1"}, nil)
	require.NoError(t, err)
	_, err = Load("", []string{"SEALIFT_CACHES=/c"}, nil)
	require.ErrorContains(t, err, "SEALIFT_CACHES")
}

func TestTextIsNotReinterpreted(t *testing.T) {
	c, err := Load(writeFile(t, "kafka:\n  incarnation: 007\n  sasl: {password: 12e4, username: no}\n"), nil, nil)
	require.NoError(t, err)
	require.Equal(t, "007", c.Kafka.Incarnation)
	require.Equal(t, "12e4", c.Kafka.SASL.Password.Reveal())
	require.Equal(t, "no", c.Kafka.SASL.Username)
}

func TestGraceFollowsAShortRoll(t *testing.T) {
	c, err := Load("", nil, map[string]string{"appender.roll_every": "2s"})
	require.NoError(t, err)
	require.Equal(t, 2*time.Second, c.Appender.Grace)
	require.NoError(t, c.Validate())
	c, err = Load("", nil, map[string]string{"appender.roll_every": "2s", "appender.grace": "3s"})
	require.NoError(t, err)
	require.ErrorContains(t, c.Validate(), "appender.grace (flag): 3s is out of range")
	c, err = Load("", nil, map[string]string{"appender.roll_every": "-1h"})
	require.NoError(t, err)
	require.NotContains(t, c.Validate().Error(), "appender.grace", "nobody set it")
}

func TestPrintReadsBack(t *testing.T) {
	env := []string{
		"SEALIFT_KAFKA_SASL_USERNAME=it's: a # \"test\"", "SEALIFT_KAFKA_BROKERS=a:1,b:2", "SEALIFT_APPENDER_MAX_BYTES=50MB",
		"SEALIFT_STAGING_PREFIX=null", "SEALIFT_LOG_FORMAT=json", "SEALIFT_STAGING_ENDPOINT=http://[::1]:9000", "SEALIFT_REDIS_URL=redis://x:1/0",
	}
	c, err := Load("", env, nil)
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, c.Print(&out))
	require.Contains(t, out.String(), "# SEALIFT_KAFKA_BROKERS\n")

	again, err := Load(writeFile(t, out.String()), nil, nil)
	require.NoError(t, err)
	again.origins = c.origins
	require.Equal(t, c, again)
}

func TestDefaultFileOfKeysIsComplete(t *testing.T) {
	b, err := Default().MarshalJSON()
	require.NoError(t, err)
	for _, k := range Keys() {
		require.Contains(t, string(b), `"`+k+`"`)
		require.False(t, strings.HasPrefix(k, "."))
	}
}

func FuzzLoad(f *testing.F) {
	f.Add("kafka:\n  brokers: [a:1]\n", "SEALIFT_KAFKA_GROUP=x")
	f.Add("appender: {memory: 1GiB}\n", "SEALIFT_X=y")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, content, env string) {
		path := filepath.Join(dir, "sealift.yaml")
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		c, err := Load(path, []string{env}, nil)
		if err == nil {
			_ = c.Validate()
			require.NoError(t, c.Print(&bytes.Buffer{}))
		}
	})
}
