package simulation

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/lease"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/workers/appender"
	"github.com/sealift/sealift/workers/auditor"
	"github.com/sealift/sealift/workers/copier"
	"github.com/sealift/sealift/workers/rotator"
)

// actor is a process: one life of a worker.
type actor struct {
	name   string // role-number.life
	role   string
	number int
	life   int
	disk   string // of an appender
	rotten int    // number of its files that were damaged

	dead     bool
	paused   bool
	pausedAt time.Time
	stopping bool

	died   chan struct{}
	ctx    context.Context
	cancel context.CancelFunc
	ended  chan struct{}
	// sealAll, for an appender, is an operator's request to seal everything.
	sealAll func()
}

// spawn starts a worker's next life.
func (w *world) spawn(role string, number, life int, disk string) {
	a := &actor{
		name: fmt.Sprintf("%s-%d.%d", role, number, life), role: role, number: number, life: life, disk: disk,
		died: make(chan struct{}), ended: make(chan struct{}),
	}
	ctx, cancel := context.WithCancel(context.Background())
	a.ctx, a.cancel = ctx, cancel
	var run func(context.Context) error
	var err error
	switch role {
	case appenderRole:
		run, err = w.newAppender(a)
	case copierRole:
		run, err = w.newCopier(a)
	case auditorRole:
		run, err = w.newAuditor(a)
	case operatorRole:
		run = w.newOperator(a)
	}
	if err != nil {
		panic(err) // an error in the test's own configuration
	}
	w.actors = append(w.actors, a)
	w.note("* %s starts", a.name)
	go func() {
		defer close(a.ended)
		if err := run(ctx); err != nil && !a.isDead(w) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.violated("role: %s ended: %v", a.name, err)
		}
	}()
}

const (
	appenderRole = "appender"
	copierRole   = "copier"
	auditorRole  = "auditor"
	operatorRole = "operator"
)

func (a *actor) isDead(w *world) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return a.dead
}

func (w *world) logger(a *actor) *slog.Logger {
	if w.logs == nil {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(w.logs, &slog.HandlerOptions{Level: slog.LevelDebug})).With("actor", a.name)
}

// configDice returns the dice that choose the configuration of a life. They are blank in runs in
// which it never changes.
func (w *world) configDice(a *actor, purpose string) *dice {
	d := newDice(w.seed, purpose+" of "+a.role, a.number*1000+a.life)
	d.blank = !w.newConfigs
	return d
}

func (w *world) appenderConfig(a *actor) appender.Config {
	d := w.configDice(a, "config")
	window := time.Duration(0)
	if w.dedup {
		window = pick(d, w.dedupWindow, w.dedupWindow, 30*time.Second, 0)
	}
	return appender.Config{
		Topic: eventsTopic, DataDir: a.disk, SourceFrom: pick(d, "header", "key"), DedupWindow: window, DedupMemory: w.dedupMemory,
		RollEvery: pick(d, w.rollEvery, w.rollEvery, 5*time.Second), Grace: w.grace, Level: pick(d, 6, 1, 9), Memory: w.memory, MaxWaiting: w.maxWaiting,
		SealOnStop: w.sealOnStop != d.permille(300), DrainTimeout: 5 * time.Second,
	}
}

// maxBytesOf returns the size of a full object in a life of an appender; 0: the default.
func (w *world) maxBytesOf(a *actor) int64 {
	return pick(w.configDice(a, "max bytes"), w.maxBytes, w.maxBytes, 0, 250)
}

