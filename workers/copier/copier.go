// Package copier is the role that delivers sealed files from staging to the buckets that they are
// owed to, once each. It reads copy jobs, checks them against the ledger, puts the object, and
// writes the receipt.
//
// It promises that a receipt is written only after the destination's store has said that the object
// is there (I9), that a job is acknowledged only after its receipt was written or it was enqueued
// again (I12), and that nothing is dropped: what cannot be delivered is parked, where people see
// it. A destination that fails, hangs or is slow does not delay any other. The copier does not
// decide what is owed; the ledger does. Redis only saves it work; correctness does not depend on
// it.
package copier

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/destination"
	"github.com/sealift/sealift/pkg/lease"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/meter"
	"github.com/sealift/sealift/pkg/objstore"
)

// Config sizes a copier. Zero values take the defaults of pkg/config.
type Config struct {
	JobsTopic string
	Group     string // consumer group of the appenders; copiers' groups are derived from it, see ConsumerGroups
	Worker    string // stable name of this process, unique in the group
	// Concurrency is how many copies run at once. Together with copies in which nothing moves and
	// copies to suspects there are at most three times as many. A copy whose object is stored no
	// longer counts.
	Concurrency    int
	PerDestination int // copies at once to one destination
	LockTTL        time.Duration
	SpoolDir       string // directory for files being copied; default: the system's temporary directory
	RetryTiers     []time.Duration
	ParkAfter      time.Duration
	SessionTimeout time.Duration // of the consumer group
	WithoutRedis   bool          // continue while Redis is away, instead of waiting
	DrainTimeout   time.Duration // bound on finishing running copies at a stop; default 20s
	// ReplayConcurrency is how many copies for replays run at once, beside the others; default 2,
	// negative: none.
	ReplayConcurrency int

	replays bool // see forReplays
}

// Topics returns the topics that copiers read: the jobs, their retry tiers "{JobsTopic}.retry-{n}"
// with n from 1, and the same for replays. They must exist before Run.
func (c Config) Topics() []string { return append(c.laneTopics(), c.forReplays().laneTopics()...) }

// ConsumerGroups returns the groups in which copiers share those topics: one for jobs and one for
// replays.
func (c Config) ConsumerGroups() []string { return []string{c.group(), c.forReplays().group()} }

// ReplayTopic returns the topic of the replays' jobs.
func (c Config) ReplayTopic() string { return c.forReplays().JobsTopic }

func (c Config) laneTopics() []string {
	c = c.withDefaults()
	topics := []string{c.JobsTopic}
	for i := range c.RetryTiers {
		topics = append(topics, c.retryTopic(i))
	}
	return topics
}

func (c Config) group() string {
	if c.replays {
		return c.withDefaults().Group + "-copier-replay"
	}
	return c.withDefaults().Group + "-copier"
}

func (c Config) retryTopic(tier int) string { return fmt.Sprintf("%s.retry-%d", c.JobsTopic, tier+1) }

func (c Config) withDefaults() Config {
	c.JobsTopic = cmp.Or(c.JobsTopic, "sealift.copy-jobs")
	c.Group = cmp.Or(c.Group, "sealift")
	c.Concurrency = cmp.Or(c.Concurrency, 16)
	c.PerDestination = cmp.Or(c.PerDestination, 4)
	c.LockTTL = cmp.Or(c.LockTTL, 2*time.Minute)
	c.SpoolDir = cmp.Or(c.SpoolDir, os.TempDir())
	c.ParkAfter = cmp.Or(c.ParkAfter, 24*time.Hour)
	c.DrainTimeout = cmp.Or(c.DrainTimeout, 20*time.Second)
	c.ReplayConcurrency = cmp.Or(c.ReplayConcurrency, 2)
	if len(c.RetryTiers) == 0 {
		c.RetryTiers = []time.Duration{time.Minute, 10 * time.Minute, time.Hour}
	}
	return c
}

