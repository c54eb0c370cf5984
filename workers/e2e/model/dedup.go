package model

// dedupModel is the part about records that were sent twice with one message id: what a worker
// notes about the ids that it has read, which may be more or less than the ledger knows, or
// nothing, and what it takes for a duplicate.
//
// Entries are appended in one step here, by a worker whose base is the head. The ledger's part
// shows that any longer sequence amounts to that.
type dedupModel struct {
	topic
	id     []uint8 // of each record; the first record of an id may be poison, and then does not count
	poison records // records that cannot become lines of a file
	flaw   flaw
}

const ids = 3

type dedupState struct {
	bad     property
	forgot  bool // a store has lost something
	head    entry
	files   records // in files
	counted records // in no file, but counted in an entry
	workers [workers]reader
	stores  [workers]store
}

// reader is a worker's memory: what it has read since its base.
type reader struct {
	reads bool
	stale bool // its base is not the head
	pos   uint8
	open  records // in open files
	skips records // in no file
	base  entry
}

// store is what a worker keeps on disk: for every id, 1 + the lowest offset that it has seen; 0:
// none.
type store [ids]uint8

func (m dedupModel) initial() dedupState { return dedupState{} }

func (m dedupModel) finished(s *dedupState) bool { return s.files|s.counted == m.all }

func (m dedupModel) next(s dedupState, do func(step, dedupState)) {
	for i := range workers {
		m.forget(s, i, do)
		w := s.workers[i]
		n := s
		if !w.reads {
			n.workers[i] = reader{reads: true, pos: s.head.low, base: s.head}
			m.readBack(&n, i)
			do(step{format: "worker %d takes the partition over at offset %d", a: i, b: int(s.head.low)}, n)
			continue
		}
		n.workers[i] = reader{}
		do(step{format: "worker %d dies, or is told to let go", a: i, fault: true}, n)
		if w.stale {
			do(step{format: "worker %d learns that the head has moved and lets go", a: i}, n)
		}
		if w.pos < m.end() {
			n = s
			format := m.read(&n, i)
			do(step{format: format, a: i, b: int(w.pos)}, n)
		}
		if !w.stale {
			m.seal(s, i, do)
		}
	}
}

// readBack fills a store with the ids in the window below the offset where reading begins.
func (m dedupModel) readBack(s *dedupState, i int) {
	for offset := range s.head.low {
		m.note(s, i, offset)
	}
}

// note records the lowest offset of an id, for records that are lines only.
func (m dedupModel) note(s *dedupState, i int, offset uint8) {
	if m.poison.has(offset) && m.flaw != notesPoison {
		return
	}
	if v := &s.stores[i][m.id[offset]]; *v == 0 || offset+1 < *v {
		*v = offset + 1
	}
}

// duplicate reports whether a lower offset is noted for the record's id. The record's own offset
// does not count, because a reader that got further than the ledger may have noted records that are
// read again.
func (m dedupModel) duplicate(s *dedupState, i int, offset uint8) bool {
	noted := s.stores[i][m.id[offset]]
	if m.flaw == dropsItself {
		return noted != 0 && noted <= offset+1
	}
	return noted != 0 && noted < offset+1
}

// read processes the next record, and returns what it did with it.
func (m dedupModel) read(s *dedupState, i int) string {
	w := &s.workers[i]
	offset := w.pos
	w.pos++
	inFilter := m.filtered(w.base, offset)
	switch {
	case m.poison.has(offset) && !(m.flaw == poisonFilteredFirst && inFilter):
		m.note(s, i, offset)
		w.skips |= at(offset)
		return "worker %d puts record %d to the dead letters"
	case inFilter && m.flaw != duplicatesFirst:
		m.note(s, i, offset)
		return "worker %d passes over record %d, which the filter has"
	case m.duplicate(s, i, offset):
		w.skips |= at(offset)
		return "worker %d takes record %d for a duplicate"
	case inFilter:
		m.note(s, i, offset)
		return "worker %d passes over record %d, which the filter has"
	}
	m.note(s, i, offset)
	w.open |= at(offset)
	return "worker %d reads record %d"
}

// seal appends an entry. It counts the skipped records that no reader will judge again. That a
// record is not a line does not depend on a worker's memory, so it is judged before the filter is
// consulted, and counted when the watermark passes it. Whether a record is a duplicate depends on
// what a store happens to know, and another store may know less. So duplicates are judged after the
// filter, and counted when the filter or the watermark passes them.
func (m dedupModel) seal(s dedupState, i int, do func(step, dedupState)) {
	w := s.workers[i]
	append := func(files records) {
		n := s
		v := &n.workers[i]
		v.open &^= files
		v.base = m.after(w.base, files, min(w.pos, v.open.first()))
		var counted records
		for offset := range m.end() {
			settled := offset < v.base.low
			if m.flaw != duplicatesByLow && m.flaw != duplicatesFirst {
				settled = settled || !m.poison.has(offset) && m.past(v.base, offset)
			}
			if w.skips.has(offset) && settled {
				counted |= at(offset)
			}
		}
		v.skips &^= counted
		if n.files&files != 0 {
			n.bad |= dup
		}
		n.head, n.files, n.counted = v.base, n.files|files, n.counted|counted
		n.workers[1-i].stale = n.workers[1-i].reads
		do(step{format: "worker %d writes an entry with files of the records %05b", a: i, b: int(files)}, n)
	}
	m.cuts(0, w.open, append)
	if w.open == 0 && w.pos > w.base.low {
		append(0)
	}
}

// forget loses a store, or part of it.
func (m dedupModel) forget(s dedupState, i int, do func(step, dedupState)) {
	for id := range s.stores[i] {
		if s.stores[i][id] != 0 {
			n := s
			n.forgot = true
			n.stores[i][id] = 0
			do(step{format: "worker %d's store forgets id %d", a: i, b: id, fault: true}, n)
		}
	}
}

func (m dedupModel) broken(s *dedupState) property {
	bad := s.bad
	var seen, filed [ids]bool
	for offset := range m.end() {
		id, inFile := m.id[offset], s.files.has(offset)
		if inFile && s.counted.has(offset) || offset < s.head.low && !inFile && !s.counted.has(offset) {
			bad |= i2
		}
		if m.poison.has(offset) {
			continue
		}
		// The first record of an id always counts.
		if !seen[id] && m.past(s.head, offset) && !inFile {
			bad |= loss
		}
		if inFile && filed[id] && (!s.forgot || m.flaw == forgets) {
			bad |= twice
		}
		seen[id], filed[id] = true, filed[id] || inFile
	}
	return bad
}
