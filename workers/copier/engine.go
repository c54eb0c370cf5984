package copier

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/sealift/sealift/pkg/ablation"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/destination"
	"github.com/sealift/sealift/pkg/jitter"
	"github.com/sealift/sealift/pkg/sleep"
	"github.com/sealift/sealift/pkg/stream"
)

// maxTasks bounds the jobs in this process: running, waiting, or being put back into a topic. When
// it is reached, no more jobs are read. Backlogs and suspects alone cannot fill it, because what
// exceeds their share goes to a retry tier.
const (
	maxTasks          = 50_000 // some 30 MB
	maxBacklog        = 40_000 // jobs waiting for sound destinations
	maxSuspectBacklog = 2_000  // jobs waiting for suspects
)

// claim is a job's position in the topic that it came from.
type claim interface {
	// isOwned reports whether we still own the partition.
	isOwned() bool
	// acknowledge says that the job is done or was enqueued again.
	acknowledge()
}

// queue is where unfinished jobs go.
type queue interface {
	// requeue returns nil only when the job is certainly in the retry tier.
	requeue(ctx context.Context, tier int, job delivery.Job) error
}

// attempt is one try of a job. Its functions may be called from any goroutine, at any time and more
// than once.
type attempt struct {
	delivery.Job
	onIdle   func() // no byte is moving at the moment
	onLate   func() // the destination takes longer than it should
	onStuck  func() // nothing has moved for so long that it counts as late
	onStored func() // the object is at the destination

	yield <-chan struct{} // closed when the try must end its PUT to make room; nil: never
}

// engine runs tasks as the scheduler decides. Its owner must call drain.
type engine struct {
	try           func(context.Context, attempt) outcome // retries by itself what is not the job's fault
	park          func(context.Context, delivery.Job, destination.Verdict) error
	onBreakerOpen func(destination string, until time.Time) // called when a breaker is open; must not block
	queue         queue
	metrics       *metrics
	log           *slog.Logger
	minBackoff    time.Duration // before requeue or park is tried again; it doubles
	capacity      *semaphore.Weighted
	work          sync.WaitGroup

	repeatWarnings stream.WarningLimiter

	mu       sync.Mutex // guards all below
	sched    *scheduler
	tasks    map[taskKey]*task
	stopping bool
}

// taskKey identifies a task.
type taskKey struct {
	file        delivery.FileRef
	destination string
	replay      string // two orders about the same debt are two tasks
}

func taskKeyOf(job delivery.Job) taskKey { return taskKey{job.File, job.Destination, job.Replay} }

// submit accepts a job and blocks while there is no room. If a task for the same debt exists, the
// job shares its fate. ctx bounds only the waiting; work is the context of the try.
func (e *engine) submit(ctx, work context.Context, job delivery.Job, c claim) error {
	if err := e.capacity.Acquire(ctx, 1); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	key := taskKeyOf(job)
	if t := e.tasks[key]; t != nil {
		t.claims = append(t.claims, c)
		e.capacity.Release(1)
		return nil
	}
	t := &task{job: job, claims: []claim{c}, yield: make(chan struct{})}
	e.tasks[key] = t
	e.apply(work, e.sched.onArrived(t, time.Now()))
	return nil
}

// idleInterval is the interval at which the scheduler looks for destinations to forget.
const idleInterval = time.Minute

// forgetIdle makes the scheduler forget destinations that no job is left for, until ctx ends.
func (e *engine) forgetIdle(ctx context.Context) {
	for sleep.For(ctx, idleInterval) == nil {
		e.mu.Lock()
		e.apply(ctx, e.sched.forgetIdle(time.Now()))
		e.mu.Unlock()
	}
}

// drain lets running tasks finish, drops waiting ones, and returns when nothing is left. If it
// takes too long, the caller cancels the context of the work.
func (e *engine) drain() {
	e.mu.Lock()
	e.stopping = true
	e.mu.Unlock()
	e.work.Wait()
}

// apply carries out effects. The caller holds mu.
func (e *engine) apply(ctx context.Context, effects []effect) {
	for _, ef := range effects {
		switch ef.kind {
		case effectAcknowledge, effectDrop:
			e.retire(ef.task, ef.kind == effectAcknowledge)
		case effectYield:
			close(ef.task.yield)
		case effectBreakerOpened:
			e.metrics.breaker.WithLabelValues(ef.dest).Set(1)
			e.log.WarnContext(ctx, "destination does not work: its files wait", "destination", ef.dest, "cause", ef.verdict.Cause, "fix", ef.verdict.Fix.String())
		case effectSlowed:
			e.log.InfoContext(ctx, "destination is slow: its files are copied beside the others", "destination", ef.dest)
		case effectBreakerClosed:
			e.metrics.breaker.DeleteLabelValues(ef.dest)
			e.log.InfoContext(ctx, "destination works again", "destination", ef.dest)
		case effectForgotten:
			e.metrics.breaker.DeleteLabelValues(ef.dest)
			e.log.InfoContext(ctx, "destination failed, and has had no files since: that is forgotten", "destination", ef.dest)
		default:
			if ef.kind != effectStart && !ablation.On(ablation.JoinsItsRequeue) {
				// A job that arrives from now on may be the very job that is being enqueued, or one
				// that a redrive made from what is being parked. It must not be acknowledged
				// together with this task.
				delete(e.tasks, taskKeyOf(ef.task.job))
			}
			e.work.Go(func() { e.runEffect(ctx, ef) })
		}
	}
	e.metrics.running.Set(float64(e.sched.running()))
	e.metrics.suspects.Set(float64(e.sched.suspectCount))
	e.metrics.tasks.Set(float64(len(e.tasks)))
}

