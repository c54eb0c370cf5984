//go:build !stack

package e2e

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/embedded"
	"github.com/sealift/sealift/pkg/s3server"
)

// TestEverythingArrivesOnceEmbedded needs no installed server: this process serves Kafka's
// protocol, Redis and S3 with STS; the roles are processes of the binary.
func TestEverythingArrivesOnceEmbedded(t *testing.T) {
	runDeliveryTest(t, embeddedServers(t), 200_000, func(context.Context, *system) {})
}

func embeddedServers(t *testing.T) servers {
	t.Helper()
	return embeddedServersBehind(t, func(s *s3server.Server) http.Handler { return s })
}

// embeddedServersBehind puts a handler of the test in front of S3 and STS.
func embeddedServersBehind(t *testing.T, before func(*s3server.Server) http.Handler) servers {
	t.Helper()
	dir, log := t.TempDir(), slog.New(slog.DiscardHandler)
	kafka, err := embedded.StartKafka(embedded.KafkaConfig{Dir: filepath.Join(dir, "kafka"), Addr: ":0", Log: log})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, kafka.Close()) })
	redis, err := embedded.StartRedis(":0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, redis.Close()) })

	on := servers{kafka: kafka.Addr(), redis: redis.URL(), access: "operator", secret: "operators-secret", region: "us-east-1"}
	s3, err := s3server.Open(s3server.Config{Dir: filepath.Join(dir, "s3"), AccessKey: on.access, SecretKey: on.secret, Region: on.region, Log: log})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s3.Close()) })
	web := httptest.NewServer(before(s3))
	t.Cleanup(web.Close)
	on.s3 = web.URL
	on.makeBucket = s3.CreateBucket
	on.makeRole = func(arn, externalID, bucket string) {
		s3.PutRole(s3server.PutOnlyRole(arn, s3.OperatorARN(), externalID, bucket))
	}
	return on
}
