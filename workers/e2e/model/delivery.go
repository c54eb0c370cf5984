package model

// deliveryModel is the part from an entry of the ledger to a customer's bucket: one file, one
// destination that it is owed to, two copiers, and what they use: jobs in Kafka, the lock and the
// markers in Redis, receipts, the auditor, parking and redrive, replay, and the deletion of the
// staged file.
//
// Debts share nothing but the staged object, which is the file's own or a pack: key, receipt, lock,
// markers and parked job are each a function of the debt. So one debt is followed, and of all
// others of the object only whether they are closed.
//
// Times are not modelled: a lock or a marker may expire, and a copier pause, at any moment.
type deliveryModel struct {
	jobs   uint8 // the most in the topics at once
	replay bool  // an operator orders a replay, once
	moves  bool  // the customer takes the object away
	flaw   flaw
}

const copiers = 2

// deliveryState is everything that is stored anywhere. The entry with the debt exists.
type deliveryState struct {
	bad     property
	jobs    uint8 // jobs that are not acknowledged
	orders  uint8 // replay jobs that are not acknowledged
	ordered bool  // the replay was ordered
	staged  bool
	objects uint8 // keys at the customer that have the file; 1: the right one
	created bool  // the object has existed
	receipt receipt
	others  bool // the object's other debts are closed
	parked  bool
	gone    bool  // the destination is not in the catalog
	lock    uint8 // 0: free; otherwise 1 + its holder
	done    bool  // marker: the receipt exists
	queued  bool  // marker: a job is waiting
	late    uint8 // the key of a PUT that nobody waits for; 0: there is none
	copiers [copiers]copier
}

type receipt uint8

const (
	unpaid receipt = iota
	delivered
	skipped
)

func (m deliveryModel) initial() deliveryState { return deliveryState{staged: true} }

// finished means that nothing will ever be left to do.
func (m deliveryModel) finished(s *deliveryState) bool {
	return s.receipt != unpaid && s.jobs == 0 && s.orders == 0 && !s.parked && !s.staged
}

func (m deliveryModel) next(s deliveryState, do func(step, deliveryState)) {
	m.wake(s, do)
	m.operate(s, do)
	m.expire(s, do)
	m.retain(s, do)
	for i := range copiers {
		m.copy(s, i, do)
	}
	if s.late != 0 {
		n := s
		n.late = 0
		do(step{format: "a late PUT gets lost", fault: true}, n)
		m.create(&n, s.late, true)
		do(step{format: "the customer's store executes a late PUT"}, n)
	}
}

// wake enqueues jobs: I10. The appender and the next owner do so from the ledger, and the auditor
// for what has neither receipt nor job. The auditor may look at old information, so a job may come
// for anything. Jobs may be lost.
func (m deliveryModel) wake(s deliveryState, do func(step, deliveryState)) {
	n := s
	if s.jobs < m.jobs {
		n.jobs++
		do(step{format: "a job is enqueued, perhaps not for the first time", fault: true}, n)
		if s.receipt == unpaid && !s.parked && !s.queued {
			n.queued = true
			do(step{format: "the auditor enqueues a job"}, n)
		}
	}
	if s.jobs > 0 {
		n = s
		n.jobs--
		do(step{format: "a job is lost", fault: true}, n)
	}
}

// operate is what people do.
func (m deliveryModel) operate(s deliveryState, do func(step, deliveryState)) {
	n := s
	n.gone = !s.gone
	do(step{format: "the catalog's destinations change", fault: n.gone}, n)
	if s.parked {
		n = s
		n.parked = false
		do(step{format: "redrive forgets a parked job and dies", fault: true}, n)
		if s.jobs < m.jobs {
			n.jobs++
			do(step{format: "redrive enqueues a parked job"}, n)
		}
		n = s
		n.parked = false
		if n.receipt == unpaid {
			n.receipt = skipped
		}
		do(step{format: "redrive gives a parked job up"}, n)
	}
	if s.parked && s.receipt != unpaid {
		n = s
		n.parked = false
		do(step{format: "the auditor forgets a parked job that has a receipt"}, n)
	}
	if m.replay && !s.ordered {
		n = s
		n.ordered, n.orders = true, 1
		do(step{format: "a replay is ordered", fault: true}, n)
	}
	if m.moves && s.objects != 0 {
		n = s
		n.objects = 0
		do(step{format: "the customer takes the object away", fault: true}, n)
	}
}

// expire is Redis: its contents may vanish, and a failover may restore an older lock.
func (m deliveryModel) expire(s deliveryState, do func(step, deliveryState)) {
	for holder := range uint8(copiers + 1) {
		if s.lock != holder {
			n := s
			n.lock = holder
			do(step{format: "the lock expires, or Redis fails over: holder %d", a: int(holder), fault: holder != 0}, n)
		}
	}
	n := s
	n.lock, n.done, n.queued = 0, false, false
	if n != s {
		do(step{format: "Redis is flushed", fault: true}, n)
	}
	if s.queued {
		n = s
		n.queued = false
		do(step{format: "the note that a job waits expires"}, n)
	}
	if s.done {
		n = s
		n.done = false
		do(step{format: "the note that the receipt exists expires"}, n)
	}
}

// retain deletes the staged object when all of its debts are closed (I4).
func (m deliveryModel) retain(s deliveryState, do func(step, deliveryState)) {
	n := s
	if !s.others && s.staged {
		n.others = true
		do(step{format: "the object's other debts are closed"}, n)
	}
	closed := s.receipt != unpaid && s.others || m.flaw == packByFile && (s.receipt != unpaid || s.others)
	if s.staged && (closed || m.flaw == stagedByAge) {
		n = s
		n.staged = false
		do(step{format: "the auditor deletes the staged file"}, n)
	}
}

// create is the customer's store executing a PUT: with If-None-Match it changes nothing that
// exists.
func (m deliveryModel) create(s *deliveryState, key uint8, conditional bool) {
	if conditional && s.objects&key != 0 {
		return
	}
	if m.moves && s.created && s.objects&key == 0 && s.receipt != unpaid {
		s.bad |= again
	}
	s.objects |= key
	s.created = true
	if s.objects&(s.objects-1) != 0 {
		s.bad |= dup
	}
}

func (m deliveryModel) broken(s *deliveryState) property {
	bad := s.bad
	if !s.staged && (s.receipt == unpaid || !s.others) {
		bad |= loss
	}
	if s.receipt == delivered && !s.created {
		bad |= i9
	}
	return bad
}