// Deps are what a copier works with.
type Deps struct {
	Kafka   Kafka
	Leases  *lease.Client
	Staging objstore.Store
	Roles   destination.Roles
	// Catalog must have been read to its end before Run.
	Catalog *catalog.Live
	Open    destination.Open
	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// Copier is the role. Create it with New and call Run once.
type Copier struct {
	*shared
	cfg     Config
	entries *ledger.Cache
	metrics *metrics
	gate    *gate

	// What a try does, and what is done with a job that is given up. They differ between the lane
	// of the ledger's jobs and the lane of replays (lane.go).
	attemptOnce func(context.Context, attempt) error
	setAside    func(context.Context, delivery.Job, destination.Verdict) error
}

// maxCachedFiles is how many files of ledger entries are cached, some 60 MB. It suffices for the
// files that 100,000 sources seal at the turn of an hour: each copier gets jobs of all their
// entries.
const maxCachedFiles = 100_000

// New checks the configuration; it does not connect.
func New(cfg Config, deps Deps) (*Copier, error) {
	cfg = cfg.withDefaults()
	switch {
	case cfg.Concurrency < 1 || cfg.PerDestination < 1:
		return nil, errors.New("copier.concurrency and copier.per_destination must be at least 1")
	case cfg.LockTTL < 100*time.Millisecond:
		return nil, fmt.Errorf("copier.lock_ttl %s: use at least 100ms", cfg.LockTTL)
	case slices.Min(cfg.RetryTiers) <= 0 || !slices.IsSorted(cfg.RetryTiers):
		return nil, fmt.Errorf("copier.retry_tiers %v: use times above 0 that grow", cfg.RetryTiers)
	}
	m := newMetrics(deps.Metrics, "")
	deps.Staging = meter.CountingStore(deps.Staging)
	both := &shared{deps: deps, replayMetrics: newMetrics(deps.Metrics, "replay_"),
		receipts:  newReceipts(deps.Staging),
		packs:     newPacks(deps.Staging),
		customers: destination.NewPutter(destination.Config{Roles: deps.Roles, Open: deps.Open}),
		book:      meter.NewBook(deps.Staging, cfg.Worker, deps.Log),
		redis:     &dependency{"redis", deps.Leases.Ping},
		staging: &dependency{"the staging bucket", func(ctx context.Context) error {
			_, err := deps.Staging.Head(ctx, "ledger/") // a working store answers that there is no such object
			if errors.Is(err, objstore.ErrNotFound) {
				return nil
			}
			return err
		}},
	}
	c := &Copier{shared: both, cfg: cfg, metrics: m,
		entries: newEntries(deps.Staging, maxCachedFiles),
		gate:    newGate(deps.Log, m.waiting),
	}
	c.attemptOnce, c.setAside = c.try, c.park
	return c, nil
}

// newEngine returns an engine that puts jobs to be retried into q.
func (c *Copier) newEngine(q queue) *engine {
	return &engine{
		try: c.tryThroughOutages, park: c.setAside, onBreakerOpen: c.recordBreakerOpen, queue: q, metrics: c.metrics, log: c.deps.Log, minBackoff: 100 * time.Millisecond,
		capacity: semaphore.NewWeighted(maxTasks), tasks: map[taskKey]*task{},
		sched: newScheduler(limits{
			concurrency: c.cfg.Concurrency, perDestination: c.cfg.PerDestination, maxStored: maxStored,
			maxWaiting: maxBacklog, maxWaitingSuspects: maxSuspectBacklog,
			maxParking:     64, // PUTs to staging at once, if a whole redrive fails again
			breakTransient: 5,  // a store that only throttles accepts some PUTs in between
			breakPermanent: 2,  // a store that refuses twice does so until somebody changes something
			cooldown:       10 * time.Second,
			maxCooldown:    5 * time.Minute, // the longest that a destination waits after it was repaired
		}, retryPolicy{tiers: c.cfg.RetryTiers, parkAfter: c.cfg.ParkAfter}),
	}
}

// Run copies until ctx ends. Then it takes no more jobs, finishes the running copies within
// DrainTimeout, commits, leaves the group and returns nil.
func (c *Copier) Run(ctx context.Context) error {
	if err := os.MkdirAll(c.cfg.SpoolDir, 0o700); err != nil {
		return fmt.Errorf("prepare copier.spool_dir: %w", err)
	}
	defer c.startBook()()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.run(ctx) })
	if c.cfg.ReplayConcurrency > 0 {
		group.Go(func() error { return c.replayLane().run(ctx) })
	}
	return group.Wait()
}

