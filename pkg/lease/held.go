package lease

import (
	"context"
	"sync"
	"time"
)

// Lease is a name held for a while. A goroutine that it owns renews it until
// Release. It is safe for concurrent use.
type Lease struct {
	// Fence is the fencing number: it grows from holder to holder for as long
	// as Redis keeps its data. It is for the audit trail.
	Fence int64

	name string
	drop func(context.Context) error
	*keeper
}

// Release gives the lease up: its goroutine has ended when Release returns,
// and Held is false. ctx bounds the one request to Redis; an error, which
// wraps ErrUnavailable, only means that the name stays taken until its time is
// up. Releasing what was lost or released before is no error.
func (l *Lease) Release(ctx context.Context) error {
	if !l.stop() {
		return nil
	}
	if err := l.drop(ctx); err != nil {
		return unavailable("release lease "+l.name, err)
	}
	return nil
}

// keeper renews a lease in time and says when it was lost. It knows no Redis.
type keeper struct {
	ttl    time.Duration
	extend func(context.Context) (held bool, err error)
	lost   chan struct{} // closed by the goroutine when the lease was lost
	done   chan struct{} // closed when the goroutine has ended
	cancel context.CancelFunc

	mu sync.Mutex // guards:
	// deadline is when the lease must be taken for lost. It carries Go's
	// monotonic clock: a step of the wall clock does not move it.
	deadline time.Time
	stopped  bool
}

func newKeeper(sent time.Time, ttl time.Duration) *keeper {
	return &keeper{
		ttl: ttl, deadline: deadlineOf(sent, ttl),
		lost: make(chan struct{}), done: make(chan struct{}),
	}
}

// deadlineOf leaves a tenth for clocks that do not run alike.
func deadlineOf(sent time.Time, ttl time.Duration) time.Time { return sent.Add(ttl - ttl/10) }

// Lost is closed when the lease is, or must be taken to be, someone else's:
// Redis said so, or it could not be renewed in time.
func (k *keeper) Lost() <-chan struct{} { return k.lost }

// Held reports whether the lease was neither lost nor released and its
// deadline lies ahead. Unlike Lost it needs no goroutine to have run, so it is
// right at once after a pause of the whole process; not after one of the whole
// machine, whose monotonic clock stood still.
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

// start begins to renew. A renewal in flight ends with stop.
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

// run renews every third of the ttl, and after a failure every ninth, until
// stopped (true) or lost (false).
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
