package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/config"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/secret"
)

// If a configuration is wrong at a secret, or next to one, neither the error nor `config print`
// shows the secret. want must be in the error, which proves that the mistake was noticed.
func TestWrongConfigurationsShowNoSecret(t *testing.T) {
	for hazard, c := range map[string]struct {
		yaml, env string
		args      []string
		want      string
	}{
		"redis_scheme":          {env: "SEALIFT_REDIS_URL=http://:CANARY@localhost", want: "redis.url"},
		"redis_no_url":          {env: "SEALIFT_REDIS_URL=CANARY", want: "redis.url"},
		"redis_port":            {env: "SEALIFT_REDIS_URL=redis://:CANARY@localhost:port/0", want: "redis.url"},
		"redis_escape":          {env: "SEALIFT_REDIS_URL=redis://:CANARY%zz@localhost/0", want: "redis.url"},
		"redis_bracket":         {env: "SEALIFT_REDIS_URL=redis://:CANARY@[::1", want: "redis.url"},
		"redis_database":        {env: "SEALIFT_REDIS_URL=redis://:CANARY@localhost/x", want: "redis.url"},
		"redis_section":         {yaml: "redis: redis://:CANARY@localhost/0", want: "redis"},
		"redis_wrong_key":       {yaml: "redis:\n  uri: redis://:CANARY@localhost/0", want: "redis.uri"},
		"password_list":         {yaml: "kafka:\n  sasl:\n    password: [CANARY, b]", want: "kafka.sasl.password"},
		"password_mapping":      {yaml: "kafka:\n  sasl:\n    password: {CANARY: b}", want: "kafka.sasl.password"},
		"password_misplaced":    {yaml: "kafka:\n  password: CANARY", want: "kafka.password"},
		"password_alone":        {env: "SEALIFT_KAFKA_SASL_PASSWORD=CANARY", want: "kafka.sasl.mechanism"},
		"password_variable":     {env: "SEALIFT_KAFKA_PASSWORD=CANARY", want: "SEALIFT_KAFKA_PASSWORD"},
		"sasl_is_the_password":  {yaml: "kafka:\n  sasl: CANARY", want: "kafka.sasl"},
		"mechanism":             {yaml: "kafka:\n  sasl: {mechanism: digest, username: u, password: CANARY}", want: "kafka.sasl.mechanism"},
		"yaml_tab":              {yaml: "kafka:\n  sasl:\n\t  password: CANARY", want: "line"},
		"yaml_quote":            {yaml: "kafka:\n  sasl:\n    password: \"CANARY", want: "line"},
		"yaml_bracket":          {yaml: "kafka:\n  sasl: {password: CANARY", want: "line"},
		"yaml_indent":           {yaml: "kafka:\n  sasl:\n    username: u\n  password: CANARY\n   x: y", want: "sealift.yaml"},
		"yaml_twice":            {yaml: "redis:\n  url: redis://:CANARY@a\n  url: redis://:CANARY@b", want: "line"},
		"yaml_anchor":           {yaml: "redis:\n  url: &CANARY redis://:CANARY@a", want: "line"},
		"yaml_alias":            {yaml: "redis:\n  url: *CANARY", want: "line"},
		"yaml_tag":              {yaml: "redis:\n  url: !CANARY x", want: "line"},
		"yaml_text":             {yaml: "redis://:CANARY@localhost", want: "sealift.yaml"},
		"yaml_second":           {yaml: "redis:\n  url: redis://:CANARY@a\n---\nredis:\n  url: redis://:CANARY@b", want: "second YAML document"},
		"broker_with_password":  {env: "SEALIFT_KAFKA_BROKERS=alice:CANARY@kafka:9092", want: "kafka.brokers"},
		"broker_with_scheme":    {env: "SEALIFT_KAFKA_BROKERS=SASL_SSL://alice:CANARY@kafka:9092", want: "kafka.brokers"},
		"staging_with_keys":     {env: "SEALIFT_STAGING_ENDPOINT=https://AKIA:CANARY@minio:9000", want: "staging.endpoint"},
		"staging_with_slashes":  {env: "SEALIFT_STAGING_ENDPOINT=https://AKIA:a/CANARY@minio:9000", want: "staging.endpoint"},
		"staging_presigned":     {env: "SEALIFT_STAGING_ENDPOINT=https://minio:9000/b?X-Amz-Signature=CANARY", want: "staging.endpoint"},
		"sts_with_keys":         {yaml: "sts: {endpoint: \"https://AKIA:CANARY@sts\"}", want: "sts.endpoint"},
		"allowed_with_password": {env: "SEALIFT_DESTINATIONS_ALLOWED_ENDPOINTS=u:CANARY@minio:9000,https://u:CANARY@minio", want: "destinations.allowed_endpoints"},
		"set_without_key":       {args: []string{"--set", "kafka.sasl.password:CANARY"}, want: "--set"},
		"set_wrong_key":         {args: []string{"--set", "kafka.password=CANARY"}, want: "kafka.password"},
		"flag_of_redis":         {args: []string{"--redis-url", "http://:CANARY@localhost"}, want: "redis.url"},
	} {
		t.Run(hazard, func(t *testing.T) {
			f := newSecretFinder()
			secret := f.plant("secret", "")
			fill := strings.NewReplacer("CANARY", secret).Replace
			file := filepath.Join(t.TempDir(), "sealift.yaml")
			require.NoError(t, os.WriteFile(file, []byte(fill(c.yaml)), 0o600))
			for _, command := range [][]string{{"config", "check"}, {"config", "print"}, {"config", "print", "--json"}, {"catalog", "get"}, {"all"}} {
				args := append([]string{}, command...)
				for _, a := range c.args {
					args = append(args, fill(a))
				}
				code, stdout, stderr := runSealift(t, "", []string{"SEALIFT_CONFIG=" + file, fill(c.env)}, args...)
				require.NotZero(t, code)
				require.Contains(t, stderr, c.want)
				require.Empty(t, f.leaks(stdout+stderr), "%v\n%s%s", command, stdout, stderr)
			}
		})
	}
}

