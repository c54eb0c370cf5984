package model

// put is the PUT of an entry on its way to the store. It may arrive at any time or never, even when
// nobody waits for it any more.
type put struct {
	used    bool
	live    bool  // its number is still free, so If-None-Match would let it succeed
	current bool  // its author is still waiting for it
	by      uint8 // its author, if current
	files   records
	entry   entry
}

// put sends p, if there is room.
func (s *ledgerState) put(p put) bool {
	for k := range s.net {
		if !s.net[k].used {
			p.used = true
			s.net[k] = p
			s.sort()
			return true
		}
	}
	return false
}

// sort makes states equal that differ only in the order of slots.
func (s *ledgerState) sort() {
	if s.net[0].weight() < s.net[1].weight() {
		s.net[0], s.net[1] = s.net[1], s.net[0]
	}
}

func (p *put) weight() (n uint64) {
	for _, b := range []bool{p.used, p.live, p.current} {
		n <<= 1
		if b {
			n |= 1
		}
	}
	n = n<<8 | uint64(p.by)
	n = n<<8 | uint64(p.files)
	n = n<<4 | uint64(p.entry.low)
	n = n<<4 | uint64(p.entry.rule)
	for _, through := range p.entry.through {
		n = n<<4 | uint64(through)
	}
	return n
}

// orphan turns the worker's PUTs into ghosts.
func (s *ledgerState) orphan(i int, m ledgerModel) {
	for k := range s.net {
		if p := &s.net[k]; p.used && p.current && int(p.by) == i {
			p.current, p.by = false, 0
		}
	}
	s.settle(m)
}

// settle drops ghosts whose number is taken: they change nothing and nobody waits for them.
func (s *ledgerState) settle(m ledgerModel) {
	for k := range s.net {
		if p := &s.net[k]; !p.live && !p.current && m.flaw != plainPut {
			*p = put{}
		}
	}
	s.sort()
}

// execute lets the store execute a PUT, whose answer arrives or is lost, or loses the PUT itself.
func (m ledgerModel) execute(s ledgerState, do func(step, ledgerState)) {
	for k, p := range s.net {
		if !p.used {
			continue
		}
		n := s
		n.net[k] = put{}
		n.sort()
		do(step{format: "the PUT with the files %04b gets lost", a: int(p.files), fault: true}, n)
		created := p.live
		switch {
		case p.live:
			m.apply(&n, p)
		case m.flaw == plainPut:
			n.bad |= mutate
		}
		if !p.current {
			do(step{format: "the store executes a late PUT with the files %04b", a: int(p.files)}, n)
			continue
		}
		do(step{format: "the store executes worker %d's PUT with the files %04b; the answer gets lost", a: int(p.by), b: int(p.files), fault: true}, n)
		if created || m.flaw == plainPut {
			m.won(&n, int(p.by))
			do(step{format: "the store executes worker %d's PUT with the files %04b: 200", a: int(p.by), b: int(p.files)}, n)
			continue
		}
		m.refused(&n, int(p.by))
		do(step{format: "the store refuses worker %d's PUT with the files %04b: 412", a: int(p.by), b: int(p.files)}, n)
	}
}

// apply makes p the head. Every other PUT with that number has lost, and no other worker's base is
// the head any more.
func (m ledgerModel) apply(s *ledgerState, p put) {
	if s.files&p.files != 0 {
		s.bad |= dup
	}
	for _, stream := range m.rules[p.entry.rule].of {
		if f := p.files & stream; f != 0 && f.first() < (s.files&stream).end() {
			s.bad |= i2
		}
	}
	m.name(s, p.entry.rule, p.files)
	s.files |= p.files
	if m.behind {
		s.before = s.head
	}
	s.head = p.entry
	for i := range s.workers {
		w := &s.workers[i]
		switch {
		case w.phase == away:
		case p.current && int(p.by) == i:
			w.applied = true // behind stays 0: its entry is the head
		default:
			w.behind = min(w.behind+1, m.maxBehind())
			w.foreign = m.flaw == trustsForeign
			s.disks[i].foreign = s.disks[i].kept && w.foreign
		}
	}
	for k := range s.net {
		s.net[k].live = false
	}
	s.settle(m)
}

// refused is the answer 412. It may follow the worker's own success, if an earlier answer was lost,
// so what is stored is read back and its attempt compared.
func (m ledgerModel) refused(s *ledgerState, i int) {
	w := &s.workers[i]
	switch {
	case m.flaw == ownIsLost && w.applied:
		files := w.open | w.flight
		s.orphan(i, m)
		*w = worker{phase: reads, base: s.head, behind: w.behind, pos: w.pos, open: files}
	case m.flaw == refusedIsWon && !w.applied:
		w.behind--
		m.won(s, i)
	case w.applied:
		m.won(s, i)
	default:
		m.leave(s, i)
	}
}

// maxBehind is the largest number of entries after a base that is told apart.
func (m ledgerModel) maxBehind() uint8 {
	if m.flaw == refusedIsWon {
		return 3
	}
	return 1
}
