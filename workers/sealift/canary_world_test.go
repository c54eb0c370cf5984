package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/sealift/sealift/pkg/s3server"
)

// canaryRig has Kafka, Redis and S3, which require passwords that are canaries, and everything
// that the binary wrote.
type canaryRig struct {
	*secretFinder
	dir, s3URL string
	redis      *miniredis.Miniredis
	redisAt    string
	collector  string   // host:port of the one that is running
	env        []string // of a process that has all secrets
	outputs    []output

	writeKey, unknownKey, body, email, malformed, refused string
}

// output is something that the product wrote.
type output struct {
	name, text string
	allowed    []string // the secrets that it is supposed to show
}

const canaryWorkspace = `
workspace: ws_AAAAAAAAAAAAAAAA
sources: [{id: web, write_keys: [%[1]s]}]
destinations:
  - {name: main, sources: [web], bucket: acme-logs, region: us-east-1, role_arn: "arn:aws:iam::111111111111:role/logs", endpoint: "%[2]s"}
  - {name: classic, sources: [web], bucket: classic-logs, region: us-east-1, endpoint: "%[2]s"}
  - {name: echo, sources: [web], bucket: echo-logs, region: us-east-1, role_arn: "arn:aws:iam::111111111111:role/logs", endpoint: "%[2]s"}
  - {name: echo-role, sources: [web], bucket: other-logs, region: us-east-1, role_arn: "arn:aws:iam::111111111111:role/echo", endpoint: "%[2]s"}
  - {name: gone, sources: [web], bucket: gone-logs, region: us-east-1, endpoint: "%[2]s"}
`

func newCanaryRig(t *testing.T) *canaryRig {
	w := &canaryRig{secretFinder: newSecretFinder(), dir: t.TempDir()}
	sasl, redis, secret := w.plant("sasl password", "/+ é%"), w.plant("redis password", "/+ é%:@"), w.plant("aws secret key", "/+")
	w.writeKey, w.unknownKey = w.plant("write key", ""), w.plant("unknown write key", "")
	w.body, w.email = w.plant("event body", " é"), w.plant("email in an event", "@example.com")
	w.malformed, w.refused = w.plant("malformed body", `{"`), w.plant("refused event", "")

	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.Superuser("PLAIN", "alice", sasl), kfake.GroupMinSessionTimeout(time.Second))
	require.NoError(t, err)
	t.Cleanup(cluster.Close)
	w.redis = miniredis.NewMiniRedis()
	w.redis.RequireAuth(redis)
	require.NoError(t, w.redis.Start())
	t.Cleanup(w.redis.Close)
	w.startS3(t, secret)

	kafkaAt := w.startTap(t, cluster.ListenAddrs()[0])
	w.redisAt = w.startTap(t, w.redis.Addr())
	redisURL := url.URL{Scheme: "redis", Host: w.redisAt, Path: "/0", User: url.UserPassword("", redis)}
	// One password comes from the file, the other from the environment.
	file := filepath.Join(w.dir, "sealift.yaml")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, "redis:\n  url: %q\n", redisURL.String()), 0o600))
	w.env = append(cleanEnviron(), "SEALIFT_CONFIG="+file, "SEALIFT_KAFKA_BROKERS="+kafkaAt, "SEALIFT_KAFKA_PARTITIONS=1",
		"SEALIFT_KAFKA_SASL_MECHANISM=plain", "SEALIFT_KAFKA_SASL_ALLOW_PLAINTEXT=true", "SEALIFT_KAFKA_SASL_USERNAME=alice", "SEALIFT_KAFKA_SASL_PASSWORD="+sasl,
		"SEALIFT_STAGING_ENDPOINT="+w.s3URL, "SEALIFT_STAGING_REGION=us-east-1", "SEALIFT_STAGING_FORCE_PATH_STYLE=true", "SEALIFT_STS_ENDPOINT="+w.s3URL,
		"SEALIFT_DESTINATIONS_ALLOWED_ENDPOINTS="+strings.TrimPrefix(w.s3URL, "http://"),
		"SEALIFT_APPENDER_DATA_DIR="+filepath.Join(w.dir, "appender"), "SEALIFT_APPENDER_ROLL_EVERY=1s", "SEALIFT_APPENDER_DISK_FREE=1MiB", "SEALIFT_COPIER_SPOOL_DIR="+filepath.Join(w.dir, "spool"),
		"SEALIFT_COPIER_RETRY_TIERS=1s", "SEALIFT_COPIER_PARK_AFTER=1s", "SEALIFT_AUDITOR_EVERY=2s", "SEALIFT_AUDITOR_GRACE=0s", "SEALIFT_ADMIN_PPROF=true",
		"AWS_ACCESS_KEY_ID=AKIACANARY", "AWS_SECRET_ACCESS_KEY="+secret, "AWS_REGION=us-east-1")
	require.NoError(t, os.WriteFile(w.file("catalog.yaml"), fmt.Appendf(nil, canaryWorkspace, w.writeKey, w.s3URL), 0o600))
	return w
}

