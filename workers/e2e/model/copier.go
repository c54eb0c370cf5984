package model

// copier is one job in one process. Its steps are those of schemas/protocol.md, in that order; it
// may pause, or die, between any two of them.
type copier struct {
	at     progress
	replay bool  // the job belongs to a replay
	key    uint8 // of its PUT
	sent   bool  // its PUT is on the way
	paid   bool  // the debt has a receipt, or the job is parked, and the copier knows that
}

// progress says how far a copier has got with its job.
type progress uint8

const (
	idle    progress = iota
	took             // has taken the job
	locked           // has the lock of the debt
	owing            // has found no receipt
	fetched          // has the staged bytes and knows that it holds the lock
	putting          // has sent the PUT; its outcome is unknown
	put200           // has got the answer 200 or 412
	wrote            // has written the receipt
	marked           // has marked it in Redis
	over             // only has to acknowledge
)

func (m deliveryModel) copy(s deliveryState, i int, do func(step, deliveryState)) {
	c := s.copiers[i]
	// to returns the state after the copier's step, to which more changes may be made.
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

// drop ends what the copier was doing. Its PUT may still arrive.
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

// take reads a job. The job stays in the topic until it is acknowledged, so both copiers may have
// the same one.
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
	// A job for a destination that the entry does not name, because it is forged or the source got
	// that destination later, is dropped: I7.
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

// lock asks Redis whether the receipt is known to exist, and takes the lock. A job for a debt that
// another copier has locked is put back into a topic, and acknowledged once it is there.
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

// fetch reads the destination from the catalog, and the staged bytes. If one is missing, the job is
// parked.
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

// park puts the job where people see it; a replay's failures are recorded with its order.
func (m deliveryModel) park(s *deliveryState, i int) {
	if !s.copiers[i].replay {
		s.parked = true
	}
	s.unlock(i)
	s.copiers[i].at, s.copiers[i].paid = over, true
}

// send checks the lock once more. That sometimes saves a PUT; the lock may still be lost right
// after.
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

// answer is the customer's store: it answers 200 or 412, which may be lost, or refuses. Nothing
// else tells the copier that the object exists: I9.
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
	if c.replay { // by force: a plain PUT of the same bytes
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
