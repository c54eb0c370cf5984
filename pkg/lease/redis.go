package lease

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

// redisServer is a real Redis.
type redisServer struct {
	rdb *redis.Client
	tls bool
}

var _ Server = redisServer{}

// take gives KEYS[1] to the token ARGV[1] for ARGV[2] milliseconds, and
// returns a new fencing number, or 0 if another token holds it.
var take = redis.NewScript(`
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return redis.call('INCR', KEYS[2])`)

// extend gives KEYS[1] another ARGV[2] milliseconds, if ARGV[1] still holds it.
var extend = redis.NewScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])`)

// drop deletes KEYS[1], if ARGV[1] still holds it.
var drop = redis.NewScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])`)

// Ping implements Server. It writes, because a replica or a full Redis answers PING but grants no
// leases.
func (s redisServer) Ping(ctx context.Context) error {
	return s.explain(s.rdb.Set(ctx, pingKey, 1, time.Second).Err())
}

// Take implements Server.
func (s redisServer) Take(ctx context.Context, key, token string, ttl time.Duration) (int64, error) {
	fence, err := take.Run(ctx, s.rdb, []string{key, fenceKey}, token, ttl.Milliseconds()).Int64()
	return fence, s.explain(err)
}

// Extend implements Server.
func (s redisServer) Extend(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
	n, err := extend.Run(ctx, s.rdb, []string{key}, token, ttl.Milliseconds()).Int64()
	return n == 1, s.explain(err)
}

// Drop implements Server.
func (s redisServer) Drop(ctx context.Context, key, token string) error {
	return s.explain(drop.Run(ctx, s.rdb, []string{key}, token).Err())
}

// Set implements Server.
func (s redisServer) Set(ctx context.Context, key string, ttl time.Duration) error {
	return s.explain(s.rdb.Set(ctx, key, 1, ttl).Err())
}

// Exists implements Server.
func (s redisServer) Exists(ctx context.Context, key string) (bool, error) {
	n, err := s.rdb.Exists(ctx, key).Result()
	return n == 1, s.explain(err)
}

// Close implements Server.
func (s redisServer) Close() error { return s.rdb.Close() }
