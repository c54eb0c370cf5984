package simulation

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/sealift/sealift/pkg/stream"
)

// breakage is something that can break. run returns false if there is nothing to break.
type breakage struct {
	name string
	run  func(w *world, d *dice) bool
}

var breakages = []breakage{
	{"crash-appender", func(w *world, d *dice) bool { return w.crash(appenderRole, d) }},
	{"crash-copier", func(w *world, d *dice) bool { return w.crash(copierRole, d) }},
	{"crash-auditor", func(w *world, d *dice) bool { return w.crash(auditorRole, d) }},
	{"crash-everything", crashEverything},
	{"deploy", (*world).deploy},
	{"zombie", (*world).zombie},
	{"rebalance", (*world).rebalance},
	{"redis-flush", func(w *world, d *dice) bool {
		w.redis.keys = map[string]value{}
		if d.n(2) == 0 {
			w.redis.fence = 0
		}
		return true
	}},
	{"redis-ttl-jump", func(w *world, d *dice) bool {
		jump := time.Duration(pick(d, 2, 5, 60)) * time.Second
		for k, v := range w.redis.keys {
			v.expires = v.expires.Add(-jump)
			w.redis.keys[k] = v
		}
		return true
	}},
	{"redis-failover", func(w *world, d *dice) bool {
		w.redis.state, w.redis.snapshot = w.redis.snapshot.clone(), w.redis.clone()
		if w.redis.keys == nil {
			w.redis.keys = map[string]value{}
		}
		return true
	}},
	{"redis-down", func(w *world, d *dice) bool {
		w.redis.down = true
		w.schedule(time.Duration(pick(d, 1, 5, 20))*time.Second, "redis is back", func(*dice) { w.redis.down = false })
		return true
	}},
	{"customer-down", func(w *world, d *dice) bool {
		b := w.buckets[pick(d, bucketNames...)]
		b.down = pick(d, refused, denied, cut, lost)
		w.schedule(time.Duration(pick(d, 2, 20, 60))*time.Second, b.name+" is back", func(*dice) { b.down = well })
		return true
	}},
	{"jobs-expire", func(w *world, d *dice) bool {
		for _, topic := range []string{jobsTopic, jobsTopic + ".retry-1", jobsTopic + ".retry-2", jobsTopic + ".retry-3"} {
			for _, l := range w.kafka.topics[topic] {
				l.start = l.end()
			}
		}
		return true
	}},
	{"events-expire", eventsExpire},
	{"offset-reset", offsetReset},
	{"catalog-change", func(w *world, d *dice) bool { return w.customer.change(d) }},
	{"seal-request", sealRequest},
	{"forged-job", forgedJob},
	{"job-again", jobAgain},
	{"slow-clock", func(w *world, d *dice) bool {
		w.workload.skew = time.Duration(pick(d, -90, -20, 0, 20, 90)) * time.Second
		return true
	}},
	{"partition-added", func(w *world, d *dice) bool {
		if len(w.kafka.topics[eventsTopic]) >= w.partitions+2 {
			return false
		}
		w.kafka.create(eventsTopic, 1)
		w.kafka.groups["sealift"].rebalance(d)
		return true
	}},
	{"disk-rot", (*world).rotDisk},
}

// breakSomething breaks one of the things that this seed includes.
func (w *world) breakSomething(d *dice) bool {
	if len(w.breaks) == 0 {
		return false
	}
	b := w.breaks[d.n(len(w.breaks))]
	if b.name == "redis-flush" || b.name == "redis-failover" || d.n(4) == 0 {
		w.redis.snapshot = w.redis.clone()
	}
	if !b.run(w, d) {
		return false
	}
	w.fault(b.name, "")
	return true
}

// crash kills a process; it comes back some time later, an appender mostly with its disk as it was.
func (w *world) crash(role string, d *dice) bool {
	alive := append(w.find(role, false), w.find(role, true)...)
	if len(alive) == 0 {
		return false
	}
	w.crashOne(alive[d.n(len(alive))], d)
	return true
}

