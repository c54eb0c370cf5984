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

// take gives KEYS[1] to the token ARGV[1] for ARGV[2] milliseconds, and returns a new fencing number
// counted in KEYS[2]. It returns -1 if the marker KEYS[3] is there, and 0 if another token holds
// KEYS[1].
var take = redis.NewScript(`
if KEYS[3] and redis.call('EXISTS', KEYS[3]) == 1 then return -1 end
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return redis.call('INCR', KEYS[2])`)

// extend gives KEYS[1] another ARGV[2] milliseconds, if ARGV[1] still holds it.
var extend = redis.NewScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])`)

// drop deletes KEYS[1] if ARGV[1] still holds it, and sets the marker KEYS[2], if there is one, for
// ARGV[2] milliseconds. It deletes first, because a Redis that is full refuses a script whose first
// write needs memory.
var drop = redis.NewScript(`
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
if KEYS[2] then redis.call('SET', KEYS[2], 1, 'PX', ARGV[2]) end
return 1`)

// Ping implements Server. It writes, because a replica or a full Redis answers PING but grants no
// leases. And it names two keys at once, which a Redis Cluster refuses.
func (s redisServer) Ping(ctx context.Context) error {
	if err := s.Set(ctx, pingKey, time.Second); err != nil {
		return err
	}
	return s.explain(s.rdb.Exists(ctx, pingKey, fenceKey).Err())
}

// Take implements Server.
func (s redisServer) Take(ctx context.Context, key, token string, ttl time.Duration, marker string) (int64, error) {
	fence, err := take.Run(ctx, s.rdb, keys(key, fenceKey, marker), token, ttl.Milliseconds()).Int64()
	return fence, s.explain(err)
}

// Extend implements Server.
func (s redisServer) Extend(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
	n, err := extend.Run(ctx, s.rdb, []string{key}, token, ttl.Milliseconds()).Int64()
	return n == 1, s.explain(err)
}

// Drop implements Server.
func (s redisServer) Drop(ctx context.Context, key, token, marker string, ttl time.Duration) error {
	return s.explain(drop.Run(ctx, s.rdb, keys(key, marker), token, ttl.Milliseconds()).Err())
}

// keys returns those that are not "", of which only the last may be.
func keys(all ...string) []string {
	if last := len(all) - 1; all[last] == "" {
		return all[:last]
	}
	return all
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