// Structs that hold secrets do not show them, however they are printed or encoded.
func TestPrintedStructsShowNoSecret(t *testing.T) {
	f := newSecretFinder()
	cfg := config.Default()
	cfg.Redis.URL = secret.New("redis://:" + f.plant("redis", "") + "@h/0")
	cfg.Kafka.SASL = config.SASL{Mechanism: "plain", Username: "u", Password: secret.New(f.plant("sasl", ""))}
	creds := objstore.Credentials{AccessKeyID: "AKIA", SecretAccessKey: secret.New(f.plant("key", "")), SessionToken: secret.New(f.plant("token", ""))}
	for name, v := range map[string]any{
		"config": cfg, "pointer": &cfg, "section": cfg.Kafka, "credentials": creds, "their_pointer": &creds,
		"field": struct{ Is objstore.Credentials }{creds}, "hidden": struct{ is objstore.Credentials }{creds}, "map": map[string]any{"c": creds, "cfg": cfg.Redis}, "list": []any{creds, cfg.Kafka.SASL},
		"error": fmt.Errorf("use %v of %+v: %w", creds, cfg.Kafka, os.ErrInvalid), "panic": recovered(func() { panic(fmt.Sprintf("%+v %v", cfg, creds)) }),
	} {
		var out strings.Builder
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&out, verb, v)
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
		b, err := json.Marshal(v)
		require.NoError(t, err)
		y, err := yaml.Marshal(v)
		require.NoError(t, err)
		require.Empty(t, f.leaks(out.String()+string(b)+string(y)), "%s: %s\n%s\n%s", name, out.String(), b, y)
	}
	f.markUsedIn(cfg.Redis.URL.Reveal() + cfg.Kafka.SASL.Password.Reveal() + creds.SecretAccessKey.Reveal() + creds.SessionToken.Reveal())
	require.Empty(t, f.unused())
}

func recovered(fn func()) (what string) {
	defer func() { what = fmt.Sprint(recover()) }()
	fn()
	return ""
}

// `catalog new` prints new write keys to stdout, as is its purpose. They are shown nowhere else,
// because only hashes are stored.
func TestNewWriteKeysAreShownOnce(t *testing.T) {
	b, f := newBroker(t), newSecretFinder()
	code, document, stderr := b.runSealift(t, "catalog", "new", "--bucket", "acme-logs")
	require.Zero(t, code)
	_, key, _ := strings.Cut(document, "write_keys: [")
	key, _, _ = strings.Cut(key, "]")
	require.True(t, strings.HasPrefix(key, "wk_"), key)
	f.add("write key", key)
	require.Equal(t, []string{"write key (plain)"}, f.leaks(document))
	file := filepath.Join(t.TempDir(), "new.yaml")
	require.NoError(t, os.WriteFile(file, []byte(document), 0o600))
	for _, args := range [][]string{{"validate", "-f", file}, {"diff", "-f", file}, {"apply", "-f", file}, {"get"}, {"get", "--json"}} {
		code, stdout, more := b.runSealift(t, append([]string{"catalog"}, args...)...)
		require.Zero(t, code, more)
		stderr += stdout + more
	}
	require.Contains(t, stderr, "write_key_hashes")
	require.Empty(t, f.leaks(stderr))
}
