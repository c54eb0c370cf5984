package copier

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/job"
	"github.com/sealift/sealift/pkg/stream"
)

// Kafka gives access to the job topics; NewKafka returns the real one.
type Kafka interface {
	Join(cfg stream.GroupConfig) (Membership, error)
	Producer(topic string) Producer
	Fetcher(topic string, partition int) Fetcher
	Bounds(ctx context.Context, topic string, partitions ...int) (map[int]stream.Bounds, error)
	Ping(ctx context.Context) error
}

// Membership tells which partitions are ours; *stream.Group implements it.
type Membership interface {
	Next(ctx context.Context) (*stream.Generation, error)
	Close(ctx context.Context) error
}

// Producer writes records to one topic; *stream.Producer implements it.
type Producer interface {
	Produce(ctx context.Context, records ...stream.Record) error
	Close(ctx context.Context) error
}

// Fetcher reads one partition; *stream.Fetcher implements it.
type Fetcher interface {
	Fetch(ctx context.Context, offset int64, opts stream.FetchOptions) (stream.Fetched, error)
}

// NewKafka returns the job topics of the client's brokers.
func NewKafka(client *stream.Client) Kafka { return clientKafka{client} }

type clientKafka struct{ *stream.Client }

// Join implements Kafka.
func (k clientKafka) Join(cfg stream.GroupConfig) (Membership, error) { return k.Client.Join(cfg) }

// Producer implements Kafka.
func (k clientKafka) Producer(topic string) Producer {
	return k.NewProducer(stream.ProducerConfig{Topic: topic})
}

// Fetcher implements Kafka.
func (k clientKafka) Fetcher(topic string, partition int) Fetcher {
	return k.NewFetcher(topic, partition)
}

// jobs gives access to the job topics of a lane: the group membership, a reader for each assigned
// partition, a producer for each retry tier.
type jobs struct {
	cfg          Config
	kafka        Kafka
	log          *slog.Logger
	group        Membership
	producers    []Producer  // of the retry tiers
	gen          *generation // the current one
	onAssigned   func()      // called before reading partitions that others may have owned
	readWarnings stream.WarningLimiter
	lastWarning  time.Time // when a failing commit was last logged; zero: the last commit succeeded
}

// generation is one assignment of partitions, with the offsets read in it.
type generation struct {
	*stream.Generation
	mu        sync.Mutex // guards all below
	offsets   map[string]map[int]*offsets
	committed map[string]map[int]int64
}

func openJobs(cfg Config, kafka Kafka, log *slog.Logger) (*jobs, error) {
	j := &jobs{cfg: cfg, kafka: kafka, log: log, onAssigned: func() {}}
	var err error
	j.group, err = kafka.Join(stream.GroupConfig{
		ID: cfg.group(), Topics: cfg.laneTopics(), Worker: cfg.Worker, SessionTimeout: cfg.SessionTimeout,
	})
	if err != nil {
		return nil, err
	}
	for tier := range cfg.RetryTiers {
		j.producers = append(j.producers, kafka.Producer(cfg.retryTopic(tier)))
	}
	return j, nil
}

