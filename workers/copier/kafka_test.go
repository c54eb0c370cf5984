package copier

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/embedded"
	"github.com/sealift/sealift/pkg/logtest"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/sleep"
	"github.com/sealift/sealift/pkg/stream"
)

// kafkaRig is a rig with a broker.
type kafkaRig struct {
	*rig
	client *stream.Client
	jobs   *stream.Producer
}

func newKafkaRig(t *testing.T) *kafkaRig {
	r := &kafkaRig{rig: newRig(t)}
	broker, err := embedded.StartKafka(embedded.KafkaConfig{Dir: t.TempDir(), Addr: ":0", Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, broker.Close()) })
	r.client, err = stream.Open(stream.Config{Brokers: []string{broker.Addr()}}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.client.Close()) })
	for _, topic := range r.cfg.Topics() {
		require.NoError(t, r.client.EnsureTopics(t.Context(), true, stream.Topic{Name: topic, Partitions: 3}))
	}
	r.jobs = r.client.NewProducer(stream.ProducerConfig{Topic: r.cfg.JobsTopic})
	t.Cleanup(func() { require.NoError(t, r.jobs.Close(context.Background())) })
	return r
}

// run starts a copier and returns a function that stops it.
func (r *kafkaRig) run(worker string, change func(*Config)) (c *Copier, stop func()) {
	c = r.newCopier(worker, func(c *Config) {
		c.SessionTimeout = 6 * time.Second
		if change != nil {
			change(c)
		}
	})
	c.deps.Kafka = NewKafka(r.client)
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			require.NoError(r.t, <-done)
		}
	}
	r.t.Cleanup(stop)
	return c, stop
}

func (r *kafkaRig) produce(values ...[]byte) {
	for _, v := range values {
		require.NoError(r.t, r.jobs.Produce(r.t.Context(), stream.Record{Key: fmt.Append(nil, v), Value: v}))
	}
}

func (r *kafkaRig) eventually(what string, cond func() bool) {
	r.t.Helper()
	require.Eventually(r.t, cond, time.Minute, 10*time.Millisecond, what)
}

func TestJobsComeFromKafkaAndAreCommitted(t *testing.T) {
	r := newKafkaRig(t)
	c, stop := r.run("a", nil)
	r.eventually("ready", func() bool { return c.Ready(t.Context()) == nil })
	r.produce([]byte("no job at all"))
	var jobs []delivery.Job
	for i := range 30 {
		job := r.job(acmeOne, fmt.Sprint("content ", i))
		jobs = append(jobs, job)
		r.produce(job.Encode())
	}
	for _, job := range jobs {
		r.eventually("delivered", func() bool { return r.receipt(job) != nil })
	}
	stop()

	// The next owner continues after the committed offsets.
	r.redis.FlushAll()
	gets := 0
	r.staging.SetFault(func(op objstore.Op) objstore.Fault {
		if op.Name == "head" {
			gets++
		}
		return objstore.Fault{}
	})
	last := r.job(acmeOne, "last")
	r.produce(last.Encode())
	_, stop = r.run("b", nil)
	r.eventually("delivered", func() bool { return r.receipt(last) != nil })
	stop()
	require.Equal(t, 1, gets, "committed jobs were read again")
}

func TestRetryTierDelaysOnlyTheFailedJob(t *testing.T) {
	r := newKafkaRig(t)
	r.buckets["one-logs"].SetFault(onPut(objstore.Fault{Before: objstore.ErrDenied}))
	_, stop := r.run("a", func(c *Config) { c.RetryTiers = []time.Duration{time.Second, 2 * time.Second, 3 * time.Second} })
	refs := r.seal([]string{acmeOne, acmeTwo}, "x")
	first := delivery.Job{File: refs[0], Destination: acmeOne}
	begun := time.Now()
	r.produce(first.Encode())
	second := delivery.Job{File: refs[0], Destination: acmeTwo}
	r.produce(second.Encode())
	r.eventually("the other destination's file is delivered", func() bool { return r.receipt(second) != nil })
	r.eventually("tried again", func() bool { return r.receipt(first) != nil })
	require.GreaterOrEqual(t, time.Since(begun), 3*time.Second, "did not wait in the slowest tier")
	stop()
}

