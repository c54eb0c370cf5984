//go:build stack

package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/certs/certtest"
	"github.com/sealift/sealift/pkg/porttest"
)

// TestSecuredByRealServers runs all roles with a Kafka, Redis and MinIO that require TLS and
// authentication, with each mechanism of Kafka, and then with one wrong setting at a time: the
// error names the key to change.
func TestSecuredByRealServers(t *testing.T) {
	t.Parallel()
	s := startSecured(t)
	s.makeBuckets(t)
	for name, set := range map[string]map[string]string{
		"plain":         s.user("plain"),
		"scram-sha-256": s.user("scram-sha-256"),
		"scram-sha-512": s.user("scram-sha-512"),
		"mutual TLS":    merged(noUser, map[string]string{"KAFKA_BROKERS": s.mutual, "KAFKA_TLS_CERT_FILE": s.client.Cert, "KAFKA_TLS_KEY_FILE": s.client.Key}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s.delivers(t, set)
		})
	}
	t.Run("wrong", s.testWrongSettings)
}

// right is the environment with which a process is admitted, as variables without their prefix.
func (s *secured) right() map[string]string {
	set := map[string]string{
		"KAFKA_TLS_ENABLED": "true", "KAFKA_TLS_CA_FILE": s.ca.File,
		"REDIS_URL": "redis://sealift:" + securedPassword + "@" + s.redis + "/0", "REDIS_TLS_ENABLED": "true",
		"REDIS_TLS_CA_FILE": s.ca.File, "REDIS_TLS_CERT_FILE": s.client.Cert, "REDIS_TLS_KEY_FILE": s.client.Key,
		"STAGING_BUCKET": "staging", "STAGING_ENDPOINT": "https://" + s.s3, "STAGING_FORCE_PATH_STYLE": "true", "STAGING_REGION": "us-east-1",
		"STAGING_CA_FILE": s.ca.File, "STAGING_EXPECTED_BUCKET_OWNER": "123456789012", // MinIO has no owners, and does not check
		"STS_ENDPOINT": "https://" + s.s3, "STS_CA_FILE": s.ca.File, "STS_VERIFY_TRUST": "false",
		"DESTINATIONS_ALLOWED_ENDPOINTS": s.s3, "DESTINATIONS_CA_FILE": s.ca.File,
		"APPENDER_ROLL_EVERY": "1s", "APPENDER_GRACE": "0s",
		"AWS_ACCESS_KEY_ID": "sealift", "AWS_SECRET_ACCESS_KEY": securedPassword,
	}
	maps.Copy(set, s.user("scram-sha-512"))
	return set
}

// user returns the settings for Kafka's user of a mechanism.
func (s *secured) user(mechanism string) map[string]string {
	return map[string]string{
		"KAFKA_BROKERS": s.sasl, "KAFKA_SASL_MECHANISM": mechanism, "KAFKA_SASL_USERNAME": kafkaUsers[mechanism], "KAFKA_SASL_PASSWORD": securedPassword,
	}
}

// noUser undoes user.
var noUser = map[string]string{"KAFKA_SASL_MECHANISM": "", "KAFKA_SASL_USERNAME": "", "KAFKA_SASL_PASSWORD": ""}

// variables formats an environment; a later map takes precedence over an earlier one, and empty
// values are left out.
func variables(sets ...map[string]string) (out []string) {
	all := map[string]string{}
	for _, set := range sets {
		maps.Copy(all, set)
	}
	for name, value := range all {
		if value == "" {
			continue
		}
		if !strings.HasPrefix(name, "AWS_") {
			name = "SEALIFT_" + name
		}
		out = append(out, name+"="+value)
	}
	slices.Sort(out)
	return out
}

// securedWorkspace is the catalog, with one destination that uses a role.
const securedWorkspace = `{"workspace": "ws_secured000000000", "sources": [{"id": "web", "name": "web", "write_keys": ["wk_secured"]}],
"destinations": [{"name": "main", "sources": ["web"], "bucket": "customer/%s", "region": "us-east-1", "endpoint": %q, "role_arn": "arn:aws:iam::123456789012:role/logs"}]}`

