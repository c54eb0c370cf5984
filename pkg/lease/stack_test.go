//go:build stack

package lease

import (
	"os"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// TestConformanceOfRedis runs against the server of the test stack.
func TestConformanceOfRedis(t *testing.T) {
	url := os.Getenv("SEALIFT_TEST_REDIS_URL")
	require.NotEmpty(t, url, "SEALIFT_TEST_REDIS_URL names the Redis of the test stack")
	conformance(t, url, func(d time.Duration) { <-time.After(d) })
}

// Ping fails if Redis answers but accepts no writes. Otherwise copiers that wait for Redis would
// continue and fail, again and again.
func TestPingNeedsWrites(t *testing.T) {
	url := os.Getenv("SEALIFT_TEST_REDIS_2_URL")
	require.NotEmpty(t, url, "SEALIFT_TEST_REDIS_2_URL names the second Redis of the test stack")
	opts, err := redis.ParseURL(url)
	require.NoError(t, err)
	admin := redis.NewClient(opts)
	defer admin.Close()
	client, err := Open(url, nil)
	require.NoError(t, err)
	defer client.Close()
	for name, c := range map[string]struct {
		spoil, mend []any
		want        string
	}{
		"replica": {[]any{"REPLICAOF", "127.0.0.1", "1"}, []any{"REPLICAOF", "NO", "ONE"}, "redis.url is that of a replica"},
		"full":    {[]any{"CONFIG", "SET", "maxmemory", "1"}, []any{"CONFIG", "SET", "maxmemory", "0"}, "maxmemory"},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, client.Ping(t.Context()))
			require.NoError(t, admin.Do(t.Context(), c.spoil...).Err())
			err := client.Ping(t.Context())
			require.NoError(t, admin.Do(t.Context(), c.mend...).Err())
			require.ErrorIs(t, err, ErrUnavailable)
			require.ErrorContains(t, err, c.want)
			require.NoError(t, client.Ping(t.Context()))
		})
	}
}

// Leases are released even if Redis is full.
func TestReleaseIntoAFullRedis(t *testing.T) {
	url := os.Getenv("SEALIFT_TEST_REDIS_2_URL")
	require.NotEmpty(t, url, "SEALIFT_TEST_REDIS_2_URL names the second Redis of the test stack")
	client, err := Open(url, nil)
	require.NoError(t, err)
	defer client.Close()
	ctx, name := t.Context(), t.Name()+newToken()
	l, err := client.Acquire(ctx, name, time.Minute)
	require.NoError(t, err)
	require.NoError(t, rdb(client).ConfigSet(ctx, "maxmemory", "1").Err())
	err = l.ReleaseAndMark(ctx, name, time.Minute)
	require.NoError(t, rdb(client).ConfigSet(ctx, "maxmemory", "0").Err())
	require.NoError(t, err)
	held, err := client.Held(ctx, name)
	require.NoError(t, err)
	require.False(t, held)
}
