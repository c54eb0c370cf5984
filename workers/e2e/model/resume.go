package model

// disk is a worker's last checkpoint: the part of its state that survives when the process is
// killed. Whatever it wrote after the checkpoint is cut off.
type disk struct {
	kept    bool
	foreign bool // as in worker
	rule    uint8
	pos     uint8
	open    records // in files that were open
	flight  records // in sealed files that were in no entry, as far as the worker knew
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

// resumed returns the state that local files give on top of the head, if any. The ledger decides
// file by file, whoever has written to it since the checkpoint: a file that it has is dropped, and
// a file of which it has nothing is kept. If it has a part of a file, because of a late PUT from an
// earlier life or another worker's cut, all of them are void.
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
