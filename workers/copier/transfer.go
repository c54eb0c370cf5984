package copier

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/destination"
	"github.com/sealift/sealift/pkg/lease"
)

const (
	// requestTimeout bounds a request that moves almost no data, and how long a transfer may make
	// no progress.
	requestTimeout = 30 * time.Second
	// freeSlotAfterIdle is how long nothing may move in a PUT until its slot is given to another.
	freeSlotAfterIdle = 250 * time.Millisecond
	// lateIfIdleFor is how long nothing may move in a PUT until it counts as late. A PUT to the
	// other side of the world, with a new role session and new connections, takes a second.
	lateIfIdleFor = 2 * time.Second
)

// Causes that end a PUT which did not fail.
var (
	errMadeRoom  = errors.New("ended to make room") // nothing moves in it
	errLeaseLost = errors.New("the lease was lost")
)

// transferTimeout is how long a transfer of this size may take: 30 s plus what a line of 4 Mbit/s
// needs.
func transferTimeout(size int64) time.Duration {
	return 30*time.Second + time.Duration(size)*time.Second/500_000
}

// lateAfter is how long a PUT of this size may take until it counts as late: 2 s plus what a line
// of 16 Mbit/s needs.
func lateAfter(size int64) time.Duration {
	return lateIfIdleFor + time.Duration(size)*time.Second/2_000_000
}

// put puts the object, and calls job's functions when nothing moves or it takes longer than it
// should. It gives up when nothing moves for requestTimeout or the whole takes longer than
// transferTimeout. It returns errMadeRoom when told to make room, and errLeaseLost when the lease
// is lost: the new holder may close the debt, and the customer may then move the object. held may
// be nil.
func (c *Copier) put(ctx context.Context, t catalog.Target, obj destination.Object, size int64, job attempt, held *lease.Lease) (destination.Result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	body := &watchedBody{ReadSeeker: obj.Body}
	obj.Body = body
	var watcher sync.WaitGroup
	defer watcher.Wait()
	defer cancel(nil)
	watcher.Go(func() { cancel(body.watch(ctx, size, job, held)) })
	r, err := c.customers.Put(ctx, t, obj)
	if cause := context.Cause(ctx); err != nil && (errors.Is(cause, errMadeRoom) || errors.Is(cause, errLeaseLost)) {
		err = cause // the error only says that the PUT was cancelled
	}
	return r, err
}

// watchedBody is a body that knows whether it is being read.
type watchedBody struct {
	io.ReadSeeker
	moved atomic.Bool // since the last tick
}

// Read implements io.Reader.
func (b *watchedBody) Read(p []byte) (int, error) {
	b.moved.Store(true)
	return b.ReadSeeker.Read(p)
}

// watchInterval is how exactly the time of a PUT is measured.
const watchInterval = 50 * time.Millisecond

// watch watches a PUT until ctx ends or there is a reason to end the PUT, which it returns.
//
// It counts ticks instead of comparing times. If this process did not run for a while, because its
// machine was busy or it was stopped, the ticks of that time are missing: no destination is late
// because of it.
func (b *watchedBody) watch(ctx context.Context, size int64, job attempt, held *lease.Lease) error {
	var lost <-chan struct{}
	if held != nil {
		lost = held.Lost()
	}
	limit := transferTimeout(size)
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	var total, idle time.Duration
	reaches := func(d, limit time.Duration) bool { return d >= limit && d-watchInterval < limit }
	for {
		select {
		case <-job.yield:
			return errMadeRoom
		case <-lost:
			return errLeaseLost
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		total, idle = total+watchInterval, idle+watchInterval
		if b.moved.Swap(false) {
			idle = 0
		}
		if reaches(idle, freeSlotAfterIdle) {
			job.onIdle()
		}
		if reaches(total, lateAfter(size)) {
			job.onLate()
		}
		if reaches(idle, lateIfIdleFor) {
			job.onStuck()
		}
		switch {
		case idle >= requestTimeout:
			return timedOut("nothing moved for %s", requestTimeout)
		case total >= limit:
			return timedOut("not done within %s", limit)
		}
	}
}

func timedOut(format string, d time.Duration) error {
	return fmt.Errorf(format+": %w", d, context.DeadlineExceeded)
}
