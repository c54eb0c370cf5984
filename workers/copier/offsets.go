package copier

import (
	"sort"
	"sync"
)

// maxAhead bounds how far a partition is read past its oldest unfinished job:
// farther than a process takes jobs, so that no backlog holds reading up.
const maxAhead = 2 * maxTasks

// offsets follows which jobs of one partition are finished, so that the
// contiguous prefix of finished ones can be committed. It is safe for
// concurrent use.
//
// Invariant: I12, what is committed lies above no job that is neither done
// nor enqueued anew.
type offsets struct {
	mu     sync.Mutex // guards all below
	window []offset   // taken and not committable, in order
	next   int64      // all below it are finished; -1: not known
	moved  chan struct{}
}

type offset struct {
	n        int64
	finished bool
}

// newOffsets begins at the offset that is read next, -1 if that is not known.
func newOffsets(at int64) *offsets { return &offsets{next: at, moved: make(chan struct{}, 1)} }

// take notes that the job at n is in work. Offsets only grow.
func (o *offsets) take(n int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.window) == 0 {
		o.next = n // what lies between is not there any more
	}
	o.window = append(o.window, offset{n: n})
}

// finish notes that the job at n is over.
func (o *offsets) finish(n int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	i := sort.Search(len(o.window), func(i int) bool { return o.window[i].n >= n })
	if i == len(o.window) || o.window[i].n != n {
		return
	}
	o.window[i].finished = true
	for len(o.window) > 0 && o.window[0].finished {
		o.next = o.window[0].n + 1
		o.window = o.window[1:]
	}
	select {
	case o.moved <- struct{}{}:
	default:
	}
}

// committable returns the offset of the oldest job that is not over, or -1 if
// that is not known.
func (o *offsets) committable() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.next
}

// full reports whether reading should wait for moved.
func (o *offsets) full() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.window) >= maxAhead
}
