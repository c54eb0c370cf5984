package copier

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/destination"
	"github.com/sealift/sealift/pkg/sleep"
)

// brokenKinds are the ways in which a destination is broken: how long a try takes, and how it ends.
var brokenKinds = []struct {
	name  string
	takes time.Duration
	ends  outcome
}{
	{"trickles", 20 * time.Second, ok},
	{"hangs", 30 * time.Second, timeout},
	{"denied", 40 * time.Millisecond, denied403},
	{"bucket_gone", 40 * time.Millisecond, denied403},
	{"throttled", 1200 * time.Millisecond, timeout},
	{"role_denied", 60 * time.Millisecond, denied403},
	{"connection_refused", time.Second, timeout},
	{"black_hole", 30 * time.Second, timeout},
}

// fleet is a copier and its destinations, of which every fifth is broken or missing. It must run in
// virtual time.
type fleet struct {
	size     int
	broken   bool          // the fifth ones exist
	allHang  bool          // all broken ones hang
	files    int           // per round and destination
	failOnce bool          // one healthy destination in 50 fails the first try of the second round
	silence  time.Duration // for so long nobody answers, from a second after the start
	engine   *engine
	readers  sync.WaitGroup
	jobs     []chan delivery.Job // partitions of the job topic
	tiers    []chan delivery.Job // retry tiers

	begun        time.Time
	mu           sync.Mutex // guards all below
	sent         map[int]time.Time
	latencies    []time.Duration // from enqueuing a job to its delivery, for healthy destinations
	trickled     int             // deliveries to destinations that trickle
	tries        map[string]int  // by destination
	afterFailure []time.Duration // those in latencies of destinations that failed once
	running      int
	maxRunning   int // the most that ran at once
}

// requeue implements queue.
func (f *fleet) requeue(_ context.Context, tier int, job delivery.Job) error {
	f.tiers[tier] <- job
	return nil
}

func (f *fleet) try(_ context.Context, job attempt) outcome {
	takes, ends := 80*time.Millisecond+time.Duration(job.File.Index*7919%80)*time.Millisecond, ok
	n, healthy := 0, true
	if _, err := fmt.Sscanf(job.Destination, "broken-%d", &n); err == nil {
		kind := brokenKinds[n%len(brokenKinds)]
		if f.allHang {
			kind = brokenKinds[1]
		}
		healthy, takes, ends = false, kind.takes, kind.ends
	}
	blips := f.failOnce && healthy && job.Destination[len(job.Destination)-2:] == "50"
	if f.count(1, job.Destination) == f.files+1 && blips {
		ends = timeout
	}
	if from, until := f.begun.Add(time.Second), f.begun.Add(time.Second+f.silence); time.Now().Add(takes).After(from) && time.Now().Before(until) {
		takes = max(takes, time.Until(until))
	}
	idle, late := time.AfterFunc(freeSlotAfterIdle, job.onIdle), time.AfterFunc(lateIfIdleFor, job.onStuck)
	select {
	case <-time.After(takes):
	case <-job.yield:
		ends = outcome{kind: outcomeBusy}
	}
	idle.Stop()
	late.Stop()
	f.count(-1, "") // before onStored, which may start another
	if ends.kind == outcomeDone {
		job.onStored()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case healthy && ends.kind == outcomeDone:
		f.latencies = append(f.latencies, time.Since(f.sent[job.File.Index]))
		if blips {
			f.afterFailure = append(f.afterFailure, time.Since(f.sent[job.File.Index]))
		}
	case ends.kind == outcomeDone:
		f.trickled++
	}
	return ends
}

// count adds n running copies and returns how often the destination has been tried.
func (f *fleet) count(n int, dest string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running += n
	f.maxRunning = max(f.maxRunning, f.running)
	f.tries[dest]++
	return f.tries[dest]
}

