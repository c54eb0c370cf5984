// Package appender is the role that reads the partitions of the events topic assigned to it and
// appends every record to the open file of its stream. It decides when a file is complete and hands
// it to the rotator. The ledger is the truth: everything that the appender holds can be lost and
// read again, as long as the log still has it. After a restart it continues from its last
// checkpoint, unless another worker has owned the partition in the meantime.
//
// Along one chain of entries, it guarantees that a record is in at most one of the files that it
// hands over, that these are in offset order, and that no record is dropped silently: a record that
// fits no file goes to the dead letters. It does not stage or deliver files, and does not decide
// where reading starts.
package appender

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/sealift/sealift/pkg/deadletter"
	"github.com/sealift/sealift/pkg/dedup"
	"github.com/sealift/sealift/pkg/jitter"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/route"
	"github.com/sealift/sealift/pkg/segment"
	"github.com/sealift/sealift/pkg/sleep"
	"github.com/sealift/sealift/pkg/stream"
)

// Config configures an appender. A zero value means the default of pkg/config, unless the field
// says otherwise.
type Config struct {
	Topic        string
	Incarnation  string
	DataDir      string // worker name, lock and spools; for this process only
	SourceFrom   string // header, key or json:PATH
	ReceivedFrom string // header, record or json:PATH
	RollEvery    time.Duration
	Grace        time.Duration // how long to wait for stragglers after a roll; negative: not at all
	MaxBytes     int64         // of an object
	Memory       int64         // bytes that open files may hold
	DiskFree     int64         // reading pauses below this much free disk; less than four fifths of the disk; 0: never
	Level        int           // of gzip; 0: pkg/segment's default
	DedupWindow  time.Duration // copies of a message are dropped for this long after its receipt; 0: never
	DedupMemory  int64         // bytes of memory for remembering messages
	SealOnStop   bool          // seal and write open files when the worker stops
	DrainTimeout time.Duration // bound on stopping; default 20s
	// MaxWaiting is how many sealed files, of all partitions together, may wait for the staging
	// bucket before the partitions that have some of them stop reading; default 150,000.
	MaxWaiting int64
}

// Rotator turns sealed files into entries of the ledger.
type Rotator interface {
	// Acquire takes a partition over and returns the head that reading starts from. It does not
	// retry after an error; the appender does.
	Acquire(ctx context.Context, log ledger.Log, tenure ledger.Tenure) (*ledger.Entry, error)
	// Rotate stages the batch's files and writes the entry after base. It retries until the outcome
	// is known or ctx ends. After any error the caller's state is void.
	Rotate(ctx context.Context, base *ledger.Entry, batch *segment.Batch, tenure ledger.Tenure) (*ledger.Entry, error)
	// Entry returns entry seq of the partition's ledger, or ledger.ErrNotFound, with one request.
	Entry(ctx context.Context, log ledger.Log, seq int64) (*ledger.Entry, error)
}

// Fetcher reads one partition; *stream.Fetcher is one.
type Fetcher interface {
	Fetch(ctx context.Context, offset int64, opts stream.FetchOptions) (stream.Fetched, error)
}

// Log is the events topic.
type Log interface {
	Fetcher(topic string, partition int) Fetcher
	// Bounds returns the bounds of the partitions, or of all partitions if none is named. With an
	// error, it returns those that could be determined.
	Bounds(ctx context.Context, topic string, partitions ...int) (map[int]stream.Bounds, error)
	Ping(ctx context.Context) error
}

// Membership says which partitions are ours.
type Membership interface {
	Next(ctx context.Context) (*stream.Generation, error)
	Close(ctx context.Context) error
}

// Deps are the dependencies of an appender.
type Deps struct {
	Log         Log
	Join        func(worker string) (Membership, error)
	DeadLetters deadletter.Producer // for records that fit no file
	Rotator     Rotator
	Logger      *slog.Logger
	Metrics     prometheus.Registerer
}

// Appender is the role. Create it with New and call Run once.
type Appender struct {
	cfg         Config
	deps        Deps
	router      *route.Router
	routerRule  string // that router implements
	budget      *segment.Budget
	dedupBudget *dedup.Budget // memory for remembering messages; nil: duplicates are not removed
	pressure    *pressure
	disk        *disk
	metrics     *metrics
	stopping    atomic.Bool

	fetchFails stream.WarningLimiter

	leftovers map[ledger.Log]*leftover // local files of partitions that are not ours; used only by the goroutine of watchLeftovers

	assignMu    sync.Mutex // held while partitions start and stop; guards assignments
	assignments int        // counts calls of assign

	mu             sync.Mutex // guards all below
	partitions     map[int]*runningPartition
	pendingForgets map[int]*pendingForget // by partition; the partition's goroutine owns the value
}

