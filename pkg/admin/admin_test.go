package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, cfg Config) *Server {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "sealift_test_things", Help: "x"}, func() float64 { return 7 }))
	cfg.Listen = "127.0.0.1:0"
	s, err := Start(cfg, Deps{Metrics: reg, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		require.NoError(t, s.Close(context.Background()))
	})
	return s
}

func get(t *testing.T, s *Server, path string) (int, string) {
	t.Helper()
	resp, err := http.Get("http://" + s.Addr() + path)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(body)
}

func TestPages(t *testing.T) {
	s := start(t, Config{Version: map[string]string{"version": "v1.2.3"}})
	s.Check("kafka", func(context.Context) error { return nil })
	for _, tc := range []struct {
		path   string
		status int
		want   string
	}{
		{"/metrics", 200, "sealift_test_things 7"},
		{"/healthz", 200, "ok"},
		{"/readyz", 200, `"ready": true`},
		{"/version", 200, `"version": "v1.2.3"`},
		{"/", 200, "/metrics\n/healthz\n/readyz\n/version\n"},
		{"/debug/pprof/", 404, ""},
		{"/nothing", 404, ""},
	} {
		status, body := get(t, s, tc.path)
		require.Equal(t, tc.status, status, tc.path)
		require.Contains(t, body, tc.want, tc.path)
	}

	status, body := get(t, start(t, Config{Pprof: true}), "/debug/pprof/goroutine?debug=1")
	require.Equal(t, 200, status)
	require.Contains(t, body, "goroutine profile")
}

func TestReadyz(t *testing.T) {
	s := start(t, Config{})
	s.Check("kafka", func(context.Context) error { return nil })
	s.Check("redis", func(context.Context) error {
		return errors.New("dial tcp 127.0.0.1:6379?a&b: connection refused (redis.url)")
	})
	s.Check("broken", func(context.Context) error { panic("oh") })

	status, body := get(t, s, "/readyz")
	require.Equal(t, 503, status)
	var r Readiness
	require.NoError(t, json.Unmarshal([]byte(body), &r))
	require.False(t, r.Ready)
	require.Equal(t, "kafka", r.Checks[0].Name)
	require.True(t, r.Checks[0].OK)
	require.False(t, r.Checks[1].OK)
	require.Contains(t, r.Checks[1].Error, "redis.url")
	require.Contains(t, body, "a&b", "URLs are escaped")
	require.Contains(t, r.Checks[2].Error, "probe panicked: oh")
}

// Whoever asks before the first check has been added would take a process that has not started for
// a ready one.
func TestNotReadyBeforeTheFirstCheck(t *testing.T) {
	s := start(t, Config{})
	status, _ := get(t, s, "/readyz")
	require.Equal(t, 503, status)
	s.Check("startup", func(context.Context) error { return nil })
	status, _ = get(t, s, "/readyz")
	require.Equal(t, 200, status)
}

func TestDrainingIsNotReady(t *testing.T) {
	s := start(t, Config{})
	s.Check("kafka", func(context.Context) error { return nil })
	s.Drain()
	status, body := get(t, s, "/readyz")
	require.Equal(t, 503, status)
	require.Contains(t, body, `"draining": true`)
	status, _ = get(t, s, "/healthz")
	require.Equal(t, 200, status)
}

// A service that hangs delays the answer only until the timeout, and its probes do not pile up.
func TestHangingProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{}
		var running atomic.Int32
		release := make(chan struct{})
		s.Check("s3", func(context.Context) error { // ignores its context
			running.Add(1)
			<-release
			return nil
		})
		for range 3 {
			begin := time.Now()
			r := s.Ready(t.Context())
			require.False(t, r.Ready)
			require.Equal(t, "no answer in 3s", r.Checks[0].Error)
			require.LessOrEqual(t, time.Since(begin), checkTimeout+100*time.Millisecond)
		}
		require.Equal(t, int32(1), running.Load())
		close(release)
		synctest.Wait()
		require.True(t, s.Ready(t.Context()).Ready)
	})
}

// Requests that are still being answered when the process ends are cut off, which is not an error.
func TestCloseCutsOffHangingRequests(t *testing.T) {
	asked, release := make(chan struct{}), make(chan struct{})
	s, err := Start(Config{Listen: "127.0.0.1:0"}, Deps{Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	s.Check("slow", func(context.Context) error {
		close(asked)
		<-release
		return nil
	})
	done := make(chan error, 1)
	go func() {
		resp, err := http.Get("http://" + s.Addr() + "/readyz")
		if err == nil {
			err = resp.Body.Close()
		}
		done <- err
	}()
	<-asked
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, s.Close(ctx))
	require.Error(t, <-done)
	close(release)
}

func TestStartNamesAddressAndKey(t *testing.T) {
	s := start(t, Config{})
	_, err := Start(Config{Listen: s.Addr()}, Deps{Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler)})
	require.ErrorContains(t, err, s.Addr())
	require.ErrorContains(t, err, "admin.listen")
	require.ErrorContains(t, err, "--set admin.listen="+withNextPort(s.Addr()))
	for address, want := range map[string]string{":9090": ":9091", "[::1]:9091": "[::1]:9092", ":65535": ":9091", ":http": ":9091"} {
		require.Equal(t, want, withNextPort(address))
	}
}