func (f *fleet) read(ctx, work context.Context, topic chan delivery.Job) {
	for {
		select {
		case job := <-topic:
			_ = sleep.For(ctx, time.Until(time.UnixMilli(job.NotBefore)))
			if f.engine.submit(ctx, work, job, newClaim()) != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// run sends files to every destination every five minutes, spread over some time. It returns how
// long they took to arrive at the healthy ones, sorted.
func (f *fleet) run(t *testing.T, rounds, files int, spread time.Duration) []time.Duration {
	ctx, stop := context.WithCancel(t.Context())
	f.sent, f.tries, f.files = map[int]time.Time{}, map[string]int{}, files
	f.begun = time.Now()
	f.engine = fakeEngine(nil, f)
	f.engine.try = f.try
	f.engine.park = func(context.Context, delivery.Job, destination.Verdict) error { return nil }
	topics := func(n int) (topics []chan delivery.Job) {
		for range n {
			topic := make(chan delivery.Job, 100_000)
			topics = append(topics, topic)
			f.readers.Go(func() { f.read(ctx, t.Context(), topic) })
		}
		return topics
	}
	f.jobs, f.tiers = topics(8), topics(3)
	for round := range rounds {
		begun := time.Now()
		for n := range files * f.size {
			var dest string
			switch i := n % f.size; { // the broken ones are in between the others
			case i%5 != 4:
				dest = fmt.Sprint("healthy-", i)
			case f.broken:
				dest = fmt.Sprint("broken-", i/5)
			default:
				continue
			}
			time.Sleep(time.Until(begun.Add(spread * time.Duration(n) / time.Duration(files*f.size))))
			job := jobOf(dest, round*files*f.size+n)
			f.mu.Lock()
			f.sent[job.File.Index] = time.Now()
			f.mu.Unlock()
			f.jobs[n%len(f.jobs)] <- job
		}
		time.Sleep(time.Until(begun.Add(5 * time.Minute)))
	}
	stop()
	f.readers.Wait()
	f.engine.drain()
	slices.Sort(f.latencies)
	return f.latencies
}

// A fifth of 200 destinations is broken in different ways. The files of the others arrive as if
// those did not exist, including the first files, when nothing is known about any destination.
func TestBrokenDestinationsDelayNobodyElse(t *testing.T) {
	for load, c := range map[string]struct {
		rounds, files int
		spread        time.Duration
		within        float64 // ratio to a run without the broken ones
	}{
		"steady":      {3, 40, 4 * time.Minute, 1.01},
		"jittered":    {6, 6, 20 * time.Second, 1.01},
		"at_the_hour": {6, 6, time.Millisecond, 1.10},
		"first_hour":  {1, 6, time.Millisecond, 1.25},
	} {
		t.Run(load, func(t *testing.T) {
			var fresh [2][]time.Duration
			for i, broken := range []bool{false, true} {
				synctest.Test(t, func(t *testing.T) {
					f := &fleet{size: 200, broken: broken}
					fresh[i] = f.run(t, c.rounds, c.files, c.spread)
					require.LessOrEqual(t, f.maxRunning, 3*f.engine.sched.concurrency)
					if broken { // five destinations trickle, and they get their files, too
						require.Greater(t, f.trickled, 5*c.rounds*c.files*9/10)
					}
				})
			}
			without, with := fresh[0], fresh[1]
			require.Zero(t, len(without)-len(with), "not every file arrived")
			for name, at := range map[string]int{"p50": len(with) / 2, "p99": len(with) * 99 / 100, "max": len(with) - 1} {
				ratio := float64(with[at]) / float64(without[at])
				t.Logf("%s: %v without, %v with: %.3f", name, without[at], with[at], ratio)
				require.LessOrEqual(t, ratio, c.within, name)
			}
		})
	}
}

// Of 1,000 destinations, 200 hang, and nothing is known about them. The others wait no longer than
// it takes to notice that, with twice as many copies at once as there are slots.
func TestHangingDestinationsDoNotDelayOthers(t *testing.T) {
	for load, spread := range map[string]time.Duration{"at_once": time.Millisecond, "in_a_minute": time.Minute} {
		t.Run(load, func(t *testing.T) {
			var latest [2]time.Duration
			for i, broken := range []bool{false, true} {
				synctest.Test(t, func(t *testing.T) {
					f := &fleet{size: 1000, broken: broken, allHang: true}
					fresh := f.run(t, 2, 2, spread)
					require.Len(t, fresh, 2*2*800, "not every file arrived")
					require.LessOrEqual(t, f.maxRunning, 3*f.engine.sched.concurrency)
					latest[i] = fresh[len(fresh)-1]
				})
			}
			t.Log("latest arrival without and with hanging destinations:", latest)
			require.LessOrEqual(t, latest[1], latest[0]+(200/32+1)*lateIfIdleFor+time.Second)
		})
	}
}

// When nobody answers for a moment, for instance because our line is cut, all destinations are late.
// Nothing of their backlogs has to wait for a minute because of that.
func TestAMomentOfSilenceDelaysNothingForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fleet{size: 10, silence: 3 * time.Second}
		fresh := f.run(t, 1, 500, time.Millisecond)
		require.Len(t, fresh, 500*8, "not every file arrived")
		t.Log("latest arrival:", fresh[len(fresh)-1])
		require.Less(t, fresh[len(fresh)-1], 500*8*120*time.Millisecond/16+f.silence+5*time.Second)
	})
}

// A destination that works and fails once is not put behind hundreds that hang: the failed file
// arrives after its minute in the retry tier, and its other files as usual.
func TestOneFailureDelaysOnlyTheFailedFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fleet{size: 1000, broken: true, allHang: true, failOnce: true}
		f.run(t, 6, 2, time.Minute)
		require.Len(t, f.afterFailure, 6*2*10)
		slices.Sort(f.afterFailure)
		slices.Reverse(f.afterFailure)
		t.Log(f.afterFailure[:20])
		require.Less(t, f.afterFailure[0], time.Minute+2*time.Second)
		require.Less(t, f.afterFailure[10], 2*time.Second, "files that did not fail were late")
	})
}
