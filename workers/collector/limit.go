package collector

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"maps"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/sealift/sealift/pkg/event"
)

// Limit bounds what this process accepts, in events per second; several processes each have their
// own. Zero means no limit.
type Limit struct {
	PerKey       int // of each write key
	PerWorkspace int // of all keys of a workspace
	// Burst is the time whose worth of events may come at once, after a pause of that length; never
	// less than one full batch. Default: 10s.
	Burst time.Duration
}

// limits are the token buckets of write keys and of workspaces.
type limits struct {
	mu         sync.Mutex
	keys       buckets[[sha256.Size]byte] // guarded by mu
	workspaces buckets[string]            // guarded by mu
}

func newLimits(l Limit) *limits {
	burst := cmp.Or(l.Burst, 10*time.Second).Seconds()
	size := func(perSecond int) int { return max(int(float64(perSecond)*burst), event.MaxEvents) }
	return &limits{
		keys:       newBuckets[[sha256.Size]byte](l.PerKey, size(l.PerKey)),
		workspaces: newBuckets[string](l.PerWorkspace, size(l.PerWorkspace)),
	}
}

func (l *limits) disabled() bool { return l.keys.limit == 0 && l.workspaces.limit == 0 }

// charge names the buckets that events are taken from.
type charge struct{ key, workspace string }

// take takes the events of all charges, or none of them and returns how long to wait.
func (l *limits) take(charges map[charge]int) *refusal {
	if l.disabled() {
		return nil
	}
	keys, workspaces := map[[sha256.Size]byte]int{}, map[string]int{}
	for c, events := range charges {
		keys[sha256.Sum256([]byte(c.key))] += events
		workspaces[c.workspace] += events
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now() // under mu: a bucket that saw a later time would credit the difference twice
	wait, reason := l.keys.wait(keys, now), "rate_limit_key"
	if d := l.workspaces.wait(workspaces, now); d > wait {
		wait, reason = d, "rate_limit_workspace"
	}
	if wait == 0 {
		l.keys.take(keys, now)
		l.workspaces.take(workspaces, now)
		return nil
	}
	return &refusal{
		status: http.StatusTooManyRequests, reason: reason, retry: true, after: wait,
		detail: fmt.Sprintf("more events than this write key or its workspace may send: send these again in %s", wait.Round(time.Millisecond)),
	}
}

// give returns what was taken for events that were refused afterwards.
func (l *limits) give(charges map[charge]int) {
	if l.disabled() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for c, events := range charges {
		l.keys.give(sha256.Sum256([]byte(c.key)), events, now)
		l.workspaces.give(c.workspace, events, now)
	}
}

// buckets are token buckets by K. A full bucket is the same as none, so full ones are removed:
// memory is bounded by the number of senders within a burst.
type buckets[K comparable] struct {
	limit   rate.Limit // events per second; 0: none
	burst   int
	by      map[K]*rate.Limiter
	sweepAt int // how many buckets trigger a removal of full ones
}

const firstSweep = 1024

func newBuckets[K comparable](perSecond, burst int) buckets[K] {
	return buckets[K]{limit: rate.Limit(perSecond), burst: burst, by: map[K]*rate.Limiter{}, sweepAt: firstSweep}
}

// wait returns how long it takes until every bucket has enough events.
func (b *buckets[K]) wait(events map[K]int, now time.Time) (longest time.Duration) {
	if b.limit <= 0 {
		return 0
	}
	for k, n := range events {
		tokens := float64(b.burst)
		if bucket := b.by[k]; bucket != nil {
			tokens = bucket.TokensAt(now)
		}
		longest = max(longest, time.Duration((float64(n)-tokens)/float64(b.limit)*float64(time.Second)))
	}
	return longest
}

// take takes events from the buckets, all of which have enough.
func (b *buckets[K]) take(events map[K]int, now time.Time) {
	if b.limit <= 0 {
		return
	}
	if len(b.by) >= b.sweepAt {
		maps.DeleteFunc(b.by, func(_ K, bucket *rate.Limiter) bool { return bucket.TokensAt(now) >= float64(b.burst) })
		b.sweepAt = max(firstSweep, 2*len(b.by))
	}
	for k, n := range events {
		bucket := b.by[k]
		if bucket == nil {
			bucket = rate.NewLimiter(b.limit, b.burst)
			b.by[k] = bucket
		}
		bucket.AllowN(now, n)
	}
}

// give gives events back. A bucket that does not exist is full.
func (b *buckets[K]) give(k K, events int, now time.Time) {
	if bucket := b.by[k]; bucket != nil {
		bucket.AllowN(now, -events)
	}
}