func TestTwoCopiersShareAndTakeOver(t *testing.T) {
	r := newKafkaRig(t)
	_, stopA := r.run("a", nil)
	_, stopB := r.run("b", nil)
	var jobs []delivery.Job
	for i := range 60 {
		job := r.job(acmeTwo, fmt.Sprint("content ", i))
		jobs = append(jobs, job)
		r.produce(job.Encode())
		if i == 30 {
			stopA()
		}
	}
	for _, job := range jobs {
		r.eventually("delivered", func() bool { return r.receipt(job) != nil })
	}
	stopB()
	require.Len(t, r.objects("two-logs"), 60)
	for key, n := range r.buckets["two-logs"].Contents("") {
		require.Equal(t, 1, n, key)
	}
}

func TestFailingCommitIsLoggedOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged logtest.Buffer
		var denied atomic.Bool
		j := &jobs{cfg: Config{JobsTopic: "jobs"}, log: slog.New(slog.NewTextHandler(&logged, nil))}
		topic, done := j.cfg.JobsTopic, make(chan struct{})
		o := newOffsets(-1)
		finish := func(n int64) { o.start(n); o.finish(n) }
		gen := &generation{
			Generation: stream.GenerationForTesting(7, nil, done, func(context.Context, string, map[int]stream.Mark) error {
				if denied.Load() {
					return errors.New("denied")
				}
				return nil
			}),
			offsets: map[string]map[int]*offsets{topic: {0: o}}, committed: map[string]map[int]int64{topic: {}},
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			j.readGeneration(t.Context(), gen, nil)
		}()
		requireWarnings := func(after time.Duration, want int) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			require.Equal(t, want, strings.Count(logged.String(), `level=WARN msg="offsets not committed"`))
		}
		finish(0)
		requireWarnings(1500*time.Millisecond, 0)
		denied.Store(true)
		finish(1)
		requireWarnings(time.Second, 1)
		require.Contains(t, logged.String(), "denied")
		requireWarnings(58*time.Second, 1)
		requireWarnings(2*time.Second, 2)
		denied.Store(false)
		requireWarnings(time.Second, 2)
		denied.Store(true)
		finish(2)
		requireWarnings(time.Second, 3)
		close(done)
		<-ended
	})
}

// resettableLog is a partition of jobs that can be re-created or truncated.
type resettableLog struct {
	Kafka
	mu    sync.Mutex // guards all below
	first int64
	jobs  int64
}

func (l *resettableLog) hold(first, jobs int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.first, l.jobs = first, jobs
}

func (l *resettableLog) Fetcher(string, int) Fetcher { return l }

func (l *resettableLog) Bounds(context.Context, string, ...int) (map[int]stream.Bounds, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return map[int]stream.Bounds{0: {First: l.first, End: l.first + l.jobs}}, nil
}

func (l *resettableLog) Fetch(ctx context.Context, offset int64, _ stream.FetchOptions) (got stream.Fetched, err error) {
	_ = sleep.For(ctx, 100*time.Millisecond)
	l.mu.Lock()
	defer l.mu.Unlock()
	if offset < l.first || offset > l.first+l.jobs {
		return got, stream.ErrOffsetOutOfRange
	}
	for ; offset < l.first+l.jobs; offset++ {
		got.Records = append(got.Records, stream.Record{Offset: offset})
	}
	got.Next = offset
	return got, ctx.Err()
}

// runOnLog runs readGeneration on log from the committed offset, and calls test with two functions:
// one returns the claims taken so far, the other checks, some seconds later, the committed offset
// and the number of claims.
func runOnLog(t *testing.T, log *resettableLog, committed int64, test func(taken func() []claim, expect func(want int64, jobs int))) {
	synctest.Test(t, func(t *testing.T) {
		done := make(chan struct{})
		j := &jobs{cfg: Config{JobsTopic: "jobs"}, kafka: log, log: slog.New(slog.DiscardHandler)}
		gen := &generation{
			Generation: stream.GenerationForTesting(7, map[string][]stream.Assignment{"jobs": {{Mark: stream.Mark{Committed: committed}}}}, done,
				func(_ context.Context, _ string, marks map[int]stream.Mark) error {
					committed = marks[0].Committed
					return nil
				}),
			offsets: map[string]map[int]*offsets{}, committed: map[string]map[int]int64{},
		}
		var taken []claim
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			j.readGeneration(t.Context(), gen, func(_ context.Context, _ []byte, c claim) error {
				taken = append(taken, c)
				return nil
			})
		}()
		test(func() []claim { return taken }, func(want int64, jobs int) {
			t.Helper()
			time.Sleep(3 * time.Second)
			synctest.Wait()
			require.Equal(t, want, committed)
			require.Len(t, taken, jobs)
		})
		close(done)
		<-ended
	})
}

