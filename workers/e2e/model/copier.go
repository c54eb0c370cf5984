package model

// copier is one job in one process. Its steps are those of the protocol's
// page, in their order; it may pause, or die, between any two.
type copier struct {
	at     progress
	replay bool  // the job is of a replay
	key    uint8 // it puts
	sent   bool  // its PUT is on the way
	paid   bool  // the debt has a receipt, or the job is parked: it saw to that
}

// progress says what a copier has done of its job.
type progress uint8

const (
	idle    progress = iota
	took             // the job
	locked           // the debt
	owing            // found no receipt
	fetched          // the staged bytes, and found itself to hold the lock
	putting          // sent the PUT; its outcome is open
	put200           // was told 200 or 412
	wrote            // the receipt
	marked           // it in Redis
	over             // nothing is left but to acknowledge
)

func (m deliveryModel) copy(s deliveryState, i int, do func(step, deliveryState)) {
	c := s.copiers[i]
	// to is the state after the copier's step, perhaps with more to change.
	to := func(where progress) deliveryState {
		n := s
		n.copiers[i].at = where
		return n
	}
	if c.at != idle {
		n := s
		m.drop(&n, i)
		do(step{format: "copier %d dies", a: i, fault: true}, n)
	}
	switch c.at {
	case idle:
		m.take(s, i, do)
	case took:
		m.lock(s, i, do)
	case locked:
		if s.receipt != unpaid && !c.replay {
			n := to(over)
			n.done, n.copiers[i].paid = true, true
			do(step{format: "copier %d finds a receipt", a: i}, n)
			break
		}
		do(step{format: "copier %d finds no receipt", a: i}, to(owing))
	case owing:
		m.fetch(s, i, do)
	case fetched:
		m.send(s, i, do)
	case putting:
		m.answer(s, i, do)
	case put200:
		n := to(wrote)
		if n.receipt == unpaid { // create-if-absent; a replay closes the debt as well
			n.receipt = delivered
		}
		n.copiers[i].paid = true
		do(step{format: "copier %d writes the receipt", a: i}, n)
	case wrote:
		n := to(marked)
		n.done = n.done || !c.replay
		do(step{format: "copier %d marks it in Redis", a: i}, n)
	case marked:
		n := to(over)
		n.unlock(i)
		do(step{format: "copier %d gives the lock back", a: i}, n)
	case over:
		m.acknowledge(s, i, do)
	}
}

// drop forgets what the copier was at. Its PUT may still arrive.
func (m deliveryModel) drop(s *deliveryState, i int) {
	if s.copiers[i].sent {
		s.late = s.copiers[i].key
	}
	s.copiers[i] = copier{}
}

func (s *deliveryState) unlock(i int) {
	if s.lock == uint8(1+i) {
		s.lock = 0
	}
}

// take reads a job. It stays in the topic until it is acknowledged, so both
// may have the same.
func (m deliveryModel) take(s deliveryState, i int, do func(step, deliveryState)) {
	key := uint8(1)
	if m.flaw == keyPerAttempt {
		key <<= i
	}
	if s.jobs > 0 {
		n := s
		n.copiers[i] = copier{at: took, key: key}
		if m.flaw == catalogOwes && s.gone { // nothing seems to be owed
			n.copiers[i].at = over
		}
		if m.flaw == ackFirst {
			n.acknowledged(i)
		}
		do(step{format: "copier %d takes a job", a: i}, n)
	}
	// A job for a destination that the entry does not name, forged or of one
	// that the source got since, is dropped: I7.
	if m.flaw == catalogOwes {
		n := s
		n.bad |= i7
		do(step{format: "copier %d delivers to a destination that the source has now", a: i}, n)
	}
	if s.orders > 0 {
		n := s
		n.copiers[i] = copier{at: took, replay: true, key: key}
		do(step{format: "copier %d takes a job of the replay", a: i}, n)
	}
}

