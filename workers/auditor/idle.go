package auditor

import "slices"

// minIdleVisits is the least number of a chain's idle entries that an audit visits.
const minIdleVisits = 32

// splitIdle splits the entries that the hint left open into those to visit and those to leave out
// this time, and counts what is parked of the latter.
//
// An entry is idle if all of its open debts are parked. Where a destination is down for weeks, most
// entries are idle, and reading them and their receipts again would take longer than the time
// between two audits. There is little to find out about an idle entry: whoever redrives a file
// deletes its note, and then the entry is visited. The rest, a receipt that came late or staged
// files that are now old enough, may wait for a day, within which each entry is visited.
func (w *walk) splitIdle(opened []int64) (visit, leave []int64) {
	idle := w.idleEntries(opened)
	some := max(w.idleVisits, int(float64(len(idle))*w.cfg.Every.Hours()/24)+1)
	if len(idle) <= some {
		return opened, nil
	}
	next, _ := slices.BinarySearch(idle, w.hint.Next)
	leave = slices.Concat(idle, idle)[next+some : next+len(idle)]
	w.hint.Next = leave[0]
	slices.Sort(leave)
	for _, seq := range opened {
		if _, left := slices.BinarySearch(leave, seq); !left {
			visit = append(visit, seq)
		}
	}
	for dest, a := range w.hint.Accounts {
		for _, o := range a.Debts {
			if _, left := slices.BinarySearch(leave, o.seq()); left {
				w.parked.markOpen(o.ref(w.log), dest)
				w.count(dest, func(d *counts) { d.Owed++; d.Parked++; d.raiseOldest(w.now, o.received()) })
			}
		}
	}
	return visit, leave
}

// idleEntries returns those of the entries that have open debts, all of which are parked.
func (w *walk) idleEntries(opened []int64) (idle []int64) {
	active := map[int64]bool{} // by entry with open debts: whether one of these is not parked
	for dest, a := range w.hint.Accounts {
		for _, o := range a.Debts {
			active[o.seq()] = active[o.seq()] || !w.parked.has(o.ref(w.log), dest)
		}
	}
	for _, seq := range opened {
		if isActive, owes := active[seq]; owes && !isActive {
			idle = append(idle, seq)
		}
	}
	return idle
}
