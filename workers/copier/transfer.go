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
	// idleAfter is how long nothing may move in a PUT until its slot is given to another.
	idleAfter = 250 * time.Millisecond
	// idleIsLate is how long nothing may move in a PUT until it counts as late. A PUT to the other
	// side of the world, with a new role session and new connections, takes a second.
	idleIsLate = 2 * time.Second
)

// Causes that end a PUT which did not fail.
var (
	errYields = errors.New("ended to make room") // nothing moves in it
	errLost   = errors.New("the lease was lost")
)

// transferTimeout is how long a transfer of this size may take: 30 s plus what a line of 4 Mbit/s
// needs.
func transferTimeout(size int64) time.Duration {
	return 30*time.Second + time.Duration(size)*time.Second/500_000
}

// lateAfter is how long a PUT of this size may take until it counts as late: 2 s plus what a line
// of 16 Mbit/s needs.
func lateAfter(size int64) time.Duration {
	return idleIsLate + time.Duration(size)*time.Second/2_000_000
}

// put puts the object, and calls job's functions when nothing moves or it takes longer than it
// should. It gives up when nothing moves for requestTimeout or the whole takes longer than
// transferTimeout. It returns errYields when told to make room, and errLost when the lease is lost:
// the new holder may close the debt, and the customer may then move the object. held may be nil.
func (c *Copier) put(ctx context.Context, t catalog.Target, obj destination.Object, size int64, job errand, held *lease.Lease) (destination.Result, error) {
	var lost <-chan struct{}
	if held != nil {
		lost = held.Lost()
	}
	within := transferTimeout(size)
	ctx, cancel := context.WithTimeoutCause(ctx, within, timedOut("not done within %s", within))
	defer cancel()
	ctx, give := context.WithCancelCause(ctx)
	var watcher sync.WaitGroup
	defer watcher.Wait()
	defer give(nil)
	watcher.Go(func() {
		select {
		case <-job.room:
			give(errYields)
		case <-lost:
			give(errLost)
		case <-ctx.Done():
		}
	})
	dead := func() { give(timedOut("nothing moved for %s", requestTimeout)) }

	defer time.AfterFunc(lateAfter(size), job.late).Stop()
	watch := []alarm{alarmAfter(idleAfter, job.idle), alarmAfter(idleIsLate, job.stuck), alarmAfter(requestTimeout, dead)}
	obj.Body = moving{obj.Body, watch}
	defer func() {
		for _, a := range watch {
			a.Stop()
		}
	}()
	r, err := c.customers.Put(ctx, t, obj)
	if cause := context.Cause(ctx); err != nil && (errors.Is(cause, errYields) || errors.Is(cause, errLost)) {
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

// moving is a body that resets alarms whenever some of it is read.
type moving struct {
	io.ReadSeeker
	alarms []alarm
}

// Read implements io.Reader.
func (m moving) Read(p []byte) (int, error) {
	for _, a := range m.alarms {
		a.Reset(a.after)
	}
	return m.ReadSeeker.Read(p)
}
