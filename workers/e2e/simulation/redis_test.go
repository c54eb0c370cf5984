package simulation

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/sealift/sealift/pkg/lease"
)

// redis is a Redis in the world.
type redis struct {
	state
	snapshot state // the state of a replica that lags behind
	down     bool
}

type state struct {
	keys  map[string]value
	fence int64
}

type value struct {
	token   string
	expires time.Time
}

func newRedis() *redis { return &redis{state: state{keys: map[string]value{}}} }

func (s state) clone() state { return state{keys: maps.Clone(s.keys), fence: s.fence} }

func (r *redis) get(key string) (value, bool) {
	v, ok := r.keys[key]
	return v, ok && time.Now().Before(v.expires)
}

// clientFor returns the Redis as an actor accesses it.
func (r *redis) clientFor(w *world, a *actor) lease.Server { return &redisClient{w: w, a: a, r: r} }

type redisClient struct {
	w *world
	a *actor
	r *redis
}

var errRedis = errors.New("LOADING Redis is loading the dataset in memory")

func (c *redisClient) do(ctx context.Context, kind, key string, effect func()) error {
	o := &op{actor: c.a, kind: "redis " + kind, key: key, ways: []way{cut, lost, hangs}}
	if kind != "ping" && kind != "exists" {
		o.lateEffect = effect
	}
	o.run = func(out way) {
		switch {
		case c.r.down:
			o.err = errRedis
			return
		case out.effective():
			effect()
		}
		if out != well {
			o.err = errCut
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 6*time.Second) // as pkg/lease bounds every try
	defer cancel()
	return c.w.do(ctx, o)
}

// Ping implements lease.Server.
func (c *redisClient) Ping(ctx context.Context) error { return c.do(ctx, "ping", "", func() {}) }

// Take implements lease.Server.
func (c *redisClient) Take(ctx context.Context, key, token string, ttl time.Duration, marker string) (int64, error) {
	var fence int64 // not the return value, which may be written after the return
	err := c.do(ctx, "take", key, func() {
		if _, ok := c.r.get(marker); ok {
			fence = lease.Marked
			return
		}
		if v, ok := c.r.get(key); ok && v.token != token {
			fence = lease.TakenByAnother
			return
		}
		c.r.keys[key] = value{token, time.Now().Add(ttl)}
		c.r.fence++
		fence = c.r.fence
	})
	if err != nil {
		return 0, err
	}
	return fence, nil
}

// Extend implements lease.Server.
func (c *redisClient) Extend(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
	held := false
	err := c.do(ctx, "extend", key, func() {
		if v, ok := c.r.get(key); ok && v.token == token {
			c.r.keys[key] = value{token, time.Now().Add(ttl)}
			held = true
		}
	})
	if err != nil {
		return false, err
	}
	return held, nil
}

// Drop implements lease.Server.
func (c *redisClient) Drop(ctx context.Context, key, token, marker string, ttl time.Duration) error {
	return c.do(ctx, "drop", key, func() {
		if marker != "" {
			c.r.keys[marker] = value{"", time.Now().Add(ttl)}
		}
		if v, ok := c.r.get(key); ok && v.token == token {
			delete(c.r.keys, key)
		}
	})
}

// Set implements lease.Server.
func (c *redisClient) Set(ctx context.Context, key string, ttl time.Duration) error {
	return c.do(ctx, "set", key, func() { c.r.keys[key] = value{"", time.Now().Add(ttl)} })
}

// Exists implements lease.Server.
func (c *redisClient) Exists(ctx context.Context, key string) (bool, error) {
	is := false
	err := c.do(ctx, "exists", key, func() { _, is = c.r.get(key) })
	if err != nil {
		return false, err
	}
	return is, nil
}

// Close implements lease.Server.
func (c *redisClient) Close() error { return nil }
