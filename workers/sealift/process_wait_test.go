package main

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/config"
	"github.com/sealift/sealift/pkg/embedded"
	"github.com/sealift/sealift/pkg/porttest"
	"github.com/sealift/sealift/pkg/s3server"
	"github.com/sealift/sealift/pkg/secret"
)

// At the start, a process waits for Redis and the staging bucket; later, it is not ready while one
// of them is away. Each time /readyz has the address and the configuration key, and the process
// continues when they are back.
func TestProcessWaitsForRedisAndStaging(t *testing.T) {
	t.Parallel()
	cfg := config.Default()
	cfg.Kafka.Brokers = []string{startKafka(t, "").Addr()}
	cfg.Copier.SpoolDir = t.TempDir()
	redisAt, s3At := porttest.Free(t), porttest.Free(t)
	cfg.Redis.URL = secret.New("redis://:hunter2@" + redisAt + "/0")
	cfg.Staging.Endpoint, cfg.Staging.ForcePathStyle, cfg.Staging.Region = "http://"+s3At, true, "us-east-1"
	cfg.Admin.Listen = porttest.Free(t)
	awaitReadyz := func(status string, words ...string) {
		t.Helper()
		var answer string
		require.Eventually(t, func() bool {
			answer = readyz(cfg.Admin.Listen)
			for _, w := range words {
				if !strings.Contains(answer, w) {
					return false
				}
			}
			return strings.HasPrefix(answer, status)
		}, 30*time.Second, 50*time.Millisecond, "%v in %v", words, &answer)
		require.NotContains(t, answer, "hunter2")
	}
	store, err := s3server.Open(s3server.Config{Dir: t.TempDir(), AccessKey: "a", SecretKey: "b", Region: "us-east-1"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	require.NoError(t, store.CreateBucket(cfg.Staging.Bucket))

	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- runProcess(ctx, cfg, processOptions{roles: []string{copierRole}, credentials: testCredentials}, silent)
	}()
	awaitReadyz("503", "waiting for staging at http://"+s3At+"/sealift-staging (staging.bucket)", "connection refused")
	web := startServer(t, s3At, store)
	awaitReadyz("503", "waiting for redis at "+redisAt+" (redis.url)", "connection refused")
	redis, err := embedded.StartRedis(redisAt)
	require.NoError(t, err)
	awaitReadyz("200")

	require.NoError(t, redis.Close())
	awaitReadyz("503", redisAt+" (redis.url): ", "redis unavailable")
	redis, err = embedded.StartRedis(redisAt)
	require.NoError(t, err)
	defer redis.Close()
	awaitReadyz("200")

	require.NoError(t, web.Close())
	awaitReadyz("503", "http://"+s3At+"/sealift-staging (staging.bucket): ", "store unavailable")
	startServer(t, s3At, store)
	awaitReadyz("200")
	cancel()
	require.NoError(t, <-ended)
}

func startServer(t *testing.T, addr string, h http.Handler) *http.Server {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	require.NoError(t, err)
	web := &http.Server{Handler: h}
	done := make(chan struct{})
	go func() { defer close(done); _ = web.Serve(l) }()
	t.Cleanup(func() { _ = web.Close(); <-done })
	return web
}
