package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/certs/certtest"
	"github.com/sealift/sealift/pkg/config"
	"github.com/sealift/sealift/pkg/embedded"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/porttest"
	"github.com/sealift/sealift/pkg/secret"
)

func startKafka(t *testing.T, addr string) *embedded.Kafka {
	t.Helper()
	k, err := embedded.StartKafka(embedded.KafkaConfig{Dir: t.TempDir(), Addr: addr})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, k.Close()) })
	return k
}

func readyz(addr string) string {
	resp, err := http.Get("http://" + addr + "/readyz")
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.Status + " " + string(b)
}

// testCredentials returns made-up credentials.
func testCredentials(context.Context) (objstore.Credentials, error) {
	return objstore.Credentials{AccessKeyID: "a", SecretAccessKey: secret.New("b")}, nil
}

// A process waits for a broker that is down at the start, and /readyz says so.
func TestProcessWaitsForKafka(t *testing.T) {
	t.Parallel()
	cfg := config.Default()
	cfg.Kafka.Brokers = []string{porttest.Free(t)}
	cfg.Collector.Listen, cfg.Admin.Listen = "127.0.0.1:0", porttest.Free(t)
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan *process, 1), make(chan error, 1)
	go func() {
		ended <- runProcess(ctx, cfg, processOptions{roles: []string{collectorRole}, onReady: func(p *process) { ready <- p }}, silent)
	}()
	require.Eventually(t, func() bool {
		answer := readyz(cfg.Admin.Listen)
		return strings.HasPrefix(answer, "503") && strings.Contains(answer, "waiting for kafka at "+cfg.Kafka.Brokers[0]+" (kafka.brokers)")
	}, 20*time.Second, 20*time.Millisecond)

	startKafka(t, cfg.Kafka.Brokers[0])
	p := <-ready
	require.Contains(t, readyz(cfg.Admin.Listen), "200 OK")
	resp, err := http.Post("http://"+p.collector.Addr()+"/v1/track", "application/json", strings.NewReader(`{"writeKey":"unknown","event":"x"}`))
	require.NoError(t, err)
	answer, err := io.ReadAll(resp.Body)
	require.NoError(t, errors.Join(err, resp.Body.Close()))
	require.Contains(t, string(answer), "the catalog has no workspace yet", "the collector has loaded it")
	cancel()
	require.NoError(t, <-ended)
}

// A process is not ready before its collector listens. Here that takes long: a collector reads its
// certificate before, from a named pipe.
func TestNotReadyBeforeTheCollectorListens(t *testing.T) {
	t.Parallel()
	pair := certtest.NewCA(t, "the operator's").Issue("collector", nil)
	pem, err := os.ReadFile(pair.Cert)
	require.NoError(t, err)
	pipe := filepath.Join(t.TempDir(), "cert.pem")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	written := make(chan error, 1)
	write := func() { // waits for a reader
		f, err := os.OpenFile(pipe, os.O_WRONLY, 0)
		if err == nil {
			_, err = f.Write(pem)
			err = errors.Join(err, f.Close())
		}
		written <- err
	}
	cfg := config.Default()
	cfg.Kafka.Brokers = []string{startKafka(t, "").Addr()}
	cfg.Collector.Listen, cfg.Admin.Listen = porttest.Free(t), porttest.Free(t)
	cfg.Collector.TLS = config.ServerTLS{CertFile: pipe, KeyFile: pair.Key}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- runProcess(ctx, cfg, processOptions{roles: []string{collectorRole}}, silent) }()
	go write() // the check of the configuration
	require.NoError(t, <-written)
	answer := ""
	require.Eventually(t, func() bool {
		answer = readyz(cfg.Admin.Listen)
		return strings.Contains(answer, "the collector does not listen yet") || strings.HasPrefix(answer, "200")
	}, 20*time.Second, 20*time.Millisecond)
	require.Contains(t, answer, "503")

	go write()
	require.NoError(t, <-written)
	require.Eventually(t, func() bool { return strings.HasPrefix(readyz(cfg.Admin.Listen), "200") }, 20*time.Second, 20*time.Millisecond)
	conn, err := net.Dial("tcp", cfg.Collector.Listen)
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	cancel()
	require.NoError(t, <-ended)
}

