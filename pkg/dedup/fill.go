package dedup

// slice is how many offsets are filled in at a time: half of what the table takes, so that the
// table is never written in the middle of a range.
func (t *table) slice() int64 { return int64(t.homes / 8 * 3) }

// NextFill returns the range of the log to be read next for Fill: the newest that is missing and
// wanted. ok is false if there is none at the moment. The result stays the same until Filled.
func (s *Store) NextFill() (from, to int64, ok bool) {
	switch {
	case s.rest: // after disk trouble, wait for the next checkpoint
		return 0, 0, false
	case s.fill == nil && !s.cfg.Budget.allows(s.held, slotBytes*minSlots): // memory is already short
		return 0, 0, false
	}
	if from, to = s.gap(); from >= to {
		return 0, 0, false
	}
	if s.fill == nil {
		s.fill = newTable(to, s.cfg.Budget.homes())
		s.hold(s.fill.bytes())
	}
	from = max(from, to-s.fill.slice())
	// A range that is missing again because its run was lost may lie apart from the rest. A span
	// says that everything in it was read, so it must not join the two.
	if !s.fill.span.meets(span{from, to}) {
		s.flush(s.fill)
		s.fill.reset(from)
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
	if s.fill != nil {
		spans = append(spans, s.fill.span)
	}
	return union(append(spans, s.live.span))
}

// Fill stores a record of the range that NextFill returned. Offsets may come in any order.
func (s *Store) Fill(k Key, offset, received, now int64) {
	s.put(s.fill, k, offset, min(received, now))
}

// past is how many consecutive offsets must hold nothing of the window before everything below them
// is taken to be older than the window. Fewer may be records that were written long after their
// receipt, such as redriven dead letters.
const past = 1 << 16

// Filled says that the range that NextFill returned was read, and when the newest record in it was
// received, 0 if it had none. If this range and enough of those above it are out of the window,
// nothing below is wanted.
func (s *Store) Filled(from, to, newest int64) {
	s.clock = max(s.clock, newest) // Remember may not have set it yet, and may never do so
	switch {
	case newest >= s.clock-s.cfg.Window.Milliseconds():
		s.stale = 0
	case newest == 0:
	case s.stale+to-from >= past:
		s.Floor(to)
		s.stale = 0 // what is filled in next is not below these offsets
	default:
		s.stale += to - from
		s.fill.newest = s.clock // otherwise these would be dropped, and missing again, before what is below them is read
	}
	s.fill.span = s.fill.span.join(span{from, to})
	from, to = s.gap()
	next := max(from, to-s.fill.slice())
	switch {
	case from >= to: // done
		s.stale = 0
		s.flush(s.fill)
		s.hold(-s.fill.bytes())
		s.fill = nil
		s.compact()
	// Write the table between ranges only: a run must hold everything in its span.
	case int64(s.fill.room()) < s.fill.slice() || !s.fill.span.meets(span{next, to}) || !s.fill.fits(next):
		s.flush(s.fill)
		s.fill.reset(next)
	}
}
