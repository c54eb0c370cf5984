package lease

import (
	"context"
	"errors"
	"io"
	"syscall"

	"github.com/redis/go-redis/v9"

	"github.com/sealift/sealift/pkg/certs"
)

var certKeys = certs.Keys{CA: "redis.tls.ca_file", Cert: "redis.tls.cert_file", Address: "redis.url", Enable: "redis.tls.enabled (or rediss://)"}

// explain adds the configuration key to change, if Redis refuses the connection or our credentials.
func (s redisServer) explain(err error) error {
	if err == nil {
		return nil
	}
	return certs.WithHint(err, s.reason(err))
}

func (s redisServer) reason(err error) string {
	if why := certs.Explain(err, certKeys); why != "" {
		return why
	}
	switch {
	case redis.HasErrorPrefix(err, "WRONGPASS"), redis.HasErrorPrefix(err, "ERR invalid password"):
		return "Redis rejected the user or password: correct them in redis.url, redis://USER:PASSWORD@host:6379/0"
	case redis.HasErrorPrefix(err, "NOAUTH"):
		return "Redis requires a password: set it in redis.url, redis://[USER]:PASSWORD@host:6379/0"
	case redis.HasErrorPrefix(err, "NOPERM"):
		return "the user of redis.url lacks permissions; grant them: ACL SETUSER NAME ~sealift:* +@read +@write +@scripting +@connection"
	case redis.HasErrorPrefix(err, "READONLY"):
		return "redis.url is that of a replica: set it to the primary, or to an address that follows it"
	case redis.HasErrorPrefix(err, "CROSSSLOT"), redis.HasErrorPrefix(err, "MOVED"), redis.HasErrorPrefix(err, "CLUSTERDOWN"):
		return "redis.url is that of a Redis Cluster, which spreads the keys of a lease over several servers; set it to a Redis that is not a cluster (ElastiCache: cluster mode disabled)"
	case redis.HasErrorPrefix(err, "OOM"):
		return "Redis is full and evicts nothing: give it more maxmemory, or maxmemory-policy volatile-lru (volatile-ttl evicts leases first)"
	case redis.HasErrorPrefix(err, "MISCONF"):
		return "Redis cannot save to its disk and refuses writes: make room there, or set stop-writes-on-bgsave-error no"
	case s.tls && errors.Is(err, context.DeadlineExceeded): // without TLS it waits for the end of a line
		return "Redis did not answer; if it is there, its port does not speak TLS (redis.tls.enabled, or rediss:// in redis.url)"
	case !s.tls && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)):
		return "Redis closed the connection; if this persists, its port requires TLS (redis.tls.enabled)"
	}
	return ""
}