// runEffect carries out an effect that takes time.
func (e *engine) runEffect(ctx context.Context, ef effect) {
	switch ef.kind {
	case effectStart:
		if e.dropAtStart(ctx, ef.task) {
			return
		}
		growStack()
		o := e.try(ctx, e.attempt(ctx, ef.task))
		e.mu.Lock()
		defer e.mu.Unlock()
		e.apply(ctx, e.sched.onFinished(ef.task, o, time.Now()))
		if until := e.sched.breakerOpenUntil(ef.task.job.Destination); o.kind == outcomeFailed && !until.IsZero() {
			e.onBreakerOpen(ef.task.job.Destination, until)
		}
	case effectRequeue:
		if e.dropIfLost(ef.task) {
			return
		}
		err := e.repeatUntilDone(ctx, ef.job, func() error { return e.queue.requeue(ctx, ef.tier, ef.job) })
		if err == nil {
			e.metrics.requeued.WithLabelValues(ef.why).Inc()
		}
		e.finish(ef.task, err == nil)
	case effectPark:
		err := e.repeatUntilDone(ctx, ef.job, func() error { return e.park(ctx, ef.job, ef.verdict) })
		e.mu.Lock()
		e.sched.onParked()
		e.mu.Unlock()
		e.finish(ef.task, err == nil)
	}
}

// growStack gives a goroutine the stack that a try needs, while there is almost nothing on it.
// Otherwise the stack grows in the middle of the first request, forty calls deep, and all of it has
// to be moved: a twentieth of the CPU time of a small file.
//
//go:noinline
func growStack() {
	var room [8 << 10]byte
	room[0] = 1
	runtime.KeepAlive(&room)
}

func (e *engine) attempt(ctx context.Context, t *task) attempt {
	yield := t.yield
	report := func(event func() []effect) func() {
		return func() {
			e.mu.Lock()
			defer e.mu.Unlock()
			if t.yield == yield { // it is still the same try
				e.apply(ctx, event())
			}
		}
	}
	return attempt{
		Job:      t.job,
		onIdle:   report(func() []effect { return e.sched.onIdle(t) }),
		onLate:   report(func() []effect { return e.sched.onLate(t, time.Now()) }),
		onStuck:  report(func() []effect { return e.sched.onStuck(t, time.Now()) }),
		onStored: report(func() []effect { return e.sched.onStored(t, time.Now()) }),
		yield:    yield,
	}
}

// dropAtStart drops the task if we are stopping, or if none of its claims is still owned: the new
// owner decides about the job. Checking the claims and dropping the task are one step, so that a
// claim added in between is not lost.
func (e *engine) dropAtStart(ctx context.Context, t *task) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.stopping && slices.ContainsFunc(t.claims, claim.isOwned) {
		return false
	}
	e.apply(ctx, e.sched.onFinished(t, outcome{kind: outcomeDropped}, time.Now()))
	return true
}

// dropIfLost does the same for a task that the scheduler has finished with.
func (e *engine) dropIfLost(t *task) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if slices.ContainsFunc(t.claims, claim.isOwned) {
		return false
	}
	e.retire(t, false)
	e.metrics.tasks.Set(float64(len(e.tasks)))
	return true
}

func (e *engine) finish(t *task, settled bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.retire(t, settled)
	e.metrics.tasks.Set(float64(len(e.tasks)))
}

// retire forgets a task. The caller holds mu.
func (e *engine) retire(t *task, settled bool) {
	if e.tasks[taskKeyOf(t.job)] == t {
		delete(e.tasks, taskKeyOf(t.job))
	}
	e.capacity.Release(1)
	if !settled {
		return
	}
	for _, c := range t.claims {
		c.acknowledge()
	}
}

// repeatUntilDone repeats op, which requeues or parks a job, until it succeeds or ctx ends.
func (e *engine) repeatUntilDone(ctx context.Context, job delivery.Job, op func() error) error {
	backoff := jitter.Backoff{Min: e.minBackoff, Max: 50 * e.minBackoff}
	for {
		err := op()
		if err == nil {
			return nil
		}
		e.warnRepeating(ctx, job, err)
		if ended := backoff.Wait(ctx); ended != nil {
			return errors.Join(ended, err)
		}
	}
}

// warnRepeating logs the failure, the first time and then once a minute, for one job only: most
// others fail for the same reason.
func (e *engine) warnRepeating(ctx context.Context, job delivery.Job, err error) {
	if ctx.Err() != nil {
		return
	}
	e.repeatWarnings.Do(func(int) {
		e.log.WarnContext(ctx, "a job can neither be enqueued again nor parked; it is tried until it can",
			"destination", job.Destination, "file", job.File.String(), "attempt", job.Attempt, "err", err)
	})
}