// runs starts all roles and sends them an event; place is the test's own prefix.
func (s *secured) runs(ctx context.Context, t *testing.T, set map[string]string) (p *process, place string, environment []string) {
	dir, admin, collector := t.TempDir(), porttest.Free(t), porttest.Free(t)
	place = strings.ReplaceAll(filepath.Base(t.Name()), "_", "-")
	own := map[string]string{
		"ADMIN_LISTEN": admin, "COLLECTOR_LISTEN": collector, "APPENDER_DATA_DIR": dir, "COPIER_SPOOL_DIR": dir, "STAGING_PREFIX": place,
	}
	for _, topic := range []string{"EVENTS", "JOBS", "DEAD_LETTERS", "CATALOG"} {
		own["KAFKA_"+topic+"_TOPIC"] = place + "-" + strings.ToLower(topic)
	}
	own["KAFKA_GROUP"] = place
	environment = variables(s.right(), own, set)
	file := filepath.Join(dir, "catalog.json")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, securedWorkspace, place, "https://"+s.s3), 0o600))
	_, err := sealift(ctx, environment, "catalog", "apply", "-f", file)
	require.NoError(t, err)

	p = newProcess(t, dir, "all", admin, environment, "all")
	require.NoError(t, p.start())
	require.NoError(t, p.ready(ctx))
	event := filepath.Join(dir, "event.ndjson")
	require.NoError(t, os.WriteFile(event, []byte(`{"type":"track","event":"Secured","userId":"u","messageId":"m-`+place+`"}`+"\n"), 0o600))
	_, err = sealift(ctx, environment, "send", event, "--url", "http://"+collector, "--write-key", "wk_secured")
	require.NoError(t, err)
	return p, place, environment
}

// delivers sends an event through all roles into the bucket.
func (s *secured) delivers(t *testing.T, set map[string]string) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	p, place, environment := s.runs(ctx, t, set)
	customer := variables(map[string]string{"AWS_ACCESS_KEY_ID": "sealift", "AWS_SECRET_ACCESS_KEY": securedPassword, "AWS_CA_BUNDLE": s.ca.File})
	for {
		got, err := sealift(ctx, customer, "files", "cat", "s3://customer/"+place, "--endpoint", "https://"+s.s3, "--region", "us-east-1")
		require.NoError(t, err)
		if strings.Contains(got, `"m-`+place+`"`) {
			break
		}
		require.NoError(t, p.alive())
		time.Sleep(100 * time.Millisecond) // the file is on its way
	}
	_, err := sealift(ctx, environment, "verify", "--deep")
	require.NoError(t, err)
	require.NoError(t, p.terminate(30*time.Second))
	require.NotContains(t, string(read(t, p.log)), securedPassword)
}

