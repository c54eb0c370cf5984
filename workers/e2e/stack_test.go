//go:build stack

package e2e

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/require"
)

// TestEverythingArrivesOnceStack runs on the servers of scripts/stack.sh, and breaks them as well:
// a broker is killed and restarted, and Redis loses everything.
func TestEverythingArrivesOnceStack(t *testing.T) {
	on := stackServers(t)
	runDeliveryTest(t, on, 200_000, func(ctx context.Context, _ *system) {
		require.NoError(t, stack(ctx, "kill", "kafka-1"))
		require.NoError(t, redisDo(ctx, on.redis, "FLUSHALL"))
		require.NoError(t, stack(ctx, "start", "kafka-1"))
		t.Log("a broker was killed and restarted, Redis was flushed")
	})
}

// stack runs scripts/stack.sh on the stack under test, to its end even if ctx ends before, so that
// what was broken is repaired whatever failed.
func stack(ctx context.Context, command string, server ...string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Minute)
	defer cancel()
	args := append([]string{command, os.Getenv("SEALIFT_TEST_STACK")}, server...)
	out, err := exec.CommandContext(ctx, "../../scripts/stack.sh", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("scripts/stack.sh %s %s: %w: %s", command, strings.Join(server, " "), err, out)
	}
	return nil
}

func env(t testing.TB, name string) string {
	t.Helper()
	value := os.Getenv(name)
	require.NotEmpty(t, value, "%s is not set: run make test-stack, or scripts/stack.sh up DIR and source DIR/env", name)
	return value
}

func stackServers(t testing.TB) servers {
	t.Helper()
	env(t, "SEALIFT_TEST_STACK") // stack needs it
	on := servers{
		kafka: env(t, "SEALIFT_TEST_KAFKA"), redis: env(t, "SEALIFT_TEST_REDIS_URL"),
		s3: env(t, "SEALIFT_TEST_S3_ENDPOINT"), region: env(t, "SEALIFT_TEST_S3_REGION"),
		access: env(t, "SEALIFT_TEST_S3_ACCESS_KEY"), secret: env(t, "SEALIFT_TEST_S3_SECRET_KEY"),
	}
	client := s3Client(on)
	on.makeBucket = func(name string) error {
		_, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String(name)})
		var ours *types.BucketAlreadyOwnedByYou // created by a try whose answer was lost
		if errors.As(err, &ours) {
			return nil
		}
		return err
	}
	// MinIO lets its users assume any role; trust policies are tested with the embedded STS.
	on.makeRole, on.anyTrust = func(string, string, string) {}, true
	return on
}

// redisDo sends a command that Redis answers with OK.
func redisDo(ctx context.Context, rawURL, command string) error {
	u, err := url.Parse(rawURL)
	if err != nil {
		return err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte(command + "\r\n")); err != nil {
		return err
	}
	reply, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && !strings.HasPrefix(reply, "+OK") {
		err = errors.New(strings.TrimSpace(reply))
	}
	if err != nil {
		return fmt.Errorf("redis %s at %s: %w", command, u.Host, err)
	}
	return nil
}

func s3Client(on servers) *s3.Client {
	return s3.New(s3.Options{
		Region: on.region, BaseEndpoint: &on.s3, UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(on.access, on.secret, ""),
	})
}

// emptyBucket deletes all objects.
func emptyBucket(ctx context.Context, on servers, bucket string) error {
	client := s3Client(on)
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: &bucket})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		var keys []types.ObjectIdentifier
		for _, o := range page.Contents {
			keys = append(keys, types.ObjectIdentifier{Key: o.Key})
		}
		if len(keys) == 0 {
			continue
		}
		if _, err := client.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: &bucket, Delete: &types.Delete{Objects: keys, Quiet: aws.Bool(true)}}); err != nil {
			return err
		}
	}
	return nil
}

// keepVersions makes a bucket keep what is overwritten or deleted.
func keepVersions(ctx context.Context, on servers, bucket string) error {
	_, err := s3Client(on).PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{
		Bucket: &bucket, VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled},
	})
	return err
}

// changedObjects returns the keys that have more than one version.
func changedObjects(ctx context.Context, on servers, bucket, prefix string) (changed []string, err error) {
	seen := map[string]bool{}
	pages := s3.NewListObjectVersionsPaginator(s3Client(on), &s3.ListObjectVersionsInput{Bucket: &bucket, Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, v := range page.Versions {
			if seen[*v.Key] {
				changed = append(changed, *v.Key)
			}
			seen[*v.Key] = true
		}
		for _, v := range page.DeleteMarkers {
			changed = append(changed, *v.Key)
		}
	}
	return changed, nil
}

// sorted returns the keys of a map in order.
func sorted[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