func (w *world) crashOne(a *actor, d *dice) {
	disk := w.diskOf(a.number, a.life+1)
	fate := "its disk stays"
	if a.role == appenderRole {
		if d.n(4) == 3 {
			fate = "its disk is lost"
		} else if err := keepDisk(a.disk, disk, d.n(3) == 2, d); err != nil {
			panic(err)
		}
	}
	w.note("* %s is killed, %s", a.name, fate)
	w.kill(a)
	w.schedule(time.Duration(pick(d, 1, 3, 10, 30))*time.Second, "", func(*dice) { w.spawn(a.role, a.number, a.life+1, disk) })
}

// keepDisk copies what a killed process leaves behind. torn: the machine crashed with it, and the
// end of the newest file is lost.
func keepDisk(from, to string, torn bool, d *dice) error {
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		return fmt.Errorf("keep disk: %w", err)
	}
	if !torn {
		return nil
	}
	chunks, err := filepath.Glob(filepath.Join(to, "spool", "*", "*", "*", "*.spool"))
	if err != nil || len(chunks) == 0 {
		return err
	}
	slices.Sort(chunks)
	for _, c := range chunks {
		info, err := os.Stat(c)
		if err != nil {
			return err
		}
		if n := info.Size(); n > 0 && d.n(2) == 0 {
			if err := os.Truncate(c, int64(d.n(int(n)))); err != nil {
				return err
			}
		}
	}
	return nil
}

// mostRot is how many files of a process rot at most. At the third that hurts the same partition, an
// appender ends, as it should.
const mostRot = 2

// rotDisk damages a file that an appender keeps open. It asks for what is open to be sealed before
// that, and staging takes no files around that time: otherwise there would hardly ever be a file
// that could rot.
func (w *world) rotDisk(d *dice) bool {
	alive := append(w.find(appenderRole, false), w.find(appenderRole, true)...)
	if len(alive) == 0 {
		return false
	}
	a, away := alive[d.n(len(alive))], time.Duration(pick(d, 4, 10, 30))*time.Second
	w.staging.down = refused
	a.sealAll()
	w.schedule(away, "staging is back", func(*dice) { w.staging.down = well })
	w.schedule(away/2, "", func(d *dice) {
		names, err := filepath.Glob(filepath.Join(a.disk, "spool", "*", "*", "*", pick(d, "*.spool", "*.spool", "*.journal")))
		if err != nil || len(names) == 0 || a.dead || a.rotten >= mostRot {
			return
		}
		name := names[d.n(len(names))]
		if err := rotFile(name, d); err != nil {
			panic(err)
		}
		a.rotten++
		w.note("* %s: %s rots", a.name, filepath.Base(name))
	})
	return true
}

// rotFile damages a file in place, so that who has it open reads the damage: a bit flips, or the end
// becomes unreadable. It does so in what was written last, because the rest is hardly needed any
// more.
func rotFile(name string, d *dice) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return err
	}
	at := info.Size() - 1 - int64(d.n(int(min(info.Size(), 600))))
	if d.n(3) == 2 {
		return f.Truncate(at)
	}
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		return err
	}
	b[0] ^= 1 << d.n(8)
	_, err = f.WriteAt(b, at)
	return err
}

func crashEverything(w *world, d *dice) bool {
	for _, a := range slices.Clone(w.actors) {
		if !a.dead && !a.stopping {
			w.crashOne(a, d)
		}
	}
	return true
}

// deploy stops a process as a deployment does, and starts it again.
func (w *world) deploy(d *dice) bool {
	alive := w.find("", false)
	if len(alive) == 0 {
		return false
	}
	a := alive[d.n(len(alive))]
	a.stopping = true
	a.cancel()
	w.note("* %s is asked to stop", a.name)
	w.restartWhenEnded(a)
	return true
}

