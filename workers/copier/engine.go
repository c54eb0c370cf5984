package copier

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/sealift/sealift/pkg/ablation"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/destination"
	"github.com/sealift/sealift/pkg/jitter"
	"github.com/sealift/sealift/pkg/stream"
)

// maxTasks bounds the jobs in this process: running, waiting, or being put back into a topic. When
// it is reached, no more jobs are read. Backlogs and suspects alone cannot fill it, because what
// exceeds their share goes to a retry tier.
const (
	maxTasks        = 50_000 // some 30 MB
	maxBacklog      = 40_000 // jobs waiting for sound destinations
	maxWaitSuspects = 2_000  // jobs waiting for suspects
)

// claim is a job's position in the topic that it came from.
type claim interface {
	// alive reports whether we still own the partition.
	alive() bool
	// over says that the job is done or was enqueued again.
	over()
}

// queue is where unfinished jobs go.
type queue interface {
	// requeue returns nil only when the job is certainly in the retry tier.
	requeue(ctx context.Context, tier int, job delivery.Job) error
}

// errand is one try of a job. Its functions may be called from any goroutine, at any time and more
// than once.
type errand struct {
	delivery.Job
	idle   func() // no byte is moving at the moment
	late   func() // the destination takes longer than it should
	stuck  func() // nothing has moved for so long that it counts as late
	stored func() // the object is at the destination

	room <-chan struct{} // closed when the try must end its PUT to make room; nil: never
}

// engine runs tasks as the scheduler decides. Its owner must call drain.
type engine struct {
	try     func(context.Context, errand) outcome // retries by itself what is not the job's fault
	park    func(context.Context, delivery.Job, destination.Verdict) error
	rests   func(destination string, until time.Time) // called when a breaker is open; must not block
	queue   queue
	metrics *metrics
	log     *slog.Logger
	pause   time.Duration // before requeue or park is tried again; it doubles
	room    *semaphore.Weighted
	work    sync.WaitGroup

	insistFails stream.WarningLimiter

	mu       sync.Mutex // guards all below
	sched    *scheduler
	tasks    map[debt]*task
	stopping bool
}

// debt identifies a task.
type debt struct {
	file        delivery.FileRef
	destination string
	replay      string // two orders about the same debt are two tasks
}

func debtOf(job delivery.Job) debt { return debt{job.File, job.Destination, job.Replay} }

// submit accepts a job and blocks while there is no room. If a task for the same debt exists, the
// job shares its fate. ctx bounds only the waiting; work is the context of the try.
func (e *engine) submit(ctx, work context.Context, job delivery.Job, c claim) error {
	if err := e.room.Acquire(ctx, 1); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	key := debtOf(job)
	if t := e.tasks[key]; t != nil {
		t.claims = append(t.claims, c)
		e.room.Release(1)
		return nil
	}
	t := &task{job: job, claims: []claim{c}, room: make(chan struct{})}
	e.tasks[key] = t
	e.apply(work, e.sched.arrived(t, time.Now()))
	return nil
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
		case effectSettle, effectForget:
			e.retire(ef.task, ef.kind == effectSettle)
		case effectYield:
			close(ef.task.room)
		case effectOpened:
			e.metrics.breaker.WithLabelValues(ef.dest).Set(1)
			e.log.WarnContext(ctx, "destination does not work: its files wait", "destination", ef.dest, "cause", ef.v.Cause, "fix", ef.v.Fix.String())
		case effectSlowed:
			e.log.InfoContext(ctx, "destination is slow: its files are copied beside the others", "destination", ef.dest)
		case effectShut:
			e.metrics.breaker.DeleteLabelValues(ef.dest)
			e.log.InfoContext(ctx, "destination works again", "destination", ef.dest)
		default:
			if ef.kind != effectStart && !ablation.On(ablation.JoinsItsRequeue) {
				// A job that arrives from now on may be the very job that is being enqueued, or one
				// that a redrive made from what is being parked. It must not be acknowledged
				// together with this task.
				delete(e.tasks, debtOf(ef.task.job))
			}
			e.work.Go(func() { e.carry(ctx, ef) })
		}
	}
	e.metrics.running.Set(float64(e.sched.running()))
	e.metrics.suspects.Set(float64(e.sched.suspected))
	e.metrics.tasks.Set(float64(len(e.tasks)))
}

