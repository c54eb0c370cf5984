package simulation

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/workers/copier"
)

// scenario is the kind of a run, as its seed determines.
type scenario struct {
	seed       uint64
	partitions int
	appenders  int
	copiers    int
	auditors   int

	rollEvery, grace     time.Duration
	sealOnStop           bool
	withoutRedis         bool
	dedup                bool // messages come twice, and duplicates are dropped
	dedupWindow          time.Duration
	dedupMemory          int64
	maxBytes             int64         // of an object; 0: the default
	memory               int64         // for open files; 0: the default
	maxWaiting           int64         // sealed files that may wait for staging; 0: the default
	newConfigs           bool          // with every life, a process has another configuration
	batchFrom            int           // debts of an entry from which on receipts are written in batches
	scheduledAudits      bool          // the first auditor audits as the role does, the others as an operator does
	forcedAudits         bool          // audits from the first entry on look at what others look at, too
	staleLeaders         bool          // brokers that have become leaders forget for a moment what was committed last
	catalogLag           time.Duration // of copiers and auditors, behind appenders
	trickle              bool          // few records come, and half of them get into no file, so some entries have no files
	auditGrace, retain   time.Duration
	fetchAtMost          int // records
	chaos                time.Duration
	chaosSteps           int
	faultRate, timeRate  int // permille of steps
	stagingRate          int // permille of requests that go wrong
	ledgerRate           int // permille of requests that put an entry; 0: stagingRate
	customerRate         int
	kafkaRate, redisRate int
	breaks               []breakage // those that this seed includes

	promisesOnly bool
	logs         io.Writer // of the roles; nil: none
}

// newScenario chooses the kind of a run. Every seed includes only some faults, so that some runs
// are about few things and go far with them, and others are about everything.
func newScenario(seed uint64) scenario {
	d := newDice(seed, "scenario", 0)
	s := scenario{
		seed:       seed,
		partitions: pick(d, 1, 1, 2, 2, 3),
		appenders:  pick(d, 1, 2, 2, 3),
		copiers:    pick(d, 1, 2, 2),
		auditors:   pick(d, 1, 1, 2),
		rollEvery:  pick(d, 10*time.Second, 30*time.Second, time.Minute),
		grace:      pick(d, 2*time.Second, 5*time.Second),
		sealOnStop: d.permille(300), withoutRedis: d.permille(500),
		auditGrace: pick(d, 0, 0, 10*time.Second), retain: pick(d, time.Second, 20*time.Second, 10*time.Minute),
		fetchAtMost: pick(d, 0, 1, 3, 10),
		chaos:       pick(d, 60*time.Second, 120*time.Second, 240*time.Second),
		chaosSteps:  pick(d, 400, 800, 1500),
		faultRate:   pick(d, 5, 15, 40), timeRate: pick(d, 5, 20, 60),
		stagingRate:  pick(d, 0, 20, 100, 300),
		customerRate: pick(d, 0, 20, 100, 300),
		kafkaRate:    pick(d, 0, 20, 100),
		redisRate:    pick(d, 0, 20, 200),
	}
	for _, b := range breakages {
		if d.permille(450) {
			s.breaks = append(s.breaks, b)
		}
	}
	s.dedup = d.permille(400)
	s.trickle = d.permille(200)
	s.ledgerRate = pick(d, 0, 0, 0, 400)
	s.dedupWindow = pick(d, 24*time.Hour, 24*time.Hour, time.Minute, 15*time.Second)
	s.dedupMemory = pick[int64](d, 1<<20, 1<<20, 48<<10)
	s.maxBytes = pick[int64](d, 0, 0, 150, 400)
	s.memory = pick[int64](d, 0, 0, 0, 1)
	s.maxWaiting = pick[int64](d, 0, 0, 1, 3)
	s.newConfigs = d.permille(400)
	s.batchFrom = pick(d, 2, 2, 3, 16)
	s.scheduledAudits, s.forcedAudits = d.permille(400), d.permille(300)
	s.staleLeaders = d.permille(250)
	s.catalogLag = pick(d, 0, 0, 5*time.Second, 40*time.Second)
	return s
}

// faultRateOf is the probability, in permille, that a request like o goes wrong now.
func (w *world) faultRateOf(o *op) int {
	if w.calm || o.actor == nil {
		return 0
	}
	for name, b := range w.buckets {
		if o.kind == "put "+name {
			if b.down != well {
				o.ways = []way{b.down}
				return 1000
			}
			return w.customerRate
		}
	}
	switch {
	case w.staging.down != well && o.kind == "put staging" && strings.HasPrefix(o.key, "data/"):
		o.ways = []way{w.staging.down}
		return 1000
	case w.ledgerRate > 0 && o.kind == "put staging" && strings.HasPrefix(o.key, "ledger/"):
		return w.ledgerRate
	case len(o.kind) > 5 && o.kind[:5] == "redis":
		return w.redisRate
	case o.kind == "fetch", o.kind == "bounds", o.kind[:min(7, len(o.kind))] == "produce", o.kind[:min(6, len(o.kind))] == "commit":
		return w.kafkaRate
	}
	return w.stagingRate
}

// start sets up everything.
func (w *world) start() {
	copier.BatchFromForTesting(w.batchFrom)
	w.stats.Faults, w.stats.States = map[string]int{}, map[uint64]struct{}{}
	w.kafka, w.redis = newKafka(w), newRedis()
	w.kafka.create(eventsTopic, w.partitions)
	w.kafka.create(deadTopic, 1)
	w.kafka.create(jobsTopic, 2)
	for tier := range 3 {
		w.kafka.create(fmt.Sprintf("%s.retry-%d", jobsTopic, tier+1), 1)
	}
	w.staging = &bucket{Memory: objstore.NewMemory("staging"), name: "staging"}
	w.buckets = map[string]*bucket{}
	for _, name := range bucketNames {
		w.buckets[name] = &bucket{Memory: objstore.NewMemory(name), name: name}
	}
	w.customer = newCustomers(w)
	w.judge = newJudge(w)
	w.workload = newWorkload(w)
	for n := range w.appenders {
		w.spawn(appenderRole, n, 1, w.diskOf(n, 1))
	}
	for n := range w.copiers {
		w.spawn(copierRole, n, 1, "")
	}
	for n := range w.auditors {
		w.spawn(auditorRole, n, 1, "")
	}
	w.spawn(operatorRole, 0, 1, "")
}

func (w *world) diskOf(number, life int) string {
	return filepath.Join(w.dir, fmt.Sprintf("appender-%d.%d", number, life))
}

// isOver says whether everything has settled; it calls settle when it is time for that.
func (w *world) isOver() bool {
	if !w.calm {
		if w.step < w.chaosSteps && time.Since(w.begun) < w.chaos {
			return false
		}
		w.settle()
		return false
	}
	if w.judge.nothingLeft() {
		return true
	}
	if time.Since(w.calmSince) > 30*time.Minute || w.step > 40_000 {
		w.violated("stuck: %s", w.judge.missing())
		return true
	}
	return false
}

// end ends all processes, so that nothing is left in the bubble.
func (w *world) end() {
	for _, a := range w.actors {
		if !a.dead {
			w.kill(a)
		}
	}
	for _, a := range w.actors {
		<-a.ended
	}
	_ = os.RemoveAll(w.dir)
}