// A store that ignores If-None-Match ends the process, because waiting does not help.
func TestProcessRefusesAStoreWithoutConditionalPut(t *testing.T) {
	objects := map[string][]byte{}
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			objects[r.URL.Path], _ = io.ReadAll(r.Body) // whatever If-None-Match says
			w.Header().Set("Etag", `"e"`)
			return
		}
		_, _ = w.Write(objects[r.URL.Path])
	}))
	defer store.Close()
	cfg := config.Default()
	cfg.Kafka.Brokers = []string{startKafka(t, "").Addr()}
	cfg.Staging.Endpoint, cfg.Staging.ForcePathStyle, cfg.Staging.Region = store.URL, true, "us-east-1"
	cfg.Admin.Listen = "127.0.0.1:0"
	err := runProcess(t.Context(), cfg, processOptions{roles: []string{appenderRole}, credentials: testCredentials}, silent)
	require.ErrorIs(t, err, objstore.ErrUnconditional)
	require.ErrorContains(t, err, "staging.bucket")
}

func TestProcessStoppedDuringStartReturnsNil(t *testing.T) {
	cfg := config.Default()
	cfg.Kafka.Brokers = []string{porttest.Free(t)}
	cfg.Admin.Listen, cfg.Staging.Bucket = "127.0.0.1:0", "acme-staging"
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	require.NoError(t, runProcess(ctx, cfg, processOptions{roles: allRoles}, silent))
}

func TestProcessNamesWhatIsWrongInTheConfiguration(t *testing.T) {
	nobody := porttest.Free(t)
	for key, set := range map[string]func(*config.Config){
		"kafka.tls.ca_file":   func(c *config.Config) { c.Kafka.TLS = config.TLS{Enabled: true, CAFile: "/nonexistent"} },
		"kafka.tls.cert_file": func(c *config.Config) { c.Kafka.TLS = config.TLS{Enabled: true, CertFile: "/nonexistent"} },
		"kafka.tls.key_file":  func(c *config.Config) { c.Kafka.TLS = config.TLS{Enabled: true, CertFile: "/nonexistent"} },
		"collector.tls.cert_file": func(c *config.Config) {
			c.Collector.TLS = config.ServerTLS{CertFile: "/nonexistent", KeyFile: "/nonexistent"}
		},
		"redis.tls.ca_file": func(c *config.Config) {
			c.Redis = config.Redis{URL: secret.New("rediss://a:1/0"), TLS: config.TLS{CAFile: "/nonexistent"}}
		},
		"staging.ca_file":      func(c *config.Config) { c.Staging.CAFile = "/nonexistent" },
		"sts.ca_file":          func(c *config.Config) { c.STS.CAFile = "/nonexistent" },
		"destinations.ca_file": func(c *config.Config) { c.Destinations.CAFile = "/nonexistent" },
		"AWS_CA_BUNDLE":        func(*config.Config) { t.Setenv("AWS_CA_BUNDLE", "/nonexistent") },
		"staging.bucket":       func(c *config.Config) { c.Staging.Bucket = config.Default().Staging.Bucket },
		"redis.url":            func(c *config.Config) { c.Redis.URL = secret.New("localhost") },
		"admin.listen":         func(c *config.Config) { c.Admin.Listen = "nonsense" },
	} {
		t.Setenv("AWS_CA_BUNDLE", "")
		cfg := config.Default()
		cfg.Staging.Bucket = "acme-staging"
		set(&cfg)
		cfg.Kafka.Brokers = []string{nobody}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // otherwise it would wait for the services
		require.ErrorContains(t, runProcess(ctx, cfg, processOptions{roles: allRoles}, silent), key)
		cancel()
	}
}