// carry carries out an effect that takes time.
func (e *engine) carry(ctx context.Context, ef effect) {
	switch ef.kind {
	case effectStart:
		if e.droppedAtStart(ctx, ef.task) {
			return
		}
		o := e.try(ctx, e.errand(ctx, ef.task))
		e.mu.Lock()
		defer e.mu.Unlock()
		e.apply(ctx, e.sched.finished(ef.task, o, time.Now()))
		if until := e.sched.restsUntil(ef.task.job.Destination); o.kind == outcomeFailed && !until.IsZero() {
			e.rests(ef.task.job.Destination, until)
		}
	case effectRequeue:
		if e.droppedIfLost(ef.task) {
			return
		}
		err := e.insist(ctx, ef.job, func() error { return e.queue.requeue(ctx, ef.tier, ef.job) })
		if err == nil {
			e.metrics.requeued.WithLabelValues(ef.why).Inc()
		}
		e.end(ef.task, err == nil)
	case effectPark:
		err := e.insist(ctx, ef.job, func() error { return e.park(ctx, ef.job, ef.v) })
		e.mu.Lock()
		e.sched.parked()
		e.mu.Unlock()
		e.end(ef.task, err == nil)
	}
}

func (e *engine) errand(ctx context.Context, t *task) errand {
	say := func(event func() []effect) func() {
		return func() {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.apply(ctx, event())
		}
	}
	return errand{
		Job:    t.job,
		idle:   say(func() []effect { return e.sched.idle(t) }),
		late:   say(func() []effect { return e.sched.late(t, time.Now()) }),
		stuck:  say(func() []effect { return e.sched.stuck(t, time.Now()) }),
		stored: say(func() []effect { return e.sched.stored(t) }),
		room:   t.room,
	}
}

// droppedAtStart drops the task if we are stopping, or if none of its claims is alive: the new
// owner decides about the job. Checking the claims and dropping the task are one step, so that a
// claim added in between is not lost.
func (e *engine) droppedAtStart(ctx context.Context, t *task) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.stopping && slices.ContainsFunc(t.claims, claim.alive) {
		return false
	}
	e.apply(ctx, e.sched.finished(t, outcome{kind: outcomeDropped}, time.Now()))
	return true
}

// droppedIfLost does the same for a task that the scheduler has finished with.
func (e *engine) droppedIfLost(t *task) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if slices.ContainsFunc(t.claims, claim.alive) {
		return false
	}
	e.retire(t, false)
	e.metrics.tasks.Set(float64(len(e.tasks)))
	return true
}

func (e *engine) end(t *task, settled bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.retire(t, settled)
	e.metrics.tasks.Set(float64(len(e.tasks)))
}

// retire forgets a task. The caller holds mu.
func (e *engine) retire(t *task, settled bool) {
	if e.tasks[debtOf(t.job)] == t {
		delete(e.tasks, debtOf(t.job))
	}
	e.room.Release(1)
	if !settled {
		return
	}
	for _, c := range t.claims {
		c.over()
	}
}

// insist repeats op, which requeues or parks a job, until it succeeds or ctx ends.
func (e *engine) insist(ctx context.Context, job delivery.Job, op func() error) error {
	backoff := jitter.Backoff{Min: e.pause, Max: 50 * e.pause}
	for {
		err := op()
		if err == nil {
			return nil
		}
		e.sayInsisting(ctx, job, err)
		if ended := backoff.Wait(ctx); ended != nil {
			return errors.Join(ended, err)
		}
	}
}

// sayInsisting logs the failure, the first time and then once a minute, for one job only: most
// others fail for the same reason.
func (e *engine) sayInsisting(ctx context.Context, job delivery.Job, err error) {
	if ctx.Err() != nil {
		return
	}
	e.insistFails.Do(func(int) {
		e.log.WarnContext(ctx, "a job can neither be enqueued again nor parked; it is tried until it can",
			"destination", job.Destination, "file", job.File.String(), "attempt", job.Attempt, "err", err)
	})
}
