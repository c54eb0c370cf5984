package model

// flaw is what an ablation leaves out of the protocol, or does differently.
type flaw uint8

// ledgerModel is the part from the events topic to the ledger: the appender's workers, the PUTs of
// entries, and, if enabled, staged objects with the collection of orphans, local files that outlive
// a process, and the offsets committed to Kafka.
//
// Entries are not counted. All that matters about an entry's number is whether it is the next one,
// so a worker knows whether its base is the head, and a PUT whether its number is still free. This
// makes the number of states finite without a bound on crashes, claims, rebalances or zombies: any
// worker may do anything at any time, or nothing for as long as it likes, and both may hold the
// partition at once.
type ledgerModel struct {
	topic
	reroute bool    // operators change the routing rule
	behind  bool    // listings may lack the newest entry
	claims  bool    // a worker that takes over first writes an entry
	staging bool    // staged objects and orphans are followed
	packs   objects // the packs that are followed, with their collection
	disks   int     // how many workers keep files on disk
	hints   bool    // workers commit offsets to Kafka
	resets  bool    // and operators set them to anything
	flaw    flaw
}

const (
	workers = 2
	slots   = 2 // PUTs under way at once
)

// ledgerState is everything that is stored anywhere. Of the chain it has the head and the union of
// all files: nobody reads older entries in this part, and that they never change is checked where
// they could (mutate).
//
// There is no padding between the fields: memory without gaps is hashed and compared as a whole,
// three times as fast.
type ledgerState struct {
	bad     property
	staged  objects // with staging: objects that exist
	named   objects // with staging: objects that an entry names
	doomed  objects // with staging: the orphan that an auditor is about to delete
	packs   packState
	head    entry
	before  entry   // with stale listings: the entry before the head
	files   records // in files of any entry
	hint    uint8   // with hints: the offset committed to Kafka
	workers [workers]worker
	net     [slots]put
	disks   [workers]disk
	// Only with keys that do not name their content: what is stored under the key of each first
	// offset, and what an entry assumes to be there.
	byFirst, namedBy [4]records
}

// worker is the state of a partition in one worker's memory.
type worker struct {
	phase   phase
	claim   bool  // the entry being written is its claim, and nothing has been read yet
	applied bool  // the entry was written, but the worker does not know
	foreign bool  // others wrote entries after its base; recorded only if a flaw needs it
	behind  uint8 // entries after its base, up to maxBehind; 0: the base is the head
	pos     uint8 // offset to be read next
	low     uint8 // watermark of the entry being written
	rule    uint8 // the rule in its claim
	open    records
	flight  records // in the files of the entry being written
	base    entry
}

type phase uint8

const (
	away  phase = iota // it does not hold the partition
	reads              // is reading; no entry is being written
	cut                // an entry is ready: its files are staged
	waits              // its PUT was sent; the outcome is unknown
)

func (m ledgerModel) initial() ledgerState { return ledgerState{} }

// finished means that all records are in the ledger and no pack is left: each was delivered, or was
// garbage, which the next claim at the latest makes recognizable.
func (m ledgerModel) finished(s *ledgerState) bool {
	return s.files == m.all && (s.packs.there == (packs{}) || !m.claims)
}

func (m ledgerModel) next(s ledgerState, do func(step, ledgerState)) {
	for i := range workers {
		switch w := s.workers[i]; w.phase {
		case away:
			m.takeOver(s, i, do)
		case reads:
			m.read(s, i, do)
			m.cut(s, i, do)
			if m.flaw == keepsMemory && w.behind > 0 {
				n := s
				n.workers[i].base, n.workers[i].behind = s.head, 0
				do(step{format: "worker %d is given the partition again and goes on upon the new head", a: i}, n)
			}
		case cut:
			m.read(s, i, do)
			m.send(s, i, do)
		case waits:
			m.read(s, i, do)
			m.resolve(s, i, do)
		}
		if s.workers[i].phase != away {
			n := s
			m.leave(&n, i)
			do(step{format: "worker %d dies, or is told to let go", a: i, fault: true}, n)
		}
	}
	m.execute(s, do)
	if m.staging {
		m.collect(s, do)
	}
	if m.packs != 0 {
		m.sweep(s, do)
	}
	if m.disks > 0 {
		m.keep(s, do)
	}
	if m.hints {
		m.commit(s, do)
	}
}

// takeOver loads the head, and nothing else: I6.
func (m ledgerModel) takeOver(s ledgerState, i int, do func(step, ledgerState)) {
	w := worker{phase: reads, base: s.head, pos: s.head.low}
	switch m.flaw {
	case noFilter:
		w.base.through = [streams]uint8{}
	case readsFromHint:
		w.pos = s.hint
	}
	n := s
	n.workers[i] = m.claimed(w)
	do(step{format: "worker %d takes the partition over at offset %d", a: i, b: int(w.pos)}, n)
	if m.reroute && (s.head.through == [streams]uint8{} || m.flaw == reroutesAtOnce) {
		v := m.claimed(w)
		v.rule = 1 - s.head.rule
		n.workers[i] = v
		do(step{format: "worker %d takes it over with rule %d", a: i, b: int(v.rule)}, n)
	}
	if m.behind && s.before != s.head {
		v := m.claimed(worker{phase: reads, behind: 1, base: s.before, pos: s.before.low})
		n.workers[i] = v
		do(step{format: "worker %d finds an old head and takes the partition over at offset %d", a: i, b: int(v.pos)}, n)
	}
	if i >= m.disks {
		return
	}
	if w, ok := m.resumed(s, s.disks[i]); ok {
		n.workers[i] = m.claimed(w)
		do(step{format: "worker %d takes it over with its local files, at offset %d", a: i, b: int(w.pos)}, n)
	}
}

