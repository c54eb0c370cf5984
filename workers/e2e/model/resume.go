package model

// disk is a worker's last checkpoint: what of its state a killed process
// leaves behind. Whatever it wrote later is cut off.
type disk struct {
	kept    bool
	foreign bool // as of a worker
	rule    uint8
	pos     uint8
	open    records // in files that were open
	flight  records // in sealed files that were in no entry, as far as it knew
}

// keep writes checkpoints, at any time, and loses disks.
func (m ledgerModel) keep(s ledgerState, do func(step, ledgerState)) {
	for i, w := range s.workers[:m.disks] {
		d := disk{kept: true, foreign: w.foreign, rule: w.base.rule, pos: w.pos, open: w.open, flight: w.flight}
		if w.phase != away && !w.claim && d != s.disks[i] {
			n := s
			n.disks[i] = d
			do(step{format: "worker %d writes a checkpoint at offset %d", a: i, b: int(w.pos)}, n)
		}
		if s.disks[i].kept {
			n := s
			n.disks[i] = disk{}
			do(step{format: "worker %d's disk is lost", a: i, fault: true}, n)
		}
	}
}

// resumed is the state that local files give upon the head, if any. The
// ledger decides file by file, whoever moved it since the checkpoint: a file
// that it has is dropped, one of which it has nothing is kept, and one of
// which it has a part, by a late PUT of a former life or by another's cut,
// voids them all.
func (m ledgerModel) resumed(s ledgerState, d disk) (worker, bool) {
	if !d.kept || d.rule != s.head.rule {
		return worker{}, false
	}
	blind := m.flaw == keepsEveryFile || m.flaw == trustsForeign && d.foreign
	w := worker{phase: reads, base: s.head, pos: max(d.pos, s.head.low)}
	for _, stream := range m.rules[d.rule].of {
		for _, f := range []records{d.open & stream, d.flight & stream} {
			var there records
			for rest := f; rest != 0; rest &= rest - 1 {
				if m.past(s.head, rest.first()) {
					there |= at(rest.first())
				}
			}
			switch {
			case there == 0 || blind:
				w.open |= f
			case there == f:
			case m.flaw == keepsPartFile:
				w.open |= f
			default:
				return worker{}, false
			}
		}
	}
	return w, true
}
