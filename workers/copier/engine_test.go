package copier

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/destination"
	"github.com/sealift/sealift/pkg/logtest"
	"github.com/sealift/sealift/pkg/meter"
	"github.com/sealift/sealift/pkg/objstore"
)

// submit submits a job to the engine and returns its claim.
func submit(t *testing.T, e *engine, job delivery.Job) *fakeClaim {
	c := newClaim()
	require.NoError(t, e.submit(t.Context(), t.Context(), job, c))
	return c
}

func TestEngineDeliversAndAcknowledges(t *testing.T) {
	r := newRig(t)
	e := r.newEngine(r.queue)
	var claims []*fakeClaim
	for i := range 50 {
		claims = append(claims, submit(t, e, r.job(acmeOne, fmt.Sprint("content ", i))))
	}
	for _, c := range claims {
		<-c.done
	}
	e.drain()
	require.Len(t, r.objects("one-logs"), 50)
	require.Empty(t, r.queue.jobs)
	require.Empty(t, e.tasks)
}

func TestDestinationDownDoesNotDelayOthers(t *testing.T) {
	r := newRig(t)
	e := r.newEngine(queueWithMarker{r.Copier, r.queue})
	r.buckets["one-logs"].SetFault(func(objstore.Op) objstore.Fault { return objstore.Fault{Before: objstore.ErrUnavailable} })
	var down, up []*fakeClaim
	for i := range 30 {
		refs := r.seal([]string{acmeOne, acmeTwo}, fmt.Sprint("content ", i))
		down = append(down, submit(t, e, delivery.Job{Version: 1, File: refs[0], Destination: acmeOne}))
		up = append(up, submit(t, e, delivery.Job{Version: 1, File: refs[0], Destination: acmeTwo}))
	}
	for _, c := range up {
		<-c.done
	}
	for _, c := range down {
		<-c.done // acknowledged, because the job is in a retry tier
	}
	e.drain()
	require.Len(t, r.objects("two-logs"), 30)
	require.Len(t, r.queue.jobs, 30)
	for i, j := range r.queue.jobs {
		require.Equal(t, acmeOne, j.Destination)
		require.Equal(t, 1, j.Attempt+j.Spared)
		require.Equal(t, 0, r.queue.tiers[i])
		marked, err := r.deps.Leases.Marked(t.Context(), delivery.QueuedMarker(j.File, j.Destination))
		require.NoError(t, err)
		require.True(t, marked, "no marker for the auditor")
	}
	require.Less(t, len(r.buckets["one-logs"].opts), 30*destination.MaxSends, "the breaker did not save any PUT")
}

// While a breaker is open, nothing is read from staging or sent.
func TestNothingIsReadOrSentWhileTheBreakerIsOpen(t *testing.T) {
	r := newRig(t)
	r.buckets["one-logs"].SetFault(func(objstore.Op) objstore.Fault { return objstore.Fault{Before: objstore.ErrNoBucket} })
	e := r.newEngine(r.queue)
	for i := range 2 { // the breaker opens
		<-submit(t, e, r.job(acmeOne, fmt.Sprint("first ", i))).done
	}
	reads := 0
	r.staging.SetFault(func(objstore.Op) objstore.Fault { reads++; return objstore.Fault{} })
	sent := len(r.buckets["one-logs"].opts)
	for i := range 100 {
		job := r.job(acmeOne, fmt.Sprint("later ", i))
		before := reads
		<-submit(t, e, job).done
		require.Equal(t, before, reads)
	}
	e.drain()
	require.Len(t, r.buckets["one-logs"].opts, sent)
	require.Len(t, r.queue.jobs, 102)
}