func (w *world) newAppender(a *actor) (func(context.Context) error, error) {
	k := kafkaClient{w.kafka, a}
	jobs := producer{k, jobsTopic}
	cfg := w.appenderConfig(a)
	rot := rotator.New(rotator.Config{Cluster: "sim", Router: ledger.RouterRule(cfg.SourceFrom, "header"), Uploads: 3}, rotator.Deps{
		Staging: w.staging.clientFor(w, a), Kafka: k, Jobs: jobs,
		Owed:   func(source string) []string { return w.customer.live.Snapshot().Owed(source) },
		Logger: w.logger(a),
	})
	// Otherwise the name would be chosen at random.
	if err := os.MkdirAll(a.disk, 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(a.disk, "worker"), fmt.Appendf(nil, "%s-%d", a.role, a.number), 0o600); err != nil {
		return nil, err
	}
	app, err := appender.New(cfg, appender.Deps{
		Log:         appenderLog{k},
		Join:        func(string) (appender.Membership, error) { return k.join("sealift", []string{eventsTopic}), nil },
		DeadLetters: producer{k, deadTopic},
		Rotator:     rot, Logger: w.logger(a),
	})
	if err != nil {
		return nil, err
	}
	if n := w.maxBytesOf(a); n > 0 {
		app.SetMaxBytesForTesting(n)
	}
	a.sealAll = func() {
		ctx, cancel := context.WithTimeout(a.ctx, time.Minute)
		go func() {
			defer cancel()
			_ = app.SealAll(ctx)
		}()
	}
	return app.Run, nil
}

func (w *world) copierConfig(a *actor) copier.Config {
	d := w.configDice(a, "config")
	return copier.Config{
		JobsTopic: jobsTopic, Group: "sealift", Worker: a.name, Concurrency: pick(d, 3, 1), PerDestination: pick(d, 2, 1), LockTTL: pick(d, 6*time.Second, 2*time.Second, 20*time.Second),
		SpoolDir: w.dir, RetryTiers: []time.Duration{2 * time.Second, 5 * time.Second, 15 * time.Second}, ParkAfter: pick(d, time.Minute, 10*time.Second),
		WithoutRedis: w.withoutRedis, DrainTimeout: 5 * time.Second,
	}
}

func (w *world) newCopier(a *actor) (func(context.Context) error, error) {
	c, err := copier.New(w.copierConfig(a), copier.Deps{
		Kafka: copierKafka{kafkaClient{w.kafka, a}}, Leases: lease.New(w.redis.clientFor(w, a)), Staging: w.staging.clientFor(w, a),
		Catalog: w.customer.late, Log: w.logger(a),
		Open: func(t catalog.Target, _ func(context.Context) (objstore.Credentials, error)) objstore.Store {
			return w.buckets[t.BucketName].clientFor(w, a)
		},
	})
	if err != nil {
		return nil, err
	}
	return c.Run, nil
}

// newAuditor returns a worker that audits every half minute: either as the role does, or as an
// operator does, and then now and then from the first entry on.
func (w *world) newAuditor(a *actor) (func(context.Context) error, error) {
	cfg := auditor.Config{Topic: eventsTopic, Every: auditEvery, Grace: w.auditGrace, Retain: w.retain}
	deps := auditor.Deps{
		Staging: w.staging.clientFor(w, a), Jobs: producer{kafkaClient{w.kafka, a}, jobsTopic},
		Leases: lease.New(w.redis.clientFor(w, a)), Catalog: w.customer.late, Log: w.logger(a),
	}
	usual, err := auditor.New(cfg, deps)
	if err != nil {
		return nil, err
	}
	if w.scheduledAudits && a.number == 0 {
		return usual.Run, nil
	}
	cfg.Full, cfg.Force = true, w.forcedAudits
	full, err := auditor.New(cfg, deps)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		for n := a.life; ; n++ {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(auditEvery + time.Duration(a.number)*time.Second):
			}
			which := usual
			if n%2 == 0 {
				which = full
			}
			_, _ = which.Audit(ctx) // the next audit makes up for failures
		}
	}, nil
}

const auditEvery = 30 * time.Second

// kill ends a process without warning. Nothing that it still does matters, except for requests that
// are under way.
func (w *world) kill(a *actor) {
	w.mu.Lock()
	a.dead = true
	w.mu.Unlock()
	for _, o := range w.waiting {
		if o.actor == a {
			o.gone = true
		}
	}
	close(a.died)
	a.cancel()
}

// find returns the living processes of the role that are not stopping; paused selects those that
// are paused, or those that are not.
func (w *world) find(role string, paused bool) (found []*actor) {
	for _, a := range w.actors {
		if !a.dead && !a.stopping && (role == "" || a.role == role) && a.paused == paused {
			found = append(found, a)
		}
	}
	return found
}