// read passes every record of the assigned partitions to take until ctx ends, in order within each
// partition. A take that blocks holds up only its partition.
func (j *jobs) read(ctx context.Context, onRecord func(context.Context, []byte, claim) error) error {
	for {
		next, err := j.group.Next(ctx)
		if err != nil {
			return err
		}
		j.gen = &generation{Generation: next, offsets: map[string]map[int]*offsets{}, committed: map[string]map[int]int64{}}
		j.onAssigned()
		j.readGeneration(ctx, j.gen, onRecord)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// commitInterval is how often offsets that have moved are committed. After a crash, the jobs
// finished since the last commit come again.
const commitInterval = time.Second

func (j *jobs) readGeneration(ctx context.Context, gen *generation, onRecord func(context.Context, []byte, claim) error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	delays := map[string]time.Duration{}
	for tier, d := range j.cfg.RetryTiers {
		delays[j.cfg.retryTopic(tier)] = d
	}
	var readers sync.WaitGroup
	n := 0
	for _, topic := range slices.Sorted(maps.Keys(gen.Assignments)) {
		assignments := gen.Assignments[topic]
		for _, a := range assignments {
			r := &reader{jobs: j, topic: topic, partition: a.Partition, delay: delays[topic], gen: gen, offsets: gen.track(topic, a.Partition, a.Committed), done: gen.Done(), onRecord: onRecord}
			readers.Go(func() { r.run(ctx, a.Committed) })
			n++
		}
	}
	j.log.InfoContext(ctx, "partitions assigned", "partitions", n, "generation", gen.ID)
	ticker := time.NewTicker(commitInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			j.warnUncommitted(ctx, gen, gen.commit(ctx))
			continue
		case <-gen.Done():
		case <-ctx.Done():
		}
		cancel()
		readers.Wait()
		return
	}
}

// track starts tracking a partition that is read from an offset (-1: not known), instead of
// whatever was tracked for it before. The first call in a generation also notes it as the committed
// offset.
func (g *generation) track(topic string, partition int, from int64) *offsets {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.offsets[topic] == nil {
		g.offsets[topic], g.committed[topic] = map[int]*offsets{}, map[int]int64{}
	}
	if g.offsets[topic][partition] == nil {
		g.committed[topic][partition] = from
	}
	g.offsets[topic][partition] = newOffsets(from)
	return g.offsets[topic][partition]
}

// commitWarningInterval is how often failing commits are logged.
const commitWarningInterval = time.Minute

// warnUncommitted logs a failed commit: the first in a row, and then one a minute.
func (j *jobs) warnUncommitted(ctx context.Context, gen *generation, err error) {
	if err == nil {
		j.lastWarning = time.Time{}
		return
	}
	select {
	case <-gen.Done():
		return // the next owner commits
	case <-ctx.Done():
		return
	default:
	}
	if time.Since(j.lastWarning) >= commitWarningInterval {
		j.lastWarning = time.Now()
		j.log.WarnContext(ctx, "offsets not committed", "group", j.cfg.group(), "generation", gen.ID, "err", err)
	}
}

// commitNote tells our commits from offsets that were set with Kafka's own tools. The embedded
// broker deletes records only below offsets that carry a note.
const commitNote = "sealift/1"

// commit commits the offsets that have changed. An offset goes back if its topic did; otherwise the
// next owner would start above the records that exist. Readers do not wait for it. Only one
// goroutine may call it at a time.
func (g *generation) commit(ctx context.Context) error {
	changed := g.uncommitted()
	var errs []error
	for _, topic := range slices.Sorted(maps.Keys(changed)) {
		if err := g.Commit(ctx, topic, changed[topic]); err != nil {
			errs = append(errs, err)
			continue
		}
		g.mu.Lock()
		for p, m := range changed[topic] {
			g.committed[topic][p] = m.Committed
		}
		g.mu.Unlock()
	}
	return errors.Join(errs...)
}

// uncommitted returns the offsets that are not committed yet, by topic.
func (g *generation) uncommitted() map[string]map[int]stream.Mark {
	g.mu.Lock()
	defer g.mu.Unlock()
	changed := map[string]map[int]stream.Mark{}
	for topic, partitions := range g.offsets {
		for p, o := range partitions {
			if n := o.committable(); n >= 0 && n != g.committed[topic][p] {
				if changed[topic] == nil {
					changed[topic] = map[int]stream.Mark{}
				}
				changed[topic][p] = stream.Mark{Committed: n, Note: commitNote}
			}
		}
	}
	return changed
}

// closeTimeout bounds close if brokers are away.
const closeTimeout = 10 * time.Second

// close commits what is finished and leaves the group.
func (j *jobs) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	var errs []error
	if j.gen != nil {
		if err := j.gen.commit(ctx); err != nil {
			j.log.DebugContext(ctx, "offsets not committed", "err", err) // the next owner repeats some jobs
		}
	}
	errs = append(errs, j.group.Close(ctx))
	for _, p := range j.producers {
		errs = append(errs, p.Close(ctx))
	}
	return errors.Join(errs...)
}

// requeue implements queue.
func (j *jobs) requeue(ctx context.Context, tier int, failed delivery.Job) error {
	return j.producers[tier].Produce(ctx, job.Record(failed))
}