// New checks the configuration; it does not touch the disk or the network.
func New(cfg Config, deps Deps) (*Appender, error) {
	cfg.Topic = cmp.Or(cfg.Topic, "sealift.events")
	cfg.Incarnation = cmp.Or(cfg.Incarnation, "1")
	cfg.SourceFrom = cmp.Or(cfg.SourceFrom, "header")
	cfg.ReceivedFrom = cmp.Or(cfg.ReceivedFrom, "header")
	cfg.RollEvery = cmp.Or(cfg.RollEvery, time.Hour)
	cfg.Grace = max(0, min(cmp.Or(cfg.Grace, 10*time.Second), cfg.RollEvery))
	cfg.MaxBytes = cmp.Or(cfg.MaxBytes, 100_000_000)
	cfg.Memory = cmp.Or(cfg.Memory, 512<<20)
	cfg.DrainTimeout = cmp.Or(cfg.DrainTimeout, 20*time.Second)
	cfg.DedupMemory = cmp.Or(cfg.DedupMemory, dedup.DefaultMemory)
	cfg.MaxWaiting = cmp.Or(cfg.MaxWaiting, 150_000)
	switch {
	case cfg.DataDir == "":
		return nil, errors.New("appender.data_dir is not set")
	case cfg.RollEvery < time.Second || cfg.RollEvery > time.Hour || time.Hour%cfg.RollEvery != 0:
		return nil, fmt.Errorf("appender.roll_every %s: use 1s to 1h, dividing an hour", cfg.RollEvery)
	case cfg.MaxBytes < segment.MinMaxBytes:
		return nil, fmt.Errorf("appender.max_bytes %d: use at least %d", cfg.MaxBytes, segment.MinMaxBytes)
	}
	router, err := route.New(cfg.SourceFrom, cfg.ReceivedFrom)
	if err != nil {
		return nil, err
	}
	a := &Appender{
		cfg: cfg, deps: deps, router: router, routerRule: ledger.RouterRule(cfg.SourceFrom, cfg.ReceivedFrom),
		budget:   segment.NewBudget(cfg.Memory),
		pressure: newPressure(cfg.DataDir, cfg.DiskFree, cfg.MaxWaiting), disk: newDisk(),
		partitions: map[int]*runningPartition{}, pendingForgets: map[int]*pendingForget{}, leftovers: map[ledger.Log]*leftover{},
	}
	if cfg.DedupWindow > 0 {
		a.dedupBudget = dedup.NewBudget(cfg.DedupMemory)
	}
	a.metrics = newMetrics(deps.Metrics, a)
	return a, nil
}

// Run reads the partitions that the group assigns until ctx ends. Then it finishes the entries in
// flight, leaves the group and returns nil. It returns an error if the data directory cannot be
// used at the start, or later for two minutes, or if its disk is too small for DiskFree.
func (a *Appender) Run(ctx context.Context) error {
	dir, err := openDataDir(a.cfg.DataDir, a.cfg.Topic, a.cfg.Incarnation)
	if err != nil {
		return err
	}
	defer dir.close()
	if err := a.pressure.checkSize(ctx, a.deps.Logger); err != nil {
		return err
	}
	membership, err := a.deps.Join(dir.worker)
	if err != nil {
		return err
	}
	// Partitions outlive ctx until they are drained.
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error { a.pressure.watch(gctx, a.deps.Logger); return nil })
	group.Go(func() error { a.watchBounds(gctx); return nil })
	group.Go(func() error { a.watchLeftovers(gctx, dir.worker); return nil })
	group.Go(func() error {
		select {
		case <-gctx.Done():
			return nil
		case err := <-a.disk.broken:
			return err
		}
	})
	group.Go(func() error {
		for {
			gen, err := membership.Next(gctx)
			if err != nil {
				return err
			}
			a.assign(work, dir.worker, gen)
		}
	})
	err = group.Wait()
	a.stopping.Store(true)
	a.assign(work, dir.worker, nil) // stops all partitions and waits for them
	leaveCtx, done := context.WithTimeout(work, leaveTimeout)
	defer done()
	cerr := membership.Close(leaveCtx)
	if ctx.Err() != nil {
		return nil
	}
	return errors.Join(err, cerr)
}

