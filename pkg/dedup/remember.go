package dedup

import (
	"math"

	"github.com/sealift/sealift/pkg/ablation"
)

// Start says that the log is now read from this offset on.
func (s *Store) Start(offset int64) {
	s.flush(s.live)
	s.coveredTo = offset
	for _, c := range s.covered() {
		if c.lo <= offset && offset < c.hi {
			s.coveredTo = c.hi
		}
	}
	s.live.reset(s.coveredTo)
}

// Prefetch brings what IsDuplicate needs for these keys, ideally some dozens, into the processor's
// cache. It is optional but halves the cost: most time is spent waiting for memory, and here the
// waits overlap.
func (s *Store) Prefetch(keys []Key) {
	var sum uint64 // used, so that the reads are not optimized away
	for _, k := range keys {
		sum += s.live.slots[k.part(s.live.homes)].hi
	}
	for _, r := range s.runs {
		for _, k := range keys {
			sum += r.filter[r.filter.block(k)]
		}
	}
	s.prefetched = sum
}

// IsDuplicate reports whether a lower offset is stored for the message of a record. Times count as
// for Remember.
func (s *Store) IsDuplicate(k Key, offset, received, now int64) bool {
	if ablation.On(ablation.DropsFirstCopy) {
		offset++
	}
	// After a quiet time, or if only copies come, what is out of the window was not dropped yet.
	s.setClock(received, now)
	oldest := s.oldest()
	if at, ok := s.live.find(k); ok && at < offset && s.live.newest >= oldest {
		return true
	}
	if s.backfill != nil && s.backfill.newest >= oldest {
		if at, ok := s.backfill.find(k); ok && at < offset {
			return true
		}
	}
	for i := len(s.runs) - 1; i >= 0; i-- { // newest first: most copies follow soon
		r := s.runs[i]
		if r.newest < oldest || !r.filter.has(k) {
			continue
		}
		s.stats.Reads++
		at, ok, err := r.find(k, &s.bucket)
		if err != nil {
			s.dropDamaged(r, err)
			continue
		}
		if ok && at < offset {
			return true
		}
	}
	return false
}

// Remember stores the record's offset for its message, unless a lower one is stored. Since Start,
// offsets must come in order. A record from the future counts as received now (the wall clock), so
// that it does not end the window of others. A record from the past, such as a redriven dead
// letter, counts as received with the newest one before it, so that it is not forgotten before its
// neighbours.
func (s *Store) Remember(k Key, offset, received, now int64) {
	if offset < s.coveredTo {
		return // it was read before and is in a run
	}
	s.AdvanceTo(offset)
	s.setClock(received, now)
	s.put(s.live, k, offset, s.clock)
	s.live.span.hi = max(s.live.span.hi, offset+1)
}

// setClock says that a record with that time of receipt was read now.
func (s *Store) setClock(received, now int64) {
	if !s.judged {
		s.judged = true
		for _, r := range s.runs { // the clock may have been ahead when they were written, or may be behind now
			r.newest = min(r.newest, max(received, now))
		}
	}
	s.clock = min(max(s.clock, received), now) // the clock may have been ahead
}

// AdvanceTo says that all records below the offset were read, and that those that count were
// remembered.
func (s *Store) AdvanceTo(next int64) {
	if next <= s.live.span.hi {
		return
	}
	if next-s.live.span.lo > math.MaxInt32 {
		s.flush(s.live)
		s.live.reset(next)
		return
	}
	s.live.span.hi = next
}

// put stores an entry in a table, after making room for it.
func (s *Store) put(t *table, k Key, offset, received int64) {
	if t.full() {
		s.makeRoom(t)
	}
	if !t.fits(offset) {
		return // the caller went back without Start; duplicates may pass
	}
	if !t.put(k, offset, received) {
		s.flush(t)
		t.put(k, offset, received)
	}
}

// makeRoom grows the table, or writes it as a run.
func (s *Store) makeRoom(t *table) {
	more := t.bytes()
	if t.homes < s.cfg.Budget.homes() && s.cfg.Budget.allows(s.held, more) {
		t.grow()
		s.hold(t.bytes() - more)
		return
	}
	s.flush(t)
}

// flush writes a table as a run and empties it. If the table cannot be written, its messages are
// forgotten.
func (s *Store) flush(t *table) {
	if t.count == 0 && t.span.empty() {
		return
	}
	f := footer{count: t.count, base: t.min - 1, oldest: t.oldest, newest: t.newest, span: t.span}
	if t.count == 0 { // the span alone is worth keeping: it says that nothing in it counts
		f.base, f.oldest, f.newest = t.span.lo, s.clock, s.clock
	}
	need := memoryOf(max(1, t.count/bucketEntries), filterBlocks(t.count, bitsPerKey))
	bits := bitsPerKey
	for !s.cfg.Budget.allows(s.held, need) {
		if bits > coarseBits {
			bits = coarseBits
			need = memoryOf(max(1, t.count/bucketEntries), filterBlocks(t.count, bits))
		} else if !s.dropOldest() {
			break
		}
	}
	r, err := writeRun(s.cfg.Dir, s.nextRun, f, bits, nil, t.each())
	s.nextRun++
	if err != nil {
		s.noteError("write dedup run", err)
	} else {
		s.addRun(r)
	}
	t.reset(t.span.hi)
	s.expire()
	s.compact()
}

// dropDamaged drops a run that cannot be read any more.
func (s *Store) dropDamaged(r *run, err error) {
	s.noteError("read dedup run "+r.path, err)
	s.abandon() // the merge may be reading the same run
	s.dropRun(r)
}
