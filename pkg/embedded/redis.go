package embedded

import (
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// expiryTick is how late keys may expire; with many keys it may be later.
const expiryTick = 50 * time.Millisecond

// Redis is an in-memory Redis.
type Redis struct {
	server *miniredis.Miniredis
	stop   chan struct{}
	wg     sync.WaitGroup
	once   sync.Once
}

// StartRedis starts a Redis at addr (host:port; no host means 127.0.0.1, port 0 any free one).
func StartRedis(addr string) (*Redis, error) {
	at, err := withLoopbackHost(addr)
	if err != nil {
		return nil, fmt.Errorf("start embedded redis at %q: %w", addr, err)
	}
	r := &Redis{server: miniredis.NewMiniRedis(), stop: make(chan struct{})}
	if err := r.server.StartAddr(at); err != nil {
		return nil, fmt.Errorf("start embedded redis at %s: %w", at, err)
	}
	r.wg.Go(r.expireKeys)
	return r, nil
}

// expireKeys makes keys expire, because the server's own clock stands still.
func (r *Redis) expireKeys() {
	last := time.Now()
	timer := time.NewTimer(expiryTick)
	defer timer.Stop()
	for {
		select {
		case <-r.stop:
			return
		case <-timer.C:
		}
		now := time.Now()
		r.server.FastForward(now.Sub(last))
		last = now
		// One pass sorts all keys; spend at most a twentieth of the time on this.
		timer.Reset(max(expiryTick, 20*time.Since(now)))
	}
}

// Addr returns the host:port of the server, on loopback if it listens on all interfaces.
func (r *Redis) Addr() string { return ClientAddr(r.server.Addr()) }

// ClientAddr returns the address at which clients on this machine reach a listener: if it listens
// on all interfaces, its own address names no machine.
func ClientAddr(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err == nil && net.ParseIP(host).IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return addr
}

// URL returns the server's redis:// URL, database 0.
func (r *Redis) URL() string { return "redis://" + r.Addr() + "/0" }

// Close stops the server. It may be called more than once.
func (r *Redis) Close() error {
	r.once.Do(func() {
		close(r.stop)
		r.wg.Wait()
		r.server.Close()
	})
	return nil
}