// leaveTimeout limits how long leaving the group may take when no broker answers.
const leaveTimeout = 10 * time.Second

// SealAll returns when every record that the logs of the assigned partitions held at the time of
// the call is in the ledger. It seals all open files, whatever their age.
func (a *Appender) SealAll(ctx context.Context) error {
	a.mu.Lock()
	var all []*runningPartition
	for _, n := range slices.Sorted(maps.Keys(a.partitions)) {
		all = append(all, a.partitions[n])
	}
	a.mu.Unlock()
	group, ctx := errgroup.WithContext(ctx)
	for _, r := range all {
		group.Go(func() error {
			done := make(chan error, 1)
			select {
			case r.requests <- request{reason: segment.ReasonRequest, done: done}:
			case <-ctx.Done():
				return ctx.Err()
			case <-r.done:
				return fmt.Errorf("seal partition %d: it is not ours any more", r.log.Partition)
			}
			select {
			case err := <-done:
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}
	return group.Wait()
}

// Partitions returns the numbers of the partitions that are assigned now.
func (a *Appender) Partitions() []int {
	a.mu.Lock()
	defer a.mu.Unlock()
	var ns []int
	for n := range a.partitions {
		ns = append(ns, n)
	}
	slices.Sort(ns)
	return ns
}

// RecordsForTesting returns how many records were read since New, including those read again.
func (a *Appender) RecordsForTesting() int64 { return a.metrics.read.Load() }

// HeldForTesting returns how many bytes open files hold in memory.
func (a *Appender) HeldForTesting() int64 { return a.budget.Used() }

// SetMaxBytesForTesting makes objects full at this size, however small. It must be called before
// Run.
func (a *Appender) SetMaxBytesForTesting(n int64) { a.cfg.MaxBytes = n }

// SetDiskForTesting makes the disk appear to have this many bytes free, of size. It must be called
// before Run.
func (a *Appender) SetDiskForTesting(free, size int64) {
	a.pressure.space = func() (diskSpace, error) { return diskSpace{free: free, size: size}, nil }
}

// Ready returns nil if Kafka answers and no partition is in trouble.
func (a *Appender) Ready(ctx context.Context) error {
	if err := a.deps.Log.Ping(ctx); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var errs []error
	for n, r := range a.partitions {
		if err := r.view.trouble(); err != nil {
			errs = append(errs, fmt.Errorf("partition %d: %w", n, err))
		}
	}
	return errors.Join(errs...)
}

func (a *Appender) coreConfig(partition int) coreConfig {
	return coreConfig{
		rollEvery: a.cfg.RollEvery,
		grace:     a.cfg.Grace,
		jitter:    min(5*time.Minute, a.cfg.RollEvery/20),
		maxFiles:  1000,
		maxRuns:   50_000, // about 5 MB of a checkpoint, and 6 MB of memory
		partition: partition,
	}
}

// tickInterval is how often the loop checks what depends on time.
func (a *Appender) tickInterval() time.Duration {
	return max(min(time.Second, a.cfg.RollEvery/20), 50*time.Millisecond)
}

// pollInterval is how long a fetch waits at the log's end, and so how outdated the known end may
// be.
func (a *Appender) pollInterval() time.Duration { return 2 * a.tickInterval() }

// bounds returns the bounds of the partition's log.
func (a *Appender) bounds(ctx context.Context, log ledger.Log) (stream.Bounds, error) {
	return stream.BoundsOf(ctx, a.deps.Log, log.Topic, log.Partition)
}

// watchBounds keeps the bounds in the views up to date until ctx ends, also while nothing is read:
// lag is measured against what the log holds, not against what was fetched.
func (a *Appender) watchBounds(ctx context.Context) {
	every := 5 * a.tickInterval()
	for {
		if sleep.For(ctx, every/2+jitter.N(every)) != nil {
			return
		}
		boundsCtx, cancel := context.WithTimeout(ctx, 10*time.Second)
		a.mu.Lock()
		ours := slices.Collect(maps.Keys(a.partitions))
		a.mu.Unlock()
		var all map[int]stream.Bounds
		if len(ours) > 0 { // no partition named would mean all
			all, _ = a.deps.Log.Bounds(boundsCtx, a.cfg.Topic, ours...) // errors are ignored: reading hits the same problem and reports it
		}
		cancel()
		a.mu.Lock()
		for n, r := range a.partitions {
			if b, ok := all[n]; ok {
				r.view.noteBounds(b)
			}
		}
		a.mu.Unlock()
	}
}
