package lease

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func rdb(c *Client) *redis.Client { return c.server.(redisServer).rdb }

// conformance holds for every Redis. pass advances the server's clock by at least d.
func conformance(t *testing.T, url string, pass func(d time.Duration)) {
	open := func(t *testing.T) *Client {
		c, err := Open(url, nil)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, c.Close()) })
		return c
	}
	ctx := t.Context()
	// Keep names of different runs against the same server apart.
	name := func(t *testing.T) string { return t.Name() + "/" + newToken() }

	t.Run("ping", func(t *testing.T) {
		require.NoError(t, open(t).Ping(ctx))
	})
	t.Run("one_holder_at_a_time", func(t *testing.T) {
		a, b, name := open(t), open(t), name(t)
		l, err := a.Acquire(ctx, name, time.Minute)
		require.NoError(t, err)
		require.True(t, l.Held())
		_, err = b.Acquire(ctx, name, time.Minute)
		require.ErrorIs(t, err, ErrHeld)
		_, err = a.Acquire(ctx, name, time.Minute)
		require.ErrorIs(t, err, ErrHeld, "the same process acquired it twice")
		require.NoError(t, l.Release(ctx))
		require.NoError(t, l.Release(ctx), "releasing twice is an error")
		l2, err := b.Acquire(ctx, name, time.Minute)
		require.NoError(t, err)
		require.Greater(t, l2.Fence, l.Fence)
		require.NoError(t, l2.Release(ctx))
	})
	t.Run("namespaces_are_separate", func(t *testing.T) {
		c, name := open(t), name(t)
		a, b := c.WithNamespace("a"), c.WithNamespace("b")
		la, err := a.Acquire(ctx, name, time.Minute)
		require.NoError(t, err)
		lb, err := b.Acquire(ctx, name, time.Minute)
		require.NoError(t, err)
		require.Greater(t, lb.Fence, la.Fence)
		_, err = c.WithNamespace("a").Acquire(ctx, name, time.Minute)
		require.ErrorIs(t, err, ErrHeld)
		require.NoError(t, la.Release(ctx))
		require.NoError(t, lb.Release(ctx))

		require.NoError(t, a.Mark(ctx, name, time.Minute))
		for client, marked := range map[*Client]bool{c.WithNamespace("a"): true, b: false, c: false} {
			is, err := client.Marked(ctx, name)
			require.NoError(t, err)
			require.Equal(t, marked, is)
		}
	})
	t.Run("names_are_separate", func(t *testing.T) {
		c, name := open(t), name(t)
		l1, err := c.Acquire(ctx, name+"/1", time.Minute)
		require.NoError(t, err)
		l2, err := c.Acquire(ctx, name+"/2", time.Minute)
		require.NoError(t, err)
		require.NoError(t, l1.Release(ctx))
		require.NoError(t, l2.Release(ctx))
	})
	t.Run("acquire_again_with_the_same_token_after_a_lost_reply", func(t *testing.T) {
		c, key, token := open(t), keyPrefix+"lease:"+name(t), newToken()
		for range 2 {
			fence, err := c.server.Take(ctx, key, token, time.Minute, "")
			require.NoError(t, err)
			require.Positive(t, fence)
		}
		require.NoError(t, rdb(c).Del(ctx, key).Err())
	})
	t.Run("a_dead_holder_gives_way_in_time", func(t *testing.T) {
		c, name := open(t), name(t)
		l, err := c.Acquire(ctx, name, 2*time.Second)
		require.NoError(t, err)
		l.stop() // as if dead: it neither renews nor releases
		_, err = c.Acquire(ctx, name, time.Minute)
		require.ErrorIs(t, err, ErrHeld)
		pass(3 * time.Second)
		l2, err := c.Acquire(ctx, name, time.Minute)
		require.NoError(t, err)
		require.NoError(t, l2.Release(ctx))
	})
	t.Run("renewed_past_its_ttl", func(t *testing.T) {
		c, name := open(t), name(t)
		key := keyPrefix + "lease:" + name
		l, err := c.Acquire(ctx, name, 3*time.Second)
		require.NoError(t, err)
		pass(time.Second) // some of the ttl is over
		require.Eventually(t, func() bool {
			left, err := rdb(c).PTTL(ctx, key).Result()
			return err == nil && left > 2500*time.Millisecond
		}, 10*time.Second, 10*time.Millisecond)
		require.NoError(t, l.Release(ctx))
		n, err := rdb(c).Exists(ctx, key).Result()
		require.NoError(t, err)
		require.Zero(t, n)
	})
	for hazard, disturb := range map[string]func(c *Client, key string) error{
		"lost_when_taken":   func(c *Client, key string) error { return rdb(c).Set(ctx, key, "another", time.Minute).Err() },
		"lost_when_flushed": func(c *Client, key string) error { return rdb(c).Del(ctx, key).Err() },
	} {
		t.Run(hazard, func(t *testing.T) {
			c, name := open(t), name(t)
			key := keyPrefix + "lease:" + name
			l, err := c.Acquire(ctx, name, 300*time.Millisecond)
			require.NoError(t, err)
			require.NoError(t, disturb(c, key))
			<-l.Lost()
			require.False(t, l.Held())
			before, _ := rdb(c).Get(ctx, key).Result()
			require.NoError(t, l.Release(ctx))
			after, _ := rdb(c).Get(ctx, key).Result()
			require.Equal(t, before, after, "release leaves another's lease alone")
			require.NoError(t, rdb(c).Del(ctx, key).Err())
		})
	}
	t.Run("markers", func(t *testing.T) {
		c, key := open(t), name(t)
		marked := func() bool {
			m, err := c.Marked(ctx, key)
			require.NoError(t, err)
			return m
		}
		require.False(t, marked())
		require.NoError(t, c.Mark(ctx, key, time.Minute))
		require.True(t, marked())
		require.NoError(t, c.Mark(ctx, key, 200*time.Millisecond), "anew")
		pass(time.Second)
		require.False(t, marked())
	})
	t.Run("acquire_unless_marked", func(t *testing.T) {
		c, name := open(t).WithNamespace("n"), name(t)
		l, err := c.AcquireUnlessMarked(ctx, name, time.Minute, name)
		require.NoError(t, err)
		require.Positive(t, l.Fence)
		_, err = c.AcquireUnlessMarked(ctx, name, time.Minute, name)
		require.ErrorIs(t, err, ErrHeld)
		require.NoError(t, c.Mark(ctx, name, time.Minute))
		_, err = c.AcquireUnlessMarked(ctx, name, time.Minute, name)
		require.ErrorIs(t, err, ErrMarked, "held, too")
		require.NoError(t, l.Release(ctx))
		_, err = c.AcquireUnlessMarked(ctx, name, time.Minute, name)
		require.ErrorIs(t, err, ErrMarked)
		held, err := c.Held(ctx, name)
		require.NoError(t, err)
		require.False(t, held, "a marked name was taken")
	})
	t.Run("release_and_mark", func(t *testing.T) {
		c, name := open(t).WithNamespace("n"), name(t)
		l, err := c.Acquire(ctx, name, time.Minute)
		require.NoError(t, err)
		require.NoError(t, l.ReleaseAndMark(ctx, name, 2*time.Second))
		held, err := c.Held(ctx, name)
		require.NoError(t, err)
		require.False(t, held)
		marked, err := c.Marked(ctx, name)
		require.NoError(t, err)
		require.True(t, marked)
		pass(3 * time.Second)
		marked, err = c.Marked(ctx, name)
		require.NoError(t, err)
		require.False(t, marked, "the marker outlives its ttl")
		require.NoError(t, l.ReleaseAndMark(ctx, name, time.Minute), "released already")
		marked, err = c.Marked(ctx, name)
		require.NoError(t, err)
		require.False(t, marked)
	})
	t.Run("mark_although_lost", func(t *testing.T) {
		c, name := open(t), name(t)
		l, err := c.Acquire(ctx, name, time.Minute)
		require.NoError(t, err)
		key := keyPrefix + "lease:" + name
		require.NoError(t, rdb(c).Set(ctx, key, "another", time.Minute).Err())
		require.NoError(t, l.ReleaseAndMark(ctx, name, time.Minute))
		marked, err := c.Marked(ctx, name)
		require.NoError(t, err)
		require.True(t, marked)
		holder, err := rdb(c).Get(ctx, key).Result()
		require.NoError(t, err)
		require.Equal(t, "another", holder)
	})
	t.Run("context_ended", func(t *testing.T) {
		done, cancel := context.WithCancel(ctx)
		cancel()
		_, err := open(t).Acquire(done, name(t), time.Minute)
		require.ErrorIs(t, err, context.Canceled)
	})
}
