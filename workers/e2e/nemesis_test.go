//go:build stack

package e2e

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sealift/sealift/pkg/sample"
	"github.com/sealift/sealift/pkg/send"
)

// faultFunc causes a fault, lets it last and undoes it. An error is one of the test or of the
// system: no fault may end a process, or prevent it from starting.
type faultFunc func(ctx context.Context, n *nemesis, a act) error

// fault is one kind of fault.
type fault struct {
	name  string
	lasts span
	do    faultFunc
}

// lane is a sequence of faults, one at a time; lanes run concurrently.
type lane struct {
	name   string
	faults []fault
}

func allLanes() []lane { return append(roleFaults(), serverFaults()...) }

// nemesis breaks a system on the real stack according to a schedule.
type nemesis struct {
	t         *testing.T
	s         *system
	direct    servers // without the proxies
	s3        *s3FaultProxy
	redis     *tcpSwitch
	redisURLs []string
	kafka     *kgo.Client
	began     time.Time
	primary   int       // index into redisURLs; used by the redis lane alone
	calm      time.Time // when the faults ended

	mu         sync.Mutex // guards all fields below, and the destinations of s
	partitions int
	injected   map[string]int     // by kind of fault
	claims     map[string][]claim // by destination id, in order
	outages    []outage
	read       int64 // records that appenders read in lives that have ended
}

// newNemesis starts a fleet behind its proxies.
func newNemesis(ctx context.Context, t *testing.T, seed uint64, of fleet) *nemesis {
	t.Helper()
	n := &nemesis{
		t: t, direct: stackServers(t), began: time.Now(), partitions: systemPartitions, injected: map[string]int{}, claims: map[string][]claim{},
		redisURLs: []string{env(t, "SEALIFT_TEST_REDIS_URL"), env(t, "SEALIFT_TEST_REDIS_2_URL")},
	}
	require.Len(t, strings.Split(n.direct.kafka, ","), 3, "brokers: run scripts/stack.sh up with KAFKA_BROKERS=3")
	require.NoError(t, stack(ctx, "up")) // a failed run may have left it broken
	t.Cleanup(func() {
		require.NoError(t, stack(context.Background(), "up"))
		for _, server := range n.redisURLs { // the next test writes to the first, which may be a replica now
			require.NoError(t, redisDo(context.Background(), server, "REPLICAOF NO ONE"))
		}
	})
	var err error
	n.kafka, err = kafkaClient(n.direct.kafka)
	require.NoError(t, err)
	t.Cleanup(n.kafka.Close)
	require.NoError(t, redisDo(ctx, n.redisURLs[0], "REPLICAOF NO ONE"))
	require.NoError(t, n.replicate(ctx))
	n.redis = newTCPSwitch(t, hostOf(n.redisURLs[0]))

	n.s = newSystem(t, n.direct, nemesisSources, of)
	n.s3 = newS3FaultProxy(t, n.direct.s3, n.s.staging(), seed)
	n.s.servers.redis, n.s.servers.s3 = "redis://"+n.redis.addr()+"/0", n.s3.server.URL
	n.s.servers.makeBucket = n.makeBucket
	n.s.start(ctx)
	n.recordClaims(time.Time{}, time.Time{})
	return n
}

// makeBucket creates a bucket that keeps every version, so that the judge can tell whether anything
// was overwritten. The store may be down just now.
func (n *nemesis) makeBucket(name string) error {
	for try := 1; ; try++ {
		err := n.direct.makeBucket(name)
		if err == nil {
			err = keepVersions(n.t.Context(), n.direct, name)
		}
		if err == nil || try == 10 {
			return err
		}
		n.sleep(n.t.Context(), time.Second)
	}
}

