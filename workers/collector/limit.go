package collector

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/sealift/sealift/pkg/event"
)

// Limit bounds what this process takes, in events a second: the limits of two
// processes add up. Zero values are no limit.
type Limit struct {
	PerKey       int // of each write key
	PerWorkspace int // of all keys of a workspace
	// Burst is how long a limit's events may come at once after as long a
	// pause; never less than one full batch. Default: 10s.
	Burst time.Duration
}

// limits are the token buckets of write keys and of workspaces.
type limits struct {
	keys       buckets[[sha256.Size]byte]
	workspaces buckets[string]
}

func newLimits(l Limit) *limits {
	set(&l.Burst, 10*time.Second)
	size := func(perSecond int) int { return max(int(float64(perSecond)*l.Burst.Seconds()), event.MaxEvents) }
	return &limits{
		keys:       buckets[[sha256.Size]byte]{limit: rate.Limit(l.PerKey), burst: size(l.PerKey)},
		workspaces: buckets[string]{limit: rate.Limit(l.PerWorkspace), burst: size(l.PerWorkspace)},
	}
}

func (l *limits) off() bool { return l.keys.limit == 0 && l.workspaces.limit == 0 }

// charge is what a request takes of the buckets of one key and its workspace.
type charge struct {
	key, workspace string
	events         int
}

// take takes all charges, or nothing and says how long to wait.
func (l *limits) take(charges []charge, now time.Time) *refusal {
	var taken []*rate.Reservation
	var wait time.Duration
	reason := ""
	add := func(r *rate.Reservation, why string) {
		taken = append(taken, r)
		if d := r.DelayFrom(now); d > wait {
			wait, reason = d, why
		}
	}
	for _, c := range charges {
		if l.keys.limit > 0 {
			add(l.keys.reserve(sha256.Sum256([]byte(c.key)), c.events, now), "rate_limit_key")
		}
		if l.workspaces.limit > 0 {
			add(l.workspaces.reserve(c.workspace, c.events, now), "rate_limit_workspace")
		}
	}
	if wait == 0 {
		return nil
	}
	for _, r := range taken {
		r.CancelAt(now)
	}
	return &refusal{
		status: http.StatusTooManyRequests, reason: reason, retry: true, after: wait,
		detail: fmt.Sprintf("more events than this write key or its workspace may send: send these again in %s", wait.Round(time.Millisecond)),
	}
}

// buckets are token buckets by K. Those that are full say no more than those
// that are not there, and go: memory is bounded by who sent within a burst.
type buckets[K comparable] struct {
	limit rate.Limit // events a second; 0: none
	burst int

	mu      sync.Mutex
	by      map[K]*rate.Limiter // guarded by mu
	sweepAt int                 // guarded by mu; how many make it look for full ones
}

const firstSweep = 1024

// reserve takes n events, at most the burst, of k's bucket, now or in advance.
func (b *buckets[K]) reserve(k K, n int, now time.Time) *rate.Reservation {
	b.mu.Lock()
	defer b.mu.Unlock() // until n are taken: a bucket that a sweep dropped counts for nothing
	bucket := b.by[k]
	if bucket == nil {
		if b.by == nil {
			b.by, b.sweepAt = map[K]*rate.Limiter{}, firstSweep
		}
		if len(b.by) >= b.sweepAt {
			for old, bucket := range b.by {
				if bucket.TokensAt(now) >= float64(b.burst) {
					delete(b.by, old)
				}
			}
			b.sweepAt = max(firstSweep, 2*len(b.by))
		}
		bucket = rate.NewLimiter(b.limit, b.burst)
		b.by[k] = bucket
	}
	return bucket.ReserveN(now, n)
}
