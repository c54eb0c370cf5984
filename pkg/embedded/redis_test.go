package embedded

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRedisKeysExpireByTheClock(t *testing.T) {
	r, err := StartRedis(":0")
	require.NoError(t, err)
	defer r.Close()
	require.NoError(t, r.server.Set("soon", "x"))
	r.server.SetTTL("soon", 100*time.Millisecond)
	require.NoError(t, r.server.Set("later", "x"))
	r.server.SetTTL("later", time.Hour)

	require.Eventually(t, func() bool { return !r.server.Exists("soon") }, 10*time.Second, 10*time.Millisecond)
	require.True(t, r.server.Exists("later"))
	require.Regexp(t, `^redis://127\.0\.0\.1:\d+/0$`, r.URL())
	require.NoError(t, r.Close())

	r, err = StartRedis("0.0.0.0:0")
	require.NoError(t, err)
	require.Regexp(t, `^redis://127\.0\.0\.1:\d+/0$`, r.URL())
	require.NoError(t, r.Close())
}