// run copies for the jobs of one lane.
func (c *Copier) run(ctx context.Context) error {
	source, err := openJobs(c.cfg, c.deps.Kafka, c.deps.Log)
	if err != nil {
		return err
	}
	source.onAssigned = c.receipts.invalidate
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	engine := c.newEngine(c.retryQueue(source))
	reading, stopReading := context.WithCancel(ctx)
	defer stopReading()
	engine.work.Go(func() { engine.forgetIdle(reading) })
	err = source.read(ctx, func(ctx context.Context, value []byte, cl claim) error {
		return c.submitRecord(ctx, work, engine, value, cl)
	})
	stopReading()

	drained := make(chan struct{})
	go func() { engine.drain(); close(drained) }()
	select {
	case <-drained:
	case <-time.After(c.cfg.DrainTimeout):
		c.deps.Log.WarnContext(ctx, "copies cut short", "after", c.cfg.DrainTimeout)
	}
	cancel()
	<-drained
	c.gate.probes.Wait()
	cerr := source.close(context.WithoutCancel(ctx))
	if ctx.Err() != nil {
		return nil
	}
	return errors.Join(err, cerr)
}

// submitRecord hands a record of a job topic to the engine once no dependency is away.
func (c *Copier) submitRecord(ctx, work context.Context, e *engine, value []byte, cl claim) error {
	job, err := delivery.DecodeJob(value)
	if err != nil {
		c.metrics.malformed.Inc()
		c.deps.Log.WarnContext(ctx, "record is no copy job", "err", err)
		cl.acknowledge()
		return nil
	}
	if err := c.gate.wait(ctx); err != nil {
		return err
	}
	return e.submit(ctx, work, job, cl)
}

// tryThroughOutages tries the job until its own outcome is known, not just that a dependency was
// away.
func (c *Copier) tryThroughOutages(ctx context.Context, job attempt) outcome {
	o := outcomeOf(c.repeatThroughOutages(ctx, func() error { return c.attemptOnce(ctx, job) }))
	switch {
	case o.kind != outcomeFailed:
		return o
	case ctx.Err() != nil:
		return outcome{kind: outcomeDropped}
	}
	c.recordFailure(job.Destination, o.verdict)
	c.metrics.failures.WithLabelValues(job.Destination, o.verdict.Reason).Inc()
	c.deps.Log.WarnContext(ctx, "delivery failed", "destination", job.Destination, "file", job.File.String(),
		"attempt", job.Attempt, "reason", o.verdict.Reason, "cause", o.verdict.Cause, "fix", o.verdict.Fix.String())
	return o
}

// maxWaits limits how often something is repeated because a dependency was away. A dependency that
// answers pings and nothing else must not block a job forever.
const maxWaits = 10

// repeatThroughOutages runs op, and repeats it whenever a dependency was away and is back.
func (c *Copier) repeatThroughOutages(ctx context.Context, op func() error) error {
	for waits := 0; ; waits++ {
		err := op()
		var a *awayError
		if !errors.As(err, &a) || ctx.Err() != nil || waits == maxWaits {
			return err
		}
		c.gate.close(ctx, a)
		if c.gate.wait(ctx) != nil {
			return err
		}
	}
}

// Ready returns nil if Kafka, Redis and the staging bucket answer.
func (c *Copier) Ready(ctx context.Context) error {
	errs := []error{c.gate.err(), c.deps.Kafka.Ping(ctx), c.staging.ping(ctx)}
	if !c.cfg.WithoutRedis {
		errs = append(errs, c.redis.ping(ctx))
	}
	return errors.Join(errs...)
}
