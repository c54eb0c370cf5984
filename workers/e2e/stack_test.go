//go:build stack

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"
)

// TestEverythingArrivesOnceStack runs on the servers of scripts/stack.sh, and
// breaks them as well: one broker after the other is killed and restarted, and
// Redis forgets everything.
func TestEverythingArrivesOnceStack(t *testing.T) {
	on := stackServers(t)
	carry(t, on, 200_000, func(ctx context.Context, _ *system) {
		for n := range strings.Split(on.kafka, ",") {
			broker := fmt.Sprintf("kafka-%d", n+1)
			stack(ctx, t, "kill", broker)
			flushRedis(ctx, t, on.redis)
			stack(ctx, t, "start", broker)
			t.Logf("%s was killed and restarted, Redis was flushed", broker)
		}
	})
}

// stack runs scripts/stack.sh on a server of the stack under test.
func stack(ctx context.Context, t *testing.T, command, server string) {
	t.Helper()
	out, err := exec.CommandContext(ctx, "../../scripts/stack.sh", command, env(t, "SEALIFT_TEST_STACK"), server).CombinedOutput()
	require.NoError(t, err, "scripts/stack.sh %s %s: %s", command, server, out)
}

func env(t *testing.T, name string) string {
	t.Helper()
	value := os.Getenv(name)
	require.NotEmpty(t, value, "%s is not set: run make test-stack, or scripts/stack.sh up DIR and source DIR/env", name)
	return value
}

func stackServers(t *testing.T) servers {
	t.Helper()
	on := servers{
		kafka: env(t, "SEALIFT_TEST_KAFKA"), redis: env(t, "SEALIFT_TEST_REDIS_URL"),
		s3: env(t, "SEALIFT_TEST_S3_ENDPOINT"), region: env(t, "SEALIFT_TEST_S3_REGION"),
		access: env(t, "SEALIFT_TEST_S3_ACCESS_KEY"), secret: env(t, "SEALIFT_TEST_S3_SECRET_KEY"),
	}
	client := s3.New(s3.Options{
		Region: on.region, BaseEndpoint: &on.s3, UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(on.access, on.secret, ""),
	})
	on.makeBucket = func(name string) {
		_, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String(name)})
		require.NoError(t, err, "create bucket %q", name)
	}
	// MinIO lets its users assume any role; whom to trust is what the embedded
	// STS tests.
	on.makeRole = func(string, string, string) {}
	return on
}

// flushRedis makes Redis forget everything.
func flushRedis(ctx context.Context, t *testing.T, rawURL string) {
	t.Helper()
	u, err := url.Parse(rawURL)
	require.NoError(t, err)
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", u.Host)
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Write([]byte("FLUSHALL\r\n"))
	require.NoError(t, err)
	reply, err := bufio.NewReader(conn).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "+OK\r\n", reply)
}
