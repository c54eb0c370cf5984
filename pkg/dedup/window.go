package dedup

import (
	"slices"
	"time"
)

// Checkpoint writes what is in memory, so that a killed process does not forget it, drops what is
// out of the window, and makes room for other stores. Call it about every minute.
func (s *Store) Checkpoint() {
	s.fillPaused = false
	s.flush(s.live)
	s.expire()
	if homes := s.cfg.Budget.homes(); s.live.homes > homes { // more stores were opened
		s.hold(-s.live.bytes())
		s.live = newTable(s.live.span.hi, homes)
		s.hold(s.live.bytes())
	}
	for s.cfg.Budget.over(s.held) && s.dropOldest() {
	}
	s.compact()
}

// oldest returns the oldest time of receipt in the window.
func (s *Store) oldest() int64 { return s.clock - s.cfg.Window.Milliseconds() }

// expire drops the runs that are completely out of the window. If a gap lies below such a run, its
// floor is not raised: in a run of redriven records, what is missing below may still be in the
// window.
func (s *Store) expire() {
	for _, r := range slices.Clone(s.runs) {
		if r.newest < s.oldest() && !s.isMergeInput(r) {
			if from, to := s.gap(); from >= to {
				s.RaiseFloor(r.span.hi)
			}
			s.dropRun(r)
		}
	}
}

func (s *Store) isMergeInput(r *run) bool {
	return s.merge != nil && slices.Contains(s.merge.inputs, r)
}

// Shrink gives up the oldest of what is remembered because disk is short. It reports whether there
// was any.
func (s *Store) Shrink() bool { return s.dropOldest() }

// dropOldest gives up the oldest run early.
func (s *Store) dropOldest() bool {
	if len(s.runs) == 0 {
		return false
	}
	r := slices.MinFunc(s.runs, func(a, b *run) int { return int(min(max(a.newest-b.newest, -1), 1)) })
	if s.isMergeInput(r) {
		s.abandon()
	}
	s.stats.Cut++
	s.RaiseFloor(r.span.hi)
	s.dropRun(r)
	return true
}

// Stats returns the store's figures.
func (s *Store) Stats() Stats {
	st := s.stats
	st.IDs += int64(s.live.count)
	if s.backfill != nil {
		st.IDs += int64(s.backfill.count)
	}
	st.Memory = s.held
	from, to := s.gap()
	st.Gap = max(0, to-from)
	oldest := s.clock
	if s.live.count > 0 {
		oldest = min(oldest, s.live.oldest)
	}
	for _, r := range s.runs {
		if r.low() >= to {
			oldest = min(oldest, r.oldest)
		}
	}
	st.Covered = min(time.Duration(s.clock-oldest)*time.Millisecond, s.cfg.Window)
	return st
}
