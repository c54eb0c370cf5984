package copier

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
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
	var lost <-chan struct{}
	if held != nil {
		lost = held.Lost()
	}
	limit := transferTimeout(size)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, timedOut("not done within %s", limit))
	defer cancel()
	ctx, cancelWith := context.WithCancelCause(ctx)
	var watcher sync.WaitGroup
	defer watcher.Wait()
	defer cancelWith(nil)
	watcher.Go(func() {
		select {
		case <-job.yield:
			cancelWith(errMadeRoom)
		case <-lost:
			cancelWith(errLeaseLost)
		case <-ctx.Done():
		}
	})
	giveUp := func() { cancelWith(timedOut("nothing moved for %s", requestTimeout)) }

	defer time.AfterFunc(lateAfter(size), job.onLate).Stop()
	alarms := []alarm{alarmAfter(freeSlotAfterIdle, job.onIdle), alarmAfter(lateIfIdleFor, job.onStuck), alarmAfter(requestTimeout, giveUp)}
	obj.Body = watchedBody{obj.Body, alarms}
	defer func() {
		for _, a := range alarms {
			a.Stop()
		}
	}()
	r, err := c.customers.Put(ctx, t, obj)
	if cause := context.Cause(ctx); err != nil && (errors.Is(cause, errMadeRoom) || errors.Is(cause, errLeaseLost)) {
		err = cause // the error only says that the PUT was cancelled
	}
	return r, err
}

func timedOut(format string, d time.Duration) error {
	return fmt.Errorf(format+": %w", d, context.DeadlineExceeded)
}

// alarm goes off when it was not reset for a while.
type alarm struct {
	*time.Timer
	after time.Duration
}

func alarmAfter(d time.Duration, f func()) alarm { return alarm{time.AfterFunc(d, f), d} }

// watchedBody is a body that resets alarms whenever some of it is read.
type watchedBody struct {
	io.ReadSeeker
	alarms []alarm
}

// Read implements io.Reader.
func (m watchedBody) Read(p []byte) (int, error) {
	for _, a := range m.alarms {
		a.Reset(a.after)
	}
	return m.ReadSeeker.Read(p)
}
