package appender

import (
	"cmp"
	"fmt"
	"sync"
	"time"

	"github.com/sealift/sealift/pkg/dedup"
	"github.com/sealift/sealift/pkg/stream"
)

// view is the part of a partition's state that other goroutines may see.
type view struct {
	mu               sync.Mutex // guards all below
	position         int64
	start            int64 // of the log
	end              int64
	files            int
	held             int64
	oldest           int64 // time of receipt (unix ms) of the oldest record that is in no entry; 0: none
	paused           string
	err              error
	fetchErr         error     // why nothing more can be fetched
	fetchTroubleFrom time.Time // when fetchErr begins to count as trouble
	alive            time.Time // when the tenure's loop was last seen running; zero: it has not begun
	writing          time.Time // when the entry being written last made progress; zero: none is being written
	dedupStats       dedup.Stats
	dedupOn          bool // whether duplicates are removed
}

// noteDedup updates the statistics of remembered messages; nil: duplicates are not removed.
func (v *view) noteDedup(r *deduper) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.dedupOn = r != nil; v.dedupOn {
		v.dedupStats = r.Stats()
	}
}

// clearProblem says that the partition is being read.
func (v *view) clearProblem() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.err = nil
}

// noteRead updates how far the partition was read.
func (v *view) noteRead(position, end int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.position, v.end = position, max(v.end, end, position)
}

// noteBounds updates the bounds of the log, also while nothing is read. They may go back: the log
// holds at least what was read meanwhile, but not necessarily what was seen before.
func (v *view) noteBounds(b stream.Bounds) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.start, v.end = b.First, max(b.End, v.position)
}

// logStart returns where the log begins, as far as is known.
func (v *view) logStart() int64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.start
}

// noteState updates what is open.
func (v *view) noteState(c *core, paused string) {
	oldest, ok := c.oldestReceived()
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case ok:
		v.oldest = oldest
	case v.end <= c.position:
		v.oldest = 0
	case c.progress > 0: // what has not been read yet was received after that
		v.oldest = c.progress
	}
	v.files, v.held, v.paused = c.spool.Len(), c.spool.Held(), paused
}

// noteProblem records why the partition is not being read. Its oldest record stays the same: it is
// still in no entry, and its age grows.
func (v *view) noteProblem(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.err, v.files, v.held = err, 0, 0
}

// noteFetchErr records why nothing more of the partition can be fetched, and from when on that
// counts as trouble; nil: it can be fetched.
func (v *view) noteFetchErr(err error, from time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.fetchErr, v.fetchTroubleFrom = err, from
}

// fetchTrouble returns why the partition cannot be fetched, once that counts as trouble. The caller
// holds mu.
func (v *view) fetchTrouble() error {
	if time.Now().Before(v.fetchTroubleFrom) {
		return nil
	}
	return v.fetchErr
}

// noteAlive records when the tenure's loop was running; zero: it ended.
func (v *view) noteAlive(at time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.alive = at
}

// noteWriting records when an entry was begun or one of its objects was staged; zero: it ended.
func (v *view) noteWriting(at time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.writing = at
}

// trouble returns why the partition is not being read or its entries are not being written, or nil.
func (v *view) trouble() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	err := v.halted()
	if v.paused == "" || v.err != nil || v.fetchTrouble() != nil {
		return err
	}
	paused := fmt.Errorf("paused: %s", v.paused)
	if err != nil { // it is usually the reason for the pause
		return fmt.Errorf("%w; %w", paused, err)
	}
	return paused
}

const (
	// unfetchedAfter is longer than a broker's restart.
	unfetchedAfter = 6 * time.Second
	// stuckAfter is longer than it takes to seal all of a partition's files, or to write a
	// checkpoint to a slow disk.
	stuckAfter = 2 * time.Minute
	// unwrittenAfter is longer than it takes to stage an object, and than a short outage.
	unwrittenAfter = 5 * time.Minute
)

// halted is like trouble, but ignores pauses. The caller holds mu. The time limits are there
// because a loop that waits for a disk that does not answer, or that retries endlessly, reports no
// error.
func (v *view) halted() error {
	if err := cmp.Or(v.err, v.fetchTrouble()); err != nil {
		return err
	}
	if d := time.Since(v.alive); !v.alive.IsZero() && d > stuckAfter {
		return fmt.Errorf("it has not gone on for %s, as if its disk did not answer", d.Round(time.Second))
	}
	if d := time.Since(v.writing); !v.writing.IsZero() && d > unwrittenAfter {
		return fmt.Errorf("no ledger entry could be written for %s; the log says why", d.Round(time.Second))
	}
	return nil
}
