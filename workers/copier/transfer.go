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
	// requestTimeout bounds a request that moves next to nothing, and how long
	// nothing may move in one that does.
	requestTimeout = 30 * time.Second
	// idleAfter is how long nothing moves of a PUT until its slot is free.
	idleAfter = 250 * time.Millisecond
	// idleIsLate is how long nothing may move until it is late: one across the
	// world, with a new session of a role and new connections, takes a second.
	idleIsLate = 2 * time.Second
)

// What ends a PUT that did not fail.
var (
	errYields = errors.New("ended to make room") // nothing moves at it
	errLost   = errors.New("the lease was lost")
)

// transferTimeout is how long it may take to move so many bytes: half a
// minute, and what a line of 4 Mbit/s needs.
func transferTimeout(size int64) time.Duration {
	return 30*time.Second + time.Duration(size)*time.Second/500_000
}

// lateAfter is how long it should take at most to put so many bytes: two
// seconds, and what a line of 16 Mbit/s needs.
func lateAfter(size int64) time.Duration {
	return idleIsLate + time.Duration(size)*time.Second/2_000_000
}

// put puts the object and says when nothing moves, or when it takes longer
// than it should. It ends when nothing moves for good, or so little that it
// will not get there; with errYields when it is to make room, and with errLost
// when the lease is lost: whoever has it may close the debt, and the customer
// move the object. held may be nil.
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
		err = cause // whatever it says was cut short
	}
	return r, err
}

func timedOut(format string, d time.Duration) error {
	return fmt.Errorf(format+": %w", d, context.DeadlineExceeded)
}

// alarm goes off when it was not set back for so long.
type alarm struct {
	*time.Timer
	after time.Duration
}

func alarmAfter(d time.Duration, f func()) alarm { return alarm{time.AfterFunc(d, f), d} }

// moving is a body that sets alarms back when some of it is taken.
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
