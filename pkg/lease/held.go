package lease

import (
	"context"
	"sync"
	"time"
)

// Lease is a name that is held for some time. Its own goroutine renews it until Release. It is safe
// for concurrent use.
type Lease struct {
	// Fence is the fencing number. It grows from holder to holder as long as Redis keeps its data.
	// It is for the audit trail.
	Fence int64

	name string
	drop func(ctx context.Context, marker string, ttl time.Duration) error
	*keeper
}

// Release gives up the lease. When it returns, the goroutine has ended and Held is false. ctx
// limits the single request to Redis. An error, which wraps ErrUnavailable, only means that the
// name stays taken until its ttl is over. Releasing a lease that was lost or already released is
// not an error.
func (l *Lease) Release(ctx context.Context) error { return l.release(ctx, "", 0) }

// ReleaseAndMark is Release, and also stores a marker as Client.Mark does, with the same request.
// The marker is stored even if the lease was lost. It is not if the lease was already released.
func (l *Lease) ReleaseAndMark(ctx context.Context, marker string, ttl time.Duration) error {
	return l.release(ctx, marker, ttl)
}

func (l *Lease) release(ctx context.Context, marker string, ttl time.Duration) error {
	if !l.stop() {
		return nil
	}
	if err := l.drop(ctx, marker, ttl); err != nil {
		return unavailable("release lease "+l.name, err)
	}
	return nil
}

// keeper renews a lease in time and reports its loss. It knows nothing about Redis.
type keeper struct {
	ttl    time.Duration
	extend func(context.Context) (held bool, err error)
	lost   chan struct{} // closed by the goroutine when the lease is lost
	done   chan struct{} // closed when the goroutine has ended
	cancel context.CancelFunc

	mu sync.Mutex // guards:
	// deadline is when the lease must be considered lost. It has a monotonic clock reading, so
	// steps of the wall clock do not move it.
	deadline time.Time
	stopped  bool
}

func newKeeper(sent time.Time, ttl time.Duration) *keeper {
	return &keeper{
		ttl: ttl, deadline: deadlineOf(sent, ttl),
		lost: make(chan struct{}), done: make(chan struct{}),
	}
}

// deadlineOf leaves a tenth of the ttl for clocks that run at different speeds.
func deadlineOf(sent time.Time, ttl time.Duration) time.Time { return sent.Add(ttl - ttl/10) }

// Lost is closed when somebody else has the lease, or may have it: Redis said so, or the lease
// could not be renewed in time.
func (k *keeper) Lost() <-chan struct{} { return k.lost }

// Held reports whether the lease was neither lost nor released, and its deadline is in the future.
// Unlike Lost, it does not depend on the goroutine, so it is right immediately after a pause of the
// whole process. It is not after a pause of the whole machine, during which the monotonic clock
// stands still.
func (k *keeper) Held() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	select {
	case <-k.lost:
		return false
	default:
		return !k.stopped && time.Now().Before(k.deadline)
	}
}

// start begins renewing. stop ends a renewal in progress.
func (k *keeper) start() {
	ctx, cancel := context.WithCancel(context.Background())
	k.cancel = cancel
	go func() {
		defer close(k.done)
		if !k.run(ctx) {
			close(k.lost)
		}
	}()
}

// stop ends the goroutine and reports whether this call did so.
func (k *keeper) stop() bool {
	k.mu.Lock()
	first := !k.stopped
	k.stopped = true
	k.mu.Unlock()
	k.cancel()
	<-k.done
	return first
}

// run renews every third of the ttl, and every ninth after a failure, until the lease is stopped
// (true) or lost (false).
func (k *keeper) run(ctx context.Context) (stopped bool) {
	deadline, wait := k.deadline, k.ttl/3
	for {
		select {
		case <-ctx.Done():
			return true
		case <-time.After(min(wait, time.Until(deadline))):
		}
		sent := time.Now()
		if !sent.Before(deadline) {
			return false
		}
		try, cancel := context.WithDeadline(ctx, deadline)
		held, err := k.extend(try)
		cancel()
		switch {
		case err != nil:
			wait = k.ttl / 9
		case !held:
			return false
		default:
			wait, deadline = k.ttl/3, deadlineOf(sent, k.ttl)
			k.mu.Lock()
			k.deadline = deadline
			k.mu.Unlock()
		}
	}
}