// claimed makes the claim its first entry.
func (m ledgerModel) claimed(w worker) worker {
	if m.claims {
		w.phase, w.claim, w.low, w.rule = cut, true, w.base.low, w.base.rule
	}
	return w
}

func (m ledgerModel) read(s ledgerState, i int, do func(step, ledgerState)) {
	w := &s.workers[i]
	if w.claim || w.pos == m.end() {
		return
	}
	offset := w.pos
	w.pos++
	if m.filtered(w.base, offset) {
		do(step{format: "worker %d passes over record %d, which is in a file", a: i, b: int(offset)}, s)
		return
	}
	w.open |= at(offset)
	do(step{format: "worker %d reads record %d", a: i, b: int(offset)}, s)
}

// cut seals files and stages them: I3. If there is nothing to seal, the entry may still move the
// watermark.
func (m ledgerModel) cut(s ledgerState, i int, do func(step, ledgerState)) {
	w := s.workers[i]
	take := func(files records) {
		n := s
		v := &n.workers[i]
		v.phase, v.flight, v.open = cut, files, w.open&^files
		v.low = min(w.pos, v.open.first())
		m.stage(&n, w.base.rule, files, w.behind == 0)
		do(step{format: "worker %d seals and stages files of the records %04b", a: i, b: int(files)}, n)
	}
	m.cuts(w.base.rule, w.open, take)
	if w.open == 0 && w.pos > w.base.low {
		take(0)
	}
}

// written returns the entry that the worker is writing, as recovery reads it.
func (m ledgerModel) written(w *worker) entry {
	e := m.after(w.base, w.flight, w.low)
	if w.claim {
		e.rule = w.rule
	}
	return e
}

// body returns the PUT of that entry.
func (m ledgerModel) body(i int, w *worker) put {
	return put{live: w.behind == 0 && !w.applied, by: uint8(i), current: true, files: w.flight, entry: m.written(w)}
}

func (m ledgerModel) send(s ledgerState, i int, do func(step, ledgerState)) {
	if s.put(m.body(i, &s.workers[i])) {
		s.workers[i].phase = waits
		do(step{format: "worker %d sends its entry", a: i}, s)
	}
}

// resolve reads what is stored under the entry's number, and as long as there is nothing sends
// exactly the same entry again: I5.
func (m ledgerModel) resolve(s ledgerState, i int, do func(step, ledgerState)) {
	w := s.workers[i]
	n := s
	switch {
	case w.applied:
		m.won(&n, i)
		do(step{format: "worker %d reads its own entry back", a: i}, n)
	case w.behind > 0:
		m.leave(&n, i)
		do(step{format: "worker %d reads another's entry back and lets go", a: i}, n)
	}
	n = s
	if m.flaw != plainPut && n.put(m.body(i, &w)) { // with plainPut that would look like a change
		do(step{format: "worker %d sends the same entry again", a: i}, n)
	}
	if m.flaw == changesBody && !w.claim && !w.applied && w.behind == 0 {
		m.cuts(w.base.rule, w.open|w.flight, func(files records) {
			n := s
			v := &n.workers[i]
			v.flight, v.open = files, (w.open|w.flight)&^files
			v.low = min(w.pos, v.open.first())
			if files != w.flight && n.put(m.body(i, v)) {
				do(step{format: "worker %d sends another entry of that number, with %04b", a: i, b: int(files)}, n)
			}
		})
	}
}

// won continues on the worker's own entry.
func (m ledgerModel) won(s *ledgerState, i int) {
	w := &s.workers[i]
	w.base = m.written(w)
	w.phase, w.claim, w.applied, w.flight, w.low, w.rule = reads, false, false, 0, 0, 0
	s.orphan(i, m)
}

// leave discards the state. PUTs that were sent may still arrive.
func (m ledgerModel) leave(s *ledgerState, i int) {
	s.workers[i] = worker{}
	s.orphan(i, m)
}

// commit tells Kafka how far the ledger is: at any time after the entry was written, repeatedly,
// and even long after others have committed: I12.
func (m ledgerModel) commit(s ledgerState, do func(step, ledgerState)) {
	for i, w := range s.workers {
		if w.phase != away && !w.claim && w.base.low != s.hint {
			n := s
			n.hint = w.base.low
			if n.hint > s.head.low {
				n.bad |= i12
			}
			do(step{format: "worker %d commits offset %d", a: i, b: int(n.hint)}, n)
		}
	}
	if m.resets {
		for offset := range m.end() + 1 {
			if offset != s.hint {
				n := s
				n.hint = offset
				do(step{format: "an operator resets the offset to %d", a: int(offset), fault: true}, n)
			}
		}
	}
}

func (m ledgerModel) broken(s *ledgerState) property {
	bad := s.bad
	for offset := range m.end() {
		if m.past(s.head, offset) && !s.files.has(offset) {
			bad |= loss
		}
	}
	if s.named&^s.staged != 0 || s.packs.owed&^s.packs.there.live != 0 {
		bad |= loss
	}
	for first, files := range s.namedBy {
		if files != 0 && s.byFirst[first] != files {
			bad |= mutate
		}
	}
	for i := range s.workers {
		w := &s.workers[i]
		if w.phase == away {
			continue
		}
		isHead := w.behind > 0 || w.applied || w.base == s.head
		if w.open&w.flight != 0 || w.open|w.flight != m.topic.read(w.base, w.pos) || !isHead {
			bad |= i5
		}
	}
	return bad
}
