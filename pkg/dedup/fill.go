package dedup

// slice is how many offsets are filled in at a time: half of what the table
// takes, so that it is never written in the midst of them.
func (t *table) slice() int64 { return int64(t.homes / 8 * 3) }

// NextFill returns a range of the log to be read for Fill, the newest that is
// missing and wanted; ok is false if there is none just now. It is the same
// until Filled.
func (s *Store) NextFill() (from, to int64, ok bool) {
	switch {
	case s.rest: // the disk had trouble: after the next checkpoint
		return 0, 0, false
	case s.fill == nil && !s.cfg.Budget.allows(s.held, slotBytes*minSlots): // memory is short already
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
	// What was read since of a run that was lost is apart from the rest: a span
	// says that all in it was read.
	if !s.fill.span.meets(span{from, to}) {
		s.flush(s.fill)
		s.fill.reset(from)
	}
	return from, to, true
}

// gap returns the newest offsets below what was read that are not covered.
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

// covered returns which offsets were read, in order.
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

// Fill stores a record of the range that NextFill returned; its offset may be
// anywhere in it.
func (s *Store) Fill(k Key, offset, received, now int64) {
	s.put(s.fill, k, offset, min(received, now))
}

// past is how many offsets in a row have to hold nothing of the window before
// what is below them is taken to be out of it. Fewer may be records that were
// received long before they were written, as dead letters that were sent again.
const past = 1 << 16

// Filled says that the range that NextFill returned was read, and that the
// newest record in it was received at that time, 0 if there was none. If that
// and more above are out of the window, nothing below is wanted.
func (s *Store) Filled(from, to, newest int64) {
	s.clock = max(s.clock, newest) // nothing may have been remembered yet, nor ever be
	switch {
	case newest >= s.clock-s.cfg.Window.Milliseconds():
		s.stale = 0
	case newest == 0:
	case s.stale+to-from >= past:
		s.Floor(to)
		s.stale = 0 // what is filled in next is not below them
	default:
		s.stale += to - from
		s.fill.newest = s.clock // not dropped, and so missing again, before what is below was read
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
	// What a run covers is in it: it is written between ranges, never within.
	case int64(s.fill.room()) < s.fill.slice() || !s.fill.span.meets(span{next, to}) || !s.fill.fits(next):
		s.flush(s.fill)
		s.fill.reset(next)
	}
}
