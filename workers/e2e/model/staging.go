package model

// objects is a set of staged objects. An object's key names its content, so there is one object for
// every set of records that a file may contain.
type objects uint16

func object(file records) objects { return 1 << file }

// eachFile calls do with each file of an entry: one per stream.
func (m ledgerModel) eachFile(r uint8, files records, do func(file records)) {
	for _, stream := range m.rules[r].of {
		if f := files & stream; f != 0 {
			do(f)
		}
	}
}

// stage stores files create-if-absent, for an entry whose number is free (isNext) or taken. It is
// fine if a file already exists.
func (m ledgerModel) stage(s *ledgerState, r uint8, files records, isNext bool) {
	if pack := m.packed(r, files); pack != 0 {
		m.stagePack(s, pack, files, isNext)
		return
	}
	m.eachFile(r, files, func(f records) {
		if m.staging {
			s.staged |= object(f)
		}
		if m.flaw == keyByFirst {
			s.byFirst[f.first()] = f
		}
	})
}

// name records that an entry names the files: I3.
func (m ledgerModel) name(s *ledgerState, r uint8, files records) {
	pack := m.packed(r, files)
	m.namePack(s, pack, files)
	if pack != 0 {
		return
	}
	m.eachFile(r, files, func(f records) {
		if m.staging {
			if s.staged&object(f) == 0 {
				s.bad |= i3
			}
			s.named |= object(f)
		}
		if m.flaw == keyByFirst {
			s.namedBy[f.first()] = f
		}
	})
}

// collect is the auditor: it chooses an object that no entry names and whose last record the ledger
// covers (I11), and deletes it at any later time.
func (m ledgerModel) collect(s ledgerState, do func(step, ledgerState)) {
	if s.doomed != 0 {
		n := s
		n.staged &^= s.doomed
		n.doomed = 0
		do(step{format: "the auditor deletes that staged file"}, n)
		return
	}
	for f := records(1); f <= m.all; f++ {
		if (s.staged&^s.named)&object(f) == 0 {
			continue
		}
		if m.flaw == orphansByAge || m.past(s.head, f.end()-1) {
			n := s
			n.doomed = object(f)
			do(step{format: "the auditor takes the staged file %04b for an orphan", a: int(f)}, n)
		}
	}
}
