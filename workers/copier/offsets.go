package copier

import (
	"sort"
	"sync"
)

// maxAhead bounds how far a partition is read past its oldest unfinished job. It is larger than the
// number of jobs that a process accepts, so a backlog alone never stops reading.
const maxAhead = 2 * maxTasks

// offsets tracks which jobs of one partition are finished, so that the contiguous prefix of
// finished ones can be committed. It is safe for concurrent use.
//
// Invariant: I12. Every job below the committed offset is done or enqueued again.
type offsets struct {
	mu     sync.Mutex // guards all below
	window []offset   // jobs taken but not committable, in order
	next   int64      // all jobs below it are finished; -1: not known
	moved  chan struct{}
}

type offset struct {
	n        int64
	finished bool
}

// newOffsets starts at the offset that is read next, or -1 if it is not known.
func newOffsets(from int64) *offsets { return &offsets{next: from, moved: make(chan struct{}, 1)} }

// start notes that the job at offset n was taken. Offsets must increase.
func (o *offsets) start(n int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.window) == 0 {
		o.next = n // offsets in between no longer exist
	}
	o.window = append(o.window, offset{n: n})
}

// finish notes that the job at offset n is finished.
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

// committable returns the offset of the oldest unfinished job, or the next offset if there is none;
// -1 if it is not known.
func (o *offsets) committable() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.next
}

// full reports whether the reader must wait for moved.
func (o *offsets) full() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.window) >= maxAhead
}