// Invariant: I12. A job is not acknowledged before it has been enqueued again, however often that
// fails.
func TestRequeueIsRepeatedUntilItSucceeds(t *testing.T) {
	r := newRig(t)
	job := r.job(acmeOne, "x")
	r.buckets["one-logs"].SetFault(func(objstore.Op) objstore.Fault { return objstore.Fault{Before: objstore.ErrDenied} })
	tries, c := 0, newClaim()
	r.queue.fail = func() error {
		require.Zero(t, c.acks())
		if tries++; tries < 4 {
			return errors.New("kafka is away")
		}
		return nil
	}
	e := r.newEngine(r.queue)
	e.minBackoff = time.Microsecond
	require.NoError(t, e.submit(t.Context(), t.Context(), job, c))
	<-c.done
	e.drain()
	require.Len(t, r.queue.jobs, 1)
	require.Equal(t, 4, tries)
}

// A job that can neither be enqueued nor parked is logged, but not once for each of thousands of
// jobs.
func TestFailingRequeueIsLoggedOnceAMinute(t *testing.T) {
	r := newRig(t)
	r.staging.SetFault(func(objstore.Op) objstore.Fault { return objstore.Fault{Before: objstore.ErrDenied} })
	synctest.Test(t, func(t *testing.T) {
		var logged logtest.Buffer
		r.deps.Log = slog.New(slog.NewTextHandler(&logged, nil))
		e := &engine{minBackoff: time.Second, log: r.deps.Log}
		ctx, cancel := context.WithCancel(t.Context())
		for i := range 100 {
			e.work.Go(func() {
				job := jobOf(acmeOne, i)
				err := e.repeatUntilDone(ctx, job, func() error { return r.park(ctx, job, destination.Verdict{}) })
				require.ErrorIs(t, err, context.Canceled)
			})
		}
		synctest.Wait()
		lines := func() int { return strings.Count(logged.String(), "\n") }
		require.Equal(t, 1, lines(), "the first failure is logged at once")
		require.Contains(t, logged.String(), objstore.ErrDenied.Error())
		require.Contains(t, logged.String(), acmeOne)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		require.InDelta(t, 10, lines(), 1)
		cancel()
		e.drain()
		require.InDelta(t, 10, lines(), 1, "a stop was logged as a failure")
	})
}

// Invariant: I12. A job that arrives while another for the same debt is being enqueued again may be
// that very job, read before the producer was done. It must not be acknowledged with the former
// one.
func TestJobArrivingDuringItsRequeueIsNotAcknowledged(t *testing.T) {
	for hazard, o := range map[string]outcome{
		"requeue": {kind: outcomeBusy},
		"park":    {kind: outcomeFailed, verdict: destination.Verdict{Class: destination.Hopeless, Scope: destination.ScopeFile}},
	} {
		t.Run(hazard, func(t *testing.T) {
			job := jobOf("d", 1)
			former, fresh := newClaim(), newClaim()
			outcomes := make(chan outcome, 1)
			outcomes <- o
			e := fakeEngine(func(ctx context.Context, _ delivery.Job) outcome {
				select {
				case o := <-outcomes:
					return o
				case <-ctx.Done():
					return outcome{kind: outcomeDropped}
				}
			}, nil)
			work, abort := context.WithCancel(t.Context())
			again := func() error { return e.submit(t.Context(), work, job, fresh) }
			e.queue = &fakeQueue{fail: again}
			e.park = func(context.Context, delivery.Job, destination.Verdict) error { return again() }
			require.NoError(t, e.submit(t.Context(), work, job, former))
			<-former.done
			require.Zero(t, fresh.acks(), "acknowledged, but neither delivered nor enqueued again")
			abort()
			e.drain()
			require.Zero(t, fresh.acks())
		})
	}
}

func TestPermanentlyFailingJobIsParked(t *testing.T) {
	r := newRig(t)
	job := r.job(acmeOne, "x")
	job.Refused, job.FirstTry = permanentTries-1, time.Now().Add(-time.Hour).UnixMilli()
	r.buckets["one-logs"].SetFault(func(objstore.Op) objstore.Fault { return objstore.Fault{Before: objstore.ErrNoBucket} })
	failures := 0
	r.staging.SetFault(func(op objstore.Op) objstore.Fault {
		if op.Name == "put" && failures < 2 {
			failures++
			return objstore.Fault{Before: objstore.ErrUnavailable}
		}
		return objstore.Fault{}
	})
	e := r.newEngine(r.queue)
	e.minBackoff = time.Microsecond
	<-submit(t, e, job).done
	e.drain()
	p := r.parked(job)
	require.Equal(t, `bucket "one-logs" does not exist`, p.Cause)
	require.Contains(t, p.Fix, "create the bucket")
	require.Equal(t, job.File, p.Job.File)
}