// Invariant: I12. When a topic is re-created, claims on its former records neither move nor hold
// back the offset committed for the new ones.
func TestRecreatedJobTopicIsReadFromItsStart(t *testing.T) {
	log := &resettableLog{first: 100, jobs: 2}
	runOnLog(t, log, 100, func(taken func() []claim, upTo func(int64, int)) {
		upTo(100, 2)
		log.hold(0, 0) // re-created, still empty
		upTo(0, 2)
		log.hold(0, 3)
		upTo(0, 5)
		taken()[2].acknowledge()
		taken()[3].acknowledge()
		upTo(2, 5)
		taken()[0].acknowledge() // of the former topic
		taken()[1].acknowledge()
		upTo(2, 5)
		log.hold(0, 150)
		upTo(2, 152)
		taken()[1].acknowledge() // again; its offset, 101, now belongs to another job
		taken()[4].acknowledge()
		upTo(3, 152)
		for _, c := range taken()[5:] {
			c.acknowledge()
		}
		upTo(150, 152)
	})
}

// If a topic was re-created while nobody read it, the committed offset goes back; otherwise the
// next owner would start above the records that exist.
func TestJobTopicRecreatedWhileNobodyReads(t *testing.T) {
	for hazard, jobs := range map[string]int64{"empty": 0, "written": 3} {
		t.Run(hazard, func(t *testing.T) {
			runOnLog(t, &resettableLog{jobs: jobs}, 500, func(_ func() []claim, upTo func(int64, int)) { upTo(0, int(jobs)) })
		})
	}
}

// The first offset of an empty partition is committed; otherwise every generation would look it up
// again for all partitions that never held a job.
func TestFirstOffsetOfAnEmptyTopicIsCommitted(t *testing.T) {
	runOnLog(t, &resettableLog{}, -1, func(_ func() []claim, upTo func(int64, int)) { upTo(0, 0) })
}

// Expired jobs are skipped and the commit moves past them, even while the next job is unfinished.
func TestCommitMovesPastExpiredJobs(t *testing.T) {
	runOnLog(t, &resettableLog{first: 700, jobs: 1}, 500, func(_ func() []claim, upTo func(int64, int)) { upTo(700, 1) })
}

// A commit waits for brokers, so it must not hold the lock that readers need.
func TestCommitDoesNotHoldTheReadersLock(t *testing.T) {
	held := true
	var g *generation
	g = &generation{
		Generation: stream.GenerationForTesting(7, nil, nil, func(context.Context, string, map[int]stream.Mark) error {
			if held = !g.mu.TryLock(); !held {
				g.mu.Unlock()
			}
			return nil
		}),
		offsets: map[string]map[int]*offsets{"jobs": {0: newOffsets(5)}}, committed: map[string]map[int]int64{"jobs": {}},
	}
	require.NoError(t, g.commit(t.Context()))
	require.False(t, held)
	require.Equal(t, map[int]int64{0: 5}, g.committed["jobs"])
	require.Empty(t, g.uncommitted())
}

// absentBrokers stands for unreachable brokers: every request lasts until its context ends.
type absentBrokers struct{ calls *int }

func (a absentBrokers) Next(context.Context) (*stream.Generation, error) {
	return nil, errors.ErrUnsupported
}

func (a absentBrokers) Produce(context.Context, ...stream.Record) error { return errors.ErrUnsupported }

func (a absentBrokers) Close(ctx context.Context) error {
	<-ctx.Done()
	*a.calls++
	return ctx.Err()
}

// TestCloseStepsShareOneDeadline: the commit, leaving the group and closing the tiers' producers
// share one deadline, instead of having one each in turn.
func TestCloseStepsShareOneDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		brokers := absentBrokers{new(int)}
		done := newOffsets(-1)
		done.start(4)
		done.finish(4)
		gen := stream.GenerationForTesting(1, nil, make(chan struct{}), func(ctx context.Context, _ string, _ map[int]stream.Mark) error {
			return brokers.Close(ctx)
		})
		j := &jobs{log: slog.New(slog.DiscardHandler), group: brokers, producers: []Producer{brokers, brokers, brokers},
			gen: &generation{Generation: gen, offsets: map[string]map[int]*offsets{"jobs": {0: done}}, committed: map[string]map[int]int64{"jobs": {}}}}
		began := time.Now()
		require.Error(t, j.close(t.Context()))
		require.LessOrEqual(t, time.Since(began), closeTimeout)
		require.Equal(t, 5, *brokers.calls)
	})
}