// run causes faults in all lanes until the time is up and, if each is set, each kind has had its
// turn; then all of them are undone.
func (n *nemesis) run(ctx context.Context, seed uint64, lanes []lane, lasts time.Duration, each bool) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	end := time.Now().Add(lasts)
	var wg sync.WaitGroup
	for _, l := range lanes {
		kinds := make([]span, len(l.faults))
		for i, f := range l.faults {
			kinds[i] = f.lasts
		}
		wg.Go(func() {
			for i, a := range makeSchedule(seed, l.name, kinds, 10_000) {
				if over := time.Now().Add(a.calm).After(end); over && !(each && i < len(kinds)) || ctx.Err() != nil {
					return
				}
				n.sleep(ctx, a.calm)
				f := l.faults[a.fault]
				n.mu.Lock()
				n.injected[f.name]++
				n.mu.Unlock()
				if err := f.do(ctx, n, a); err != nil {
					cancel(fmt.Errorf("%s: %w", f.name, err))
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

func (n *nemesis) logf(format string, args ...any) {
	n.t.Logf("%6.1fs %s", time.Since(n.began).Seconds(), fmt.Sprintf(format, args...))
}

func (n *nemesis) sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// addRecordsRead adds to the sum what an appender has read, before its life ends.
func (n *nemesis) addRecordsRead(ctx context.Context, p *process) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	v, err := p.metric(ctx, "sealift_appender_records_total")
	if err != nil {
		n.logf("%s does not say what it read: %v", p.name, err)
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.read += int64(v)
}

// acked is one event that was answered with success.
type acked struct{ source, id string }

// load is events at a steady rate, from clients that send again whatever was not acknowledged.
type load struct {
	sent, resent int64 // valid after ended
	acked        []acked
	ended        chan error
}

// startLoad sends until stop is closed, and then until everything is acknowledged.
func (n *nemesis) startLoad(ctx context.Context, seed uint64, perSecond int, stop <-chan struct{}) *load {
	l := &load{ended: make(chan error, 1)}
	balancer := newTCPSwitch(n.t, n.s.listen...)
	var (
		mu      sync.Mutex // guards l.acked
		refused atomic.Pointer[string]
	)
	sender := send.New(ctx, send.Config{
		URL: "http://" + balancer.addr(), Workers: 8, BatchEvents: 10, Log: slog.New(slog.DiscardHandler),
		OnAcked: func(events []send.Event) {
			mu.Lock()
			defer mu.Unlock()
			for _, e := range events {
				l.acked = append(l.acked, acked{strings.TrimPrefix(e.WriteKey, writeKey("")), e.MessageID})
			}
		},
		OnRefused: func(e send.Event, reason string) {
			text := fmt.Sprintf("event %s was refused: %s", e.MessageID, reason)
			refused.Store(&text)
		},
	})
	go func() {
		began := time.Now()
		events := sample.New(sample.Config{Seed: seed, Sources: nemesisSources, Start: began})
		err := func() error {
			for ; ; l.sent++ {
				select {
				case <-stop:
					return nil
				case <-ctx.Done():
					return context.Cause(ctx)
				case <-time.After(time.Until(began.Add(time.Duration(l.sent) * time.Second / time.Duration(perSecond)))):
				}
				e := events.Next()
				if err := sender.Send(send.Event{WriteKey: writeKey(sourceID(e.Source)), MessageID: e.MessageID, Body: e.Body}); err != nil {
					return err
				}
			}
		}()
		err = errors.Join(err, sender.Close())
		l.resent = sender.Resent()
		if text := refused.Load(); err == nil && text != nil {
			err = errors.New(*text)
		}
		l.ended <- err
	}()
	return l
}

const (
	nemesisSources = 36
	nemesisRate    = 400 // events per second
)

// TestNemesis tests the promise: whatever fails, is repeated, is delayed or wakes up as a zombie,
// every event that was acknowledged is in every bucket that it is owed to, once.
//
// NEMESIS_SEED (comma-separated) replays the schedules of a run. NEMESIS_FOR is how long all of
// them take together, although the first continues until each kind of fault has had its turn.
// NEMESIS_LANES (comma-separated) restricts the lanes.
func TestNemesis(t *testing.T) {
	seeds := []uint64{1, rand.Uint64N(1_000_000)}
	if text := os.Getenv("NEMESIS_SEED"); text != "" {
		seeds = nil
		for _, item := range strings.Split(text, ",") {
			seed, err := strconv.ParseUint(item, 10, 64)
			require.NoError(t, err, "NEMESIS_SEED")
			seeds = append(seeds, seed)
		}
	}
	lasts := 2 * time.Minute
	if text := os.Getenv("NEMESIS_FOR"); text != "" {
		var err error
		lasts, err = time.ParseDuration(text)
		require.NoError(t, err, "NEMESIS_FOR")
	}
	lanes := allLanes()
	if text := os.Getenv("NEMESIS_LANES"); text != "" {
		only := strings.Split(text, ",")
		lanes = nil
		for _, l := range allLanes() {
			for _, name := range only {
				if l.name == name {
					lanes = append(lanes, l)
				}
			}
		}
		require.Len(t, lanes, len(only), "NEMESIS_LANES")
	}
	t.Logf("replay with NEMESIS_SEED=%s NEMESIS_FOR=%v", strings.ReplaceAll(strings.Trim(fmt.Sprint(seeds), "[]"), " ", ","), lasts)
	ctx, cancel := context.WithTimeout(t.Context(), 2*lasts+8*time.Minute) // what a long run leaves takes long to judge
	defer cancel()
	n := newNemesis(ctx, t, seeds[0], fleet{
		collectors: 2, appenders: 3, copiers: 3, auditors: 2,
		appender: "roll_every: 6s, grace: 1s", copier: "lock_ttl: 2s, retry_tiers: [1s, 5s]", auditor: "every: 5s, grace: 5s",
	})
	stop := make(chan struct{})
	input := n.startLoad(ctx, seeds[0], nemesisRate, stop)
	for i, seed := range seeds {
		n.logf("schedule of seed %d", seed)
		require.NoError(t, n.run(ctx, seed, lanes, lasts/time.Duration(len(seeds)), i == 0))
	}
	n.calm = time.Now()
	n.logf("the faults are over")
	n.sleep(ctx, calmDuration)
	close(stop)
	require.NoError(t, <-input.ended)
	n.logf("%d events sent and acknowledged, %d of them sent again", len(input.acked), input.resent)
	n.judge(ctx, input)
}