func (s *secured) testWrongSettings(t *testing.T) {
	stranger := certtest.NewCA(t, "a stranger's")
	theirs := stranger.Issue("client", nil)
	dir := t.TempDir()
	file := filepath.Join(dir, "catalog.json")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, securedWorkspace, "wrong", "https://"+s.s3), 0o600))
	kafka, staging := []string{"catalog", "get"}, []string{"ledger", "show"}
	check := []string{"destinations", "check", "-f", file}
	copier := []string{"copier"} // waits, and says what for
	all := []string{"all"}       // has an event to deliver
	port, open := portOf(s.redis), strings.TrimPrefix(env(t, "SEALIFT_TEST_REDIS_URL"), "redis://")
	redisURL := func(user, password string) string {
		return "redis://" + user + ":" + password + "@127.0.0.1:" + port + "/0"
	}
	for name, c := range map[string]struct {
		set     map[string]string
		command []string
		want    string
	}{
		"kafka/password 256":       {merged(s.user("scram-sha-256"), map[string]string{"KAFKA_SASL_PASSWORD": "wrong"}), kafka, "user name or password rejected: correct kafka.sasl.username, kafka.sasl.password,"},
		"kafka/password 512":       {map[string]string{"KAFKA_SASL_PASSWORD": "wrong"}, kafka, "user name or password rejected: correct kafka.sasl.username, kafka.sasl.password,"},
		"kafka/password plain":     {merged(s.user("plain"), map[string]string{"KAFKA_SASL_PASSWORD": "wrong"}), kafka, "user name or password rejected: correct kafka.sasl.username, kafka.sasl.password,"},
		"kafka/user":               {map[string]string{"KAFKA_SASL_USERNAME": "nobody"}, kafka, "user name or password rejected: correct kafka.sasl.username, kafka.sasl.password,"},
		"kafka/user of another":    {map[string]string{"KAFKA_SASL_MECHANISM": "scram-sha-256"}, kafka, "or kafka.sasl.mechanism"},
		"kafka/no user":            {noUser, kafka, "its port requires SASL (kafka.sasl.mechanism)"},
		"kafka/user not asked for": {map[string]string{"KAFKA_BROKERS": s.plain, "KAFKA_TLS_ENABLED": "", "KAFKA_TLS_CA_FILE": ""}, kafka, "correct the port in kafka.brokers, or remove kafka.sasl"},
		"kafka/authority":          {map[string]string{"KAFKA_TLS_CA_FILE": stranger.File}, kafka, "set kafka.tls.ca_file to a PEM file with its CA certificate"},
		"kafka/no authority":       {map[string]string{"KAFKA_TLS_CA_FILE": ""}, kafka, "set kafka.tls.ca_file to a PEM file with its CA certificate"},
		"kafka/host":               {map[string]string{"KAFKA_BROKERS": "localhost:" + portOf(s.sasl)}, kafka, "use one of them in kafka.brokers"},
		"kafka/plaintext":          {map[string]string{"KAFKA_TLS_ENABLED": "", "KAFKA_TLS_CA_FILE": ""}, kafka, "its port requires TLS (kafka.tls.enabled)"},
		"kafka/neither":            {merged(noUser, map[string]string{"KAFKA_TLS_ENABLED": "", "KAFKA_TLS_CA_FILE": ""}), kafka, "its port requires TLS (kafka.tls.enabled) or SASL"},
		"kafka/TLS not spoken":     {merged(noUser, map[string]string{"KAFKA_BROKERS": s.plain}), kafka, "or does not speak TLS (kafka.tls.enabled)"},
		"kafka/no certificate":     {merged(noUser, map[string]string{"KAFKA_BROKERS": s.mutual}), kafka, "kafka.tls.cert_file"},
		"kafka/certificate": {merged(noUser, map[string]string{
			"KAFKA_BROKERS": s.mutual, "KAFKA_TLS_CERT_FILE": theirs.Cert, "KAFKA_TLS_KEY_FILE": theirs.Key,
		}), kafka, "set kafka.tls.cert_file to one that is valid and signed by its authority"},
		"kafka/key":      {map[string]string{"KAFKA_TLS_CERT_FILE": s.client.Cert, "KAFKA_TLS_KEY_FILE": theirs.Key}, kafka, "kafka.tls.key_file"},
		"kafka/no file":  {map[string]string{"KAFKA_TLS_CA_FILE": "/nonexistent"}, kafka, "read kafka.tls.ca_file: open /nonexistent"},
		"kafka/not open": {merged(s.user("plain"), map[string]string{"KAFKA_TLS_ENABLED": "", "KAFKA_TLS_CA_FILE": ""}), kafka, "kafka.sasl.allow_plaintext"},

		"redis/password":       {map[string]string{"REDIS_URL": redisURL("sealift", "wrong")}, copier, "correct them in redis.url"},
		"redis/user":           {map[string]string{"REDIS_URL": redisURL("somebody", securedPassword)}, copier, "correct them in redis.url"},
		"redis/no user":        {map[string]string{"REDIS_URL": "redis://127.0.0.1:" + port + "/0"}, copier, "set it in redis.url"},
		"redis/rights":         {map[string]string{"REDIS_URL": redisURL("nobody", securedPassword)}, copier, "ACL SETUSER"},
		"redis/authority":      {map[string]string{"REDIS_TLS_CA_FILE": stranger.File}, copier, "set redis.tls.ca_file to a PEM file with its CA certificate"},
		"redis/host":           {map[string]string{"REDIS_URL": strings.Replace(redisURL("sealift", securedPassword), "127.0.0.1", "localhost", 1)}, copier, "use one of them in redis.url"},
		"redis/no certificate": {map[string]string{"REDIS_TLS_CERT_FILE": "", "REDIS_TLS_KEY_FILE": ""}, copier, "set redis.tls.cert_file to one"},
		"redis/certificate":    {map[string]string{"REDIS_TLS_CERT_FILE": theirs.Cert, "REDIS_TLS_KEY_FILE": theirs.Key}, copier, "set redis.tls.cert_file to one"},
		"redis/plaintext": {map[string]string{
			"REDIS_TLS_ENABLED": "", "REDIS_TLS_CA_FILE": "", "REDIS_TLS_CERT_FILE": "", "REDIS_TLS_KEY_FILE": "",
		}, copier, "its port requires TLS (redis.tls.enabled)"},
		"redis/TLS not spoken": {map[string]string{"REDIS_URL": "rediss://" + open}, copier, "its port does not speak TLS (redis.tls.enabled, or rediss:// in redis.url)"},

		"staging/secret":       {map[string]string{"AWS_SECRET_ACCESS_KEY": "wrong"}, staging, "correct AWS_SECRET_ACCESS_KEY"},
		"staging/access key":   {map[string]string{"AWS_ACCESS_KEY_ID": "nobody"}, staging, "correct AWS_ACCESS_KEY_ID"},
		"staging/bucket":       {map[string]string{"STAGING_BUCKET": "not-there"}, staging, `create bucket "not-there", or correct staging.bucket`},
		"staging/authority":    {map[string]string{"STAGING_CA_FILE": stranger.File}, staging, "set staging.ca_file (or AWS_CA_BUNDLE) to a PEM file"},
		"staging/no authority": {map[string]string{"STAGING_CA_FILE": ""}, staging, "set staging.ca_file (or AWS_CA_BUNDLE) to a PEM file"},
		"staging/host":         {map[string]string{"STAGING_ENDPOINT": "https://localhost:" + portOf(s.s3)}, staging, "use one of them in staging.endpoint"},
		"staging/plaintext":    {map[string]string{"STAGING_CA_FILE": "", "STAGING_ENDPOINT": "http://" + s.s3}, staging, "write staging.endpoint with https"},
		"staging/unnamed":      {map[string]string{"STAGING_CA_FILE": "", "STAGING_ENDPOINT": "", "STAGING_BUCKET": ""}, staging, "anybody at AWS may own; name your own"},
		"sts/authority":        {map[string]string{"STS_CA_FILE": stranger.File}, check, "set sts.ca_file (or AWS_CA_BUNDLE) to a PEM file"},
		"bucket/authority":     {map[string]string{"DESTINATIONS_CA_FILE": ""}, all, "set destinations.ca_file (or AWS_CA_BUNDLE) to a PEM file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			set := variables(s.right(), map[string]string{"ADMIN_LISTEN": porttest.Free(t), "COPIER_SPOOL_DIR": t.TempDir()}, c.set)
			var said string
			switch c.command[0] {
			case "all":
				p, _, _ := s.runs(ctx, t, c.set)
				said = waitForLog(ctx, t, p, c.want)
			case "copier":
				p := newProcess(t, t.TempDir(), "copier", "", set, "copier")
				require.NoError(t, p.start())
				said = waitForLog(ctx, t, p, c.want)
			default:
				out, err := sealift(ctx, set, c.command...)
				require.Error(t, err, "%s", out)
				said = out + err.Error()
			}
			require.Contains(t, said, c.want)
			require.NotContains(t, said, securedPassword)
		})
	}
}

// waitForLog lets a process run until its log contains want, and returns the log.
func waitForLog(ctx context.Context, t *testing.T, p *process, want string) string {
	for {
		said := string(read(t, p.log))
		if strings.Contains(said, want) || ctx.Err() != nil || p.alive() != nil {
			p.kill()
			return said
		}
		time.Sleep(50 * time.Millisecond) // the process writes by itself
	}
}

func portOf(addr string) string {
	_, port, _ := net.SplitHostPort(addr) // it is listening there
	return port
}

func merged(sets ...map[string]string) map[string]string {
	all := map[string]string{}
	for _, set := range sets {
		maps.Copy(all, set)
	}
	return all
}

// makeBuckets creates the buckets that operator and customer would have created.
func (s *secured) makeBuckets(t *testing.T) {
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(read(t, s.ca.File)))
	client := s3.New(s3.Options{
		Region: "us-east-1", BaseEndpoint: aws.String("https://" + s.s3), UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider("sealift", securedPassword, ""),
		HTTPClient:  &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}},
	})
	for _, bucket := range []string{"staging", "customer"} {
		require.Eventually(t, func() bool { // it listens before it serves
			_, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &bucket})
			return err == nil
		}, time.Minute, 100*time.Millisecond)
	}
}