func (w *canaryRig) file(name string) string { return filepath.Join(w.dir, name) }

// cleanEnviron returns this process's environment without variables that configure the product.
func cleanEnviron() []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "SEALIFT_") && !strings.HasPrefix(e, "AWS_") {
			env = append(env, e)
		}
	}
	return append(env, "AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull, "AWS_EC2_METADATA_DISABLED=true")
}

var (
	signature    = regexp.MustCompile(`Signature=([0-9a-f]{64})`)
	issuedSecret = regexp.MustCompile(`<(SecretAccessKey|SessionToken)>([^<]+)</`)
	echoedRole   = []byte("role%2Fecho")
)

// startS3 starts S3 and STS. Requests to the bucket echo-logs and for the role "echo" are denied
// with an error that repeats the whole request, as a server that means to be helpful might do.
func (w *canaryRig) startS3(t *testing.T, secret string) {
	s3, err := s3server.Open(s3server.Config{Dir: w.file("s3"), AccessKey: "AKIACANARY", SecretKey: secret, Region: "us-east-1"})
	require.NoError(t, err)
	for _, b := range []string{"sealift-staging", "acme-logs", "classic-logs", "echo-logs", "other-logs"} {
		require.NoError(t, s3.CreateBucket(b))
	}
	require.NoError(t, s3.PutRole(s3server.PutOnlyRole("arn:aws:iam::111111111111:role/logs", s3.OperatorARN(), "ws_AAAAAAAAAAAAAAAA", "acme-logs", "echo-logs")))
	web := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if m := signature.FindStringSubmatch(r.Header.Get("Authorization")); m != nil {
			w.addSignature(m[1])
		}
		for _, values := range r.Header {
			w.markUsedIn(strings.Join(values, " "))
		}
		sts := r.Method == http.MethodPost && r.URL.Path == "/"
		if sts {
			form, _ := io.ReadAll(r.Body)
			w.markUsedIn(string(form))
			r.Body = io.NopCloser(bytes.NewReader(form))
			if bytes.Contains(form, echoedRole) {
				echo(rw, r, "<ErrorResponse><Error><Code>AccessDenied</Code><Message>%s</Message></Error></ErrorResponse>")
				return
			}
			answer := httptest.NewRecorder()
			s3.ServeHTTP(answer, r)
			for _, m := range issuedSecret.FindAllStringSubmatch(answer.Body.String(), -1) {
				w.add("role's "+m[1], m[2])
				w.markUsed("role's " + m[1])
			}
			for k, v := range answer.Header() {
				rw.Header()[k] = v
			}
			rw.WriteHeader(answer.Code)
			_, _ = rw.Write(answer.Body.Bytes())
			return
		}
		if strings.HasPrefix(r.URL.Path, "/echo-logs/") {
			_, _ = io.Copy(io.Discard, r.Body)
			echo(rw, r, "<Error><Code>AccessDenied</Code><Message>%s</Message></Error>")
			return
		}
		s3.ServeHTTP(rw, r)
	}))
	t.Cleanup(func() { web.Close(); require.NoError(t, s3.Close()) })
	w.s3URL = web.URL
}

// echo denies a request, and repeats it in the error.
func echo(rw http.ResponseWriter, r *http.Request, form string) {
	var sent strings.Builder
	fmt.Fprintf(&sent, "%s %s ", r.Method, r.URL)
	for name, values := range r.Header {
		fmt.Fprintf(&sent, "%s: %s, ", name, strings.Join(values, ","))
	}
	rw.Header().Set("Content-Type", "application/xml")
	rw.WriteHeader(http.StatusForbidden)
	fmt.Fprintf(rw, form, strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(sent.String()))
}

// startTap forwards connections, and notes which secrets are sent over them. It returns its
// address.
func (w *canaryRig) startTap(t *testing.T, to string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer from.Close()
				server, err := net.Dial("tcp", to)
				if err != nil {
					return
				}
				defer server.Close()
				go func() { _, _ = io.Copy(from, server); _ = from.Close() }()
				_, _ = io.Copy(io.MultiWriter(server, &secretRecorder{f: w.secretFinder}), from)
			}()
		}
	}()
	return l.Addr().String()
}