// fakeEngine returns an engine that runs try without any I/O.
func fakeEngine(try func(context.Context, delivery.Job) outcome, q queue) *engine {
	log := slog.New(slog.DiscardHandler)
	c := &Copier{shared: &shared{deps: Deps{Log: log}, book: meter.NewBook(nil, "copier-1", log)}, cfg: Config{}.withDefaults(), metrics: newMetrics(nil, "")}
	e := c.newEngine(q)
	e.try = func(ctx context.Context, job attempt) outcome {
		o := try(ctx, job.Job)
		if o.kind == outcomeDone {
			job.onStored()
		}
		return o
	}
	return e
}

func jobOf(dest string, n int) delivery.Job {
	return delivery.Job{Version: 1, Destination: dest, File: delivery.FileRef{Topic: "t", Incarnation: "1", Index: n}}
}

func TestJobsForTheSameDebtShareATask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tries atomic.Int64
		e := fakeEngine(func(context.Context, delivery.Job) outcome {
			tries.Add(1)
			time.Sleep(time.Second)
			return outcome{kind: outcomeDone}
		}, &fakeQueue{})
		a, b := submit(t, e, jobOf("d", 1)), submit(t, e, jobOf("d", 1))
		synctest.Wait()
		e.drain()
		require.EqualValues(t, 1, tries.Load())
		require.Equal(t, 1, a.acks())
		require.Equal(t, 1, b.acks())
	})
}

func TestDrainFinishesRunningAndDropsWaitingTasks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := fakeEngine(func(context.Context, delivery.Job) outcome {
			time.Sleep(time.Second)
			return outcome{kind: outcomeDone}
		}, &fakeQueue{})
		var claims []*fakeClaim
		for i := range 20 {
			claims = append(claims, submit(t, e, jobOf(fmt.Sprint("d", i%4), i)))
		}
		synctest.Wait()
		begun := time.Now()
		e.drain()
		require.Equal(t, time.Second, time.Since(begun))
		acks := 0
		for _, c := range claims {
			acks += c.acks()
		}
		require.Equal(t, 4, acks, "one task of each destination was running")
		require.Empty(t, e.tasks)
	})
}

func TestJobsOfALostPartitionAreLeftToTheNewOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tries atomic.Int64
		q := &fakeQueue{}
		e := fakeEngine(func(context.Context, delivery.Job) outcome {
			tries.Add(1)
			time.Sleep(time.Second)
			return outcome{kind: outcomeBusy}
		}, q)
		var claims []*fakeClaim
		for i := range 20 {
			claims = append(claims, submit(t, e, jobOf(fmt.Sprint("d", i%4), i)))
		}
		synctest.Wait()
		for _, c := range claims {
			c.mu.Lock()
			c.ended = true
			c.mu.Unlock()
		}
		e.drain()
		require.EqualValues(t, 4, tries.Load(), "only the running tasks were tried")
		require.Empty(t, q.jobs, "enqueued again, although the new owner reads them")
		for _, c := range claims {
			require.Zero(t, c.acks())
		}
	})
}

func TestSubmitBlocksWhileFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := fakeEngine(func(ctx context.Context, _ delivery.Job) outcome {
			<-ctx.Done()
			return outcome{kind: outcomeDropped}
		}, &fakeQueue{})
		work, cancel := context.WithCancel(t.Context())
		for i := range maxTasks {
			require.NoError(t, e.submit(t.Context(), work, jobOf(fmt.Sprint("d", i%(maxTasks/2)), i), newClaim()))
		}
		full, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		require.ErrorIs(t, e.submit(full, work, jobOf("e", 0), newClaim()), context.DeadlineExceeded)
		cancel()
		e.drain()
		require.Empty(t, e.tasks)
	})
}