// restartWhenEnded starts the worker's next life once this one has ended.
func (w *world) restartWhenEnded(a *actor) {
	w.schedule(time.Second, "", func(*dice) {
		select {
		case <-a.ended:
			w.mu.Lock()
			a.dead = true
			w.mu.Unlock()
			close(a.died)
			w.spawn(a.role, a.number, a.life+1, a.disk)
		default:
			w.restartWhenEnded(a)
		}
	})
}

// zombie pauses a process: its requests wait while others go on.
func (w *world) zombie(d *dice) bool {
	alive := w.find("", false)
	if len(alive) == 0 {
		return false
	}
	a := alive[d.n(len(alive))]
	a.paused, a.pausedAt = true, time.Now()
	w.note("* %s sleeps", a.name)
	w.schedule(time.Duration(pick(d, 500, 3000, 8000, 15_000, 25_000, 40_000))*time.Millisecond, "", func(*dice) {
		a.paused = false
		w.note("* %s wakes up", a.name)
	})
	return true
}

func (w *world) rebalance(d *dice) bool {
	g := w.kafka.groups[pick(d, "sealift", "sealift", "sealift-copier")]
	if g == nil {
		return false
	}
	g.rebalance(d)
	return true
}

// offsetReset is an operator who resets offsets with Kafka's own tools.
func offsetReset(w *world, d *dice) bool {
	g := w.kafka.groups["sealift"]
	if g == nil {
		return false
	}
	marks := map[int]stream.Mark{}
	for p, l := range w.kafka.topics[eventsTopic] {
		marks[p] = stream.Mark{Committed: int64(d.n(int(l.end()) + 1))}
	}
	g.committed[eventsTopic] = marks
	if d.n(2) == 0 {
		g.rebalance(d)
	}
	return true
}

// eventsExpire deletes events that the ledger has, as retention does.
func eventsExpire(w *world, d *dice) bool {
	some := false
	for p, l := range w.kafka.topics[eventsTopic] {
		if c := w.judge.chains[p]; c != nil && c.low > l.start && d.n(2) == 0 {
			l.start += 1 + int64(d.n(int(c.low-l.start)))
			some = true
		}
	}
	return some
}

// sealRequest is an operator who wants everything sealed now.
func sealRequest(w *world, d *dice) bool {
	alive := w.find(appenderRole, false)
	if len(alive) == 0 {
		return false
	}
	alive[d.n(len(alive))].sealAll()
	return true
}

// forgedJob enqueues a copy job for something that is owed to nobody.
func forgedJob(w *world, d *dice) bool {
	jobs := w.kafka.topics[jobsTopic][0].records
	if len(jobs) == 0 {
		return false
	}
	r := jobs[d.n(len(jobs))]
	forged := forge(r.Value, pick(d, destinationIDs...), d.n(3))
	w.kafka.append(jobsTopic, stream.Record{Key: r.Key, Value: forged})
	return true
}

// jobAgain repeats an earlier job.
func jobAgain(w *world, d *dice) bool {
	jobs := w.kafka.topics[jobsTopic][d.n(2)].records
	if len(jobs) == 0 {
		return false
	}
	r := jobs[d.n(len(jobs))]
	w.kafka.append(jobsTopic, stream.Record{Key: r.Key, Value: r.Value})
	return true
}

// settle ends the chaos: everything is up again, and there are no new faults or records.
func (w *world) settle() {
	w.note("* no faults from here on")
	w.calm, w.calmSince = true, time.Now()
	w.redis.down = false
	w.timeRate = 5 // nothing would settle where requests wait for each other until they time out
	for _, b := range w.buckets {
		b.down = well
	}
	w.staging.down = well
	for _, a := range w.actors {
		a.paused = false
	}
	for _, o := range w.waiting {
		if o.hung && !o.gone { // hung connections break now
			o.hung, o.ways = false, nil
		}
	}
	w.customer.restore()
}