// lock asks Redis whether the receipt is known to exist, and for the lock. A
// job whose debt is another's work goes back into a topic, and is acknowledged
// when it is there.
func (m deliveryModel) lock(s deliveryState, i int, do func(step, deliveryState)) {
	n := s
	switch {
	case s.done && !s.copiers[i].replay:
		n.copiers[i].at, n.copiers[i].paid = over, s.receipt != unpaid
		do(step{format: "copier %d learns from Redis that it is done", a: i}, n)
	case s.lock != 0 && s.lock != uint8(1+i):
		m.drop(&n, i)
		do(step{format: "copier %d finds it locked and puts the job back", a: i}, n)
	default:
		n.lock = uint8(1 + i)
		n.copiers[i].at = locked
		n.done = n.done || m.flaw == markFirst
		do(step{format: "copier %d takes the lock", a: i}, n)
	}
}

// fetch reads the destination from the catalog and the staged bytes. Without
// either the job is parked.
func (m deliveryModel) fetch(s deliveryState, i int, do func(step, deliveryState)) {
	n := s
	if s.gone || !s.staged {
		m.park(&n, i)
		do(step{format: "copier %d parks the job: no destination, or no staged file", a: i}, n)
		return
	}
	n.copiers[i].at = fetched
	if m.flaw == receiptFirst && n.receipt == unpaid {
		n.receipt = delivered
	}
	do(step{format: "copier %d has the staged bytes", a: i}, n)
}

// park notes the job where people see it; a replay's is its order's affair.
func (m deliveryModel) park(s *deliveryState, i int) {
	if !s.copiers[i].replay {
		s.parked = true
	}
	s.unlock(i)
	s.copiers[i].at, s.copiers[i].paid = over, true
}

// send looks at the lock once more. That saves a PUT at times; the lock may be
// lost right after.
func (m deliveryModel) send(s deliveryState, i int, do func(step, deliveryState)) {
	n := s
	if s.lock != uint8(1+i) {
		m.drop(&n, i)
		do(step{format: "copier %d sees that it lost the lock and puts the job back", a: i}, n)
		n = s
	}
	n.copiers[i].at, n.copiers[i].sent = putting, true
	do(step{format: "copier %d sends the PUT", a: i}, n)
}

// answer is the customer's store: 200, 412, either with the answer lost, or a
// refusal. Nothing else tells the copier that the object is there: I9.
func (m deliveryModel) answer(s deliveryState, i int, do func(step, deliveryState)) {
	c := s.copiers[i]
	if !c.sent {
		n := s
		n.copiers[i].sent = true
		do(step{format: "copier %d sends the PUT again", a: i}, n)
		return
	}
	n := s
	n.copiers[i].sent = false
	do(step{format: "copier %d's PUT gets lost", a: i, fault: true}, n)
	refused := n
	m.park(&refused, i)
	do(step{format: "copier %d's PUT is refused: the job is parked", a: i, fault: true}, refused)
	impatient := s
	impatient.copiers[i].sent, impatient.late = false, c.key
	do(step{format: "copier %d does not wait for its PUT any longer", a: i, fault: true}, impatient)
	m.create(&n, c.key, true)
	do(step{format: "the customer's store executes copier %d's PUT; the answer gets lost", a: i, fault: true}, n)
	n.copiers[i].at = put200
	do(step{format: "the customer's store executes copier %d's PUT: 200 or 412", a: i}, n)
	if c.replay { // by force: the same bytes once more
		n = s
		n.copiers[i].at, n.copiers[i].sent = put200, false
		m.create(&n, c.key, false)
		do(step{format: "the customer's store executes copier %d's plain PUT: 200", a: i}, n)
	}
}

// acknowledge commits the job's offset: I12.
func (m deliveryModel) acknowledge(s deliveryState, i int, do func(step, deliveryState)) {
	n := s
	if s.copiers[i].replay {
		n.orders = 0
	} else if m.flaw != ackFirst {
		n.acknowledged(i)
	}
	n.unlock(i)
	n.copiers[i] = copier{}
	do(step{format: "copier %d acknowledges the job", a: i}, n)
}

func (s *deliveryState) acknowledged(i int) {
	if !s.copiers[i].paid {
		s.bad |= i12
	}
	s.jobs -= min(s.jobs, 1)
}
