package lease

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

func TestConformanceOfMiniredis(t *testing.T) {
	m := miniredis.RunT(t)
	conformance(t, "redis://"+m.Addr(), m.FastForward)
}

func TestRedisDown(t *testing.T) {
	m := miniredis.RunT(t)
	c, err := Open("redis://"+m.Addr(), nil)
	require.NoError(t, err)
	defer c.Close()
	l, err := c.Acquire(t.Context(), "x", 200*time.Millisecond)
	require.NoError(t, err)

	m.SetError("LOADING Redis is loading the dataset in memory")
	<-l.Lost()
	require.ErrorIs(t, l.Release(t.Context()), ErrUnavailable)
	require.ErrorIs(t, c.Ping(t.Context()), ErrUnavailable)
	_, err = c.Acquire(t.Context(), "y", time.Minute)
	require.ErrorIs(t, err, ErrUnavailable)
	require.ErrorIs(t, c.Mark(t.Context(), "m", time.Minute), ErrUnavailable)
	_, err = c.Marked(t.Context(), "m")
	require.ErrorIs(t, err, ErrUnavailable)
}

func TestOpenNeverPrintsThePassword(t *testing.T) {
	for _, url := range []string{"redis://:pa55word@host:port/0", "http://:pa55word@host", ":pa55word@\x7f", "redis://:pa55word@host/x"} {
		_, err := Open(url, nil)
		require.Error(t, err, url)
		require.NotContains(t, err.Error(), "pa55word")
		require.ErrorContains(t, err, "redis://host:6379/0")
	}
}

func TestClientLogsNothingByItself(t *testing.T) {
	logger := &recorder{}
	redis.SetLogger(logger)
	c, err := Open("redis://127.0.0.1:1/0", nil)
	require.NoError(t, err)
	defer c.Close()
	for range 3 {
		require.ErrorIs(t, c.Ping(t.Context()), ErrUnavailable)
	}
	require.Empty(t, logger.lines())
}

type recorder struct {
	mu  sync.Mutex // guards all
	all []string
}

func (r *recorder) Printf(_ context.Context, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, fmt.Sprintf(format, args...))
}

func (r *recorder) lines() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all
}
