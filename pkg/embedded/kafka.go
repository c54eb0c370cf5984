package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"
)

// tenYearsMillis is a number of milliseconds that no process lives, for tickers that must never
// tick.
const tenYearsMillis = "315360000000" // 10 years

// maxSession is the longest time that a member of a consumer group may be silent: Kafka's default.
const maxSession = 30 * time.Minute

// KafkaConfig configures the embedded broker.
type KafkaConfig struct {
	// Dir holds the broker's log. It is created if missing; one process at a time may use it.
	Dir string
	// Addr is the host:port to listen on. No host means 127.0.0.1; port 0 means any free one.
	Addr string
	// TrimGroups lists consumer groups. In every topic for which one of them has committed offsets
	// with metadata, the records below these offsets are deleted from time to time, except a
	// partition's last batch. Empty: nothing is deleted.
	TrimGroups []string
	Log        *slog.Logger
	trimEvery  time.Duration // between two trims; 30s except in tests
}

// Kafka is a single broker that speaks Kafka's protocol.
//
// Records are kept in files below Dir; memory holds about 100 bytes per batch. Only starting reads
// the whole log that is not trimmed, and briefly needs that much memory. Topics are created only on
// request, never by being used: a topic that the broker created by itself would not survive a kill
// -9.
type Kafka struct {
	cluster *kfake.Cluster
	client  *kgo.Client // used for trimming; nil without it
	addr    string
	log     *slog.Logger
	groups  []string

	stop context.CancelFunc
	wg   sync.WaitGroup
	once sync.Once
}

// StartKafka starts the broker with everything that is in Dir.
func StartKafka(cfg KafkaConfig) (*Kafka, error) {
	addr, err := withLoopbackHost(cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("start embedded kafka at %q: %w", cfg.Addr, err)
	}
	// Members of a previous process are dead. If restored, they would delay the first rebalance
	// until their sessions expire.
	if err := os.Remove(filepath.Join(cfg.Dir, "session_state.json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("start embedded kafka in %q: %w", cfg.Dir, err)
	}
	if cfg.trimEvery == 0 {
		cfg.trimEvery = 30 * time.Second
	}
	cluster, err := kfake.NewCluster(
		kfake.NumBrokers(1),
		kfake.ClusterID("sealift-embedded"),
		kfake.DataDir(cfg.Dir),
		kfake.ListenFn(func(network, _ string) (net.Listener, error) { return listen(network, addr) }),
		// Tests need dead members to be noticed sooner than after Kafka's 6 s.
		kfake.GroupMinSessionTimeout(time.Second),
		kfake.GroupMaxSessionTimeout(maxSession),
		kfake.WithLogger(kafkaLog{cfg.Log}),
		kfake.BrokerConfigs(map[string]string{
			// Its compaction removes old segments before it writes the new ones, and its retention
			// may empty a partition, which then restarts at offset 0 after a kill -9. Neither may
			// ever run.
			"log.cleaner.backoff.ms": tenYearsMillis,
			"log.retention.ms":       "-1",
			// Keep the offsets of groups without members; the default is a week.
			"offsets.retention.minutes": "5256000", // 10 years
			// Trimming frees disk space in units of segments.
			"log.segment.bytes": "16777216",
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("start embedded kafka at %s in %q: %w", addr, cfg.Dir, err)
	}
	// Loading has read the whole log: 1 GB of it needs 1 GB of memory for a moment.
	debug.FreeOSMemory()
	k := &Kafka{cluster: cluster, addr: cluster.ListenAddrs()[0], log: cfg.Log, groups: cfg.TrimGroups}
	if len(cfg.TrimGroups) > 0 {
		k.client, err = kgo.NewClient(kgo.SeedBrokers(k.addr), kgo.ClientID("sealift-embedded-trim"),
			// Newer requests name topics by id, which is not known here.
			kgo.MaxVersions(kversion.V3_0_0()))
		if err != nil {
			cluster.Close()
			return nil, fmt.Errorf("start embedded kafka: %w", err)
		}
		ctx, stop := context.WithCancel(context.Background())
		k.stop = stop
		k.wg.Go(func() { k.trimEvery(ctx, cfg.trimEvery) })
	}
	return k, nil
}

// Addr returns the host:port of the broker.
func (k *Kafka) Addr() string { return k.addr }

// Close stops the broker. It may be called more than once.
func (k *Kafka) Close() error {
	k.once.Do(func() {
		if k.client != nil {
			k.stop()
			k.wg.Wait()
			k.client.Close()
		}
		k.cluster.Close()
	})
	return nil
}

// listener advertises an address that a client can dial.
type listener struct {
	net.Listener
	addr net.Addr
}

func (l listener) Addr() net.Addr { return l.addr }

// Accept implements net.Listener.
func (l listener) Accept() (net.Conn, error) {
	inner, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return newConn(inner), nil
}

// conn reports the end of a client's connection only when the client's last request is answered. To
// a member that is gone when it is time to answer its request to join a group, the broker gives
// partitions, but no session that could expire: a client that is killed while it waits would keep
// its partitions forever.
type conn struct {
	net.Conn
	idle   chan struct{} // holds a value unless a request waits for its answer
	closed chan struct{}
	once   sync.Once
}

func newConn(inner net.Conn) *conn {
	c := &conn{Conn: inner, idle: make(chan struct{}, 1), closed: make(chan struct{})}
	c.idle <- struct{}{}
	return c
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		select {
		case <-c.idle:
		default:
		}
		return n, err
	}
	select {
	case <-c.idle:
	case <-c.closed:
	case <-time.After(maxSession): // half a request is never answered, and joining takes no longer
	}
	return n, err
}

// Write implements net.Conn. The broker writes each answer with one call.
func (c *conn) Write(p []byte) (int, error) {
	select {
	case c.idle <- struct{}{}: // before the client can send the next request
	default:
	}
	return c.Conn.Write(p)
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// listen listens on addr. The broker tells clients to connect to the address that it listens on;
// for a wildcard address, that is the loopback address.
func listen(network, addr string) (net.Listener, error) {
	l, err := net.Listen(network, addr)
	if err != nil {
		return nil, err
	}
	advertised := l.Addr()
	if a, ok := advertised.(*net.TCPAddr); ok && a.IP.IsUnspecified() {
		advertised = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: a.Port}
	}
	return listener{l, advertised}, nil
}

// kafkaLog passes on the broker's warnings and errors, and drops the rest.
type kafkaLog struct{ log *slog.Logger }

func (l kafkaLog) Logf(level kfake.LogLevel, format string, args ...any) {
	if l.log == nil || level > kfake.LogLevelWarn || level == kfake.LogLevelNone {
		return
	}
	l.log.Warn("embedded kafka reports a problem", "problem", fmt.Sprintf(format, args...))
}
