package dedup

// fillOffsets is how many offsets are filled in at a time: half of what the table takes, so that
// the table is never written in the middle of a range.
func (t *table) fillOffsets() int64 { return int64(t.homes / 8 * 3) }

// NextFill returns the range of the log to be read next for Fill: the newest that is missing and
// wanted. ok is false if there is none at the moment. The result stays the same until FinishFill.
func (s *Store) NextFill() (from, to int64, ok bool) {
	switch {
	case s.fillPaused: // after disk trouble, wait for the next checkpoint
		return 0, 0, false
	case s.backfill == nil && !s.cfg.Budget.allows(s.held, slotBytes*minSlots): // memory is already short
		return 0, 0, false
	}
	if from, to = s.gap(); from >= to {
		return 0, 0, false
	}
	if s.backfill == nil {
		s.backfill = newTable(to, s.cfg.Budget.homes())
		s.hold(s.backfill.bytes())
	}
	from = max(from, to-s.backfill.fillOffsets())
	// A range that is missing again because its run was lost may lie apart from the rest. A span
	// says that everything in it was read, so it must not join the two.
	if !s.backfill.span.touches(span{from, to}) {
		s.flush(s.backfill)
		s.backfill.reset(from)
	}
	return from, to, true
}

// gap returns the newest range of offsets below what was read that no span covers.
func (s *Store) gap() (from, to int64) {
	from, to = s.floor, s.live.span.lo
	covered := s.covered()
	for i := len(covered) - 1; i >= 0; i-- {
		switch c := covered[i]; {
		case c.lo >= to:
		case c.hi >= to:
			to = c.lo
		default:
			return max(from, c.hi), to
		}
	}
	return from, to
}

// covered returns the offsets that were read, as sorted spans.
func (s *Store) covered() []span {
	spans := make([]span, 0, len(s.runs)+2)
	for _, r := range s.runs {
		spans = append(spans, r.span)
	}
	if s.backfill != nil {
		spans = append(spans, s.backfill.span)
	}
	return union(append(spans, s.live.span))
}

// Fill stores a record of the range that NextFill returned. Offsets may come in any order.
func (s *Store) Fill(k Key, offset, received, now int64) {
	s.put(s.backfill, k, offset, min(received, now))
}

// minStaleOffsets is how many consecutive offsets must hold nothing of the window before everything
// below them is taken to be older than the window. Fewer may be records that were written long
// after their receipt, such as redriven dead letters.
const minStaleOffsets = 1 << 16

// FinishFill says that the range that NextFill returned was read, and when the newest record in it
// was received, 0 if it had none. If this range and enough of those above it are out of the window,
// nothing below is wanted.
func (s *Store) FinishFill(from, to, newest int64) {
	s.clock = max(s.clock, newest) // Remember may not have set it yet, and may never do so
	switch {
	case newest >= s.oldest():
		s.staleOffsets = 0
	case newest == 0:
	case s.staleOffsets+to-from >= minStaleOffsets:
		s.RaiseFloor(to)
		s.staleOffsets = 0 // what is filled in next is not below these offsets
	default:
		s.staleOffsets += to - from
		s.backfill.newest = s.clock // otherwise these would be dropped, and missing again, before what is below them is read
	}
	s.backfill.span = s.backfill.span.join(span{from, to})
	from, to = s.gap()
	next := max(from, to-s.backfill.fillOffsets())
	switch {
	case from >= to: // done
		s.staleOffsets = 0
		s.flush(s.backfill)
		s.hold(-s.backfill.bytes())
		s.backfill = nil
		s.compact()
	// Write the table between ranges only: a run must hold everything in its span.
	case int64(s.backfill.room()) < s.backfill.fillOffsets() || !s.backfill.span.touches(span{next, to}) || !s.backfill.fits(next):
		s.flush(s.backfill)
		s.backfill.reset(next)
	}
}
