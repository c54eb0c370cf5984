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

// Kafka is where the job topics are; OnKafka gives the real one.
type Kafka interface {
	Join(cfg stream.GroupConfig) (Membership, error)
	Producer(topic string) Producer
	Fetcher(topic string, partition int) Fetcher
	Bounds(ctx context.Context, topic string, partitions ...int) (map[int]stream.Bounds, error)
	Ping(ctx context.Context) error
}

// Membership says which partitions are ours; *stream.Group is one.
type Membership interface {
	Next(ctx context.Context) (*stream.Generation, error)
	Close(ctx context.Context) error
}

// Producer writes records to one topic; *stream.Producer is one.
type Producer interface {
	Produce(ctx context.Context, records ...stream.Record) error
	Close(ctx context.Context) error
}

// Fetcher reads one partition; *stream.Fetcher is one.
type Fetcher interface {
	Fetch(ctx context.Context, offset int64, opts stream.FetchOptions) (stream.Fetched, error)
}

// OnKafka returns the job topics of the client's brokers.
func OnKafka(client *stream.Client) Kafka { return onKafka{client} }

type onKafka struct{ *stream.Client }

// Join implements Kafka.
func (k onKafka) Join(cfg stream.GroupConfig) (Membership, error) { return k.Client.Join(cfg) }

// Producer implements Kafka.
func (k onKafka) Producer(topic string) Producer {
	return k.NewProducer(stream.ProducerConfig{Topic: topic})
}

// Fetcher implements Kafka.
func (k onKafka) Fetcher(topic string, partition int) Fetcher { return k.NewFetcher(topic, partition) }

// jobs are the job topics in Kafka: the membership in the group, a reader per
// assigned partition, a producer per retry tier.
type jobs struct {
	cfg       Config
	kafka     Kafka
	log       *slog.Logger
	group     Membership
	producers []Producer  // of the retry tiers
	gen       *generation // the last one
	assigned  func()      // called before partitions are read that may have been others'
	readFails stream.Sparse
	warned    time.Time // when it was last said that commits fail; zero: the last one did not
}

// generation is one division of the partitions, with what was read in it.
type generation struct {
	*stream.Generation
	mu        sync.Mutex // guards all below
	positions map[string]map[int]*offsets
	committed map[string]map[int]int64
}

func openJobs(cfg Config, kafka Kafka, log *slog.Logger) (*jobs, error) {
	j := &jobs{cfg: cfg, kafka: kafka, log: log, assigned: func() {}}
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

// read hands every record of the assigned partitions to take, in order for
// each partition, until ctx ends. Take blocks its partition only.
func (j *jobs) read(ctx context.Context, take func(context.Context, []byte, claim) error) error {
	for {
		next, err := j.group.Next(ctx)
		if err != nil {
			return err
		}
		j.gen = &generation{Generation: next, positions: map[string]map[int]*offsets{}, committed: map[string]map[int]int64{}}
		j.assigned()
		j.readGeneration(ctx, j.gen, take)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// commitEvery is how often offsets are committed, where they moved: for so long
// jobs that are over may come again after a crash.
const commitEvery = time.Second

func (j *jobs) readGeneration(ctx context.Context, gen *generation, take func(context.Context, []byte, claim) error) {
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
			r := &reader{jobs: j, topic: topic, partition: a.Partition, delay: delays[topic], gen: gen, offsets: gen.follow(topic, a.Partition, a.Committed), done: gen.Done(), take: take}
			readers.Go(func() { r.run(ctx, a.Committed) })
			n++
		}
	}
	j.log.InfoContext(ctx, "partitions assigned", "partitions", n, "generation", gen.ID)
	ticker := time.NewTicker(commitEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			j.sayUncommitted(ctx, gen, gen.commit(ctx))
			continue
		case <-gen.Done():
		case <-ctx.Done():
		}
		cancel()
		readers.Wait()
		return
	}
}

// follow returns the offsets that are committed of a partition from now on, which
// is read from at, or -1 if that is not known. The first call says what is committed.
func (g *generation) follow(topic string, partition int, at int64) *offsets {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.positions[topic] == nil {
		g.positions[topic], g.committed[topic] = map[int]*offsets{}, map[int]int64{}
	}
	if g.positions[topic][partition] == nil {
		g.committed[topic][partition] = at
	}
	g.positions[topic][partition] = newOffsets(at)
	return g.positions[topic][partition]
}

// uncommittedEvery is how often it is said that commits fail.
const uncommittedEvery = time.Minute

// sayUncommitted says how a commit failed, if it did: at the first time in a
// row, and then every minute.
func (j *jobs) sayUncommitted(ctx context.Context, gen *generation, err error) {
	if err == nil {
		j.warned = time.Time{}
		return
	}
	select {
	case <-gen.Done():
		return // others commit now
	case <-ctx.Done():
		return
	default:
	}
	if time.Since(j.warned) >= uncommittedEvery {
		j.warned = time.Now()
		j.log.WarnContext(ctx, "offsets not committed", "group", j.cfg.group(), "generation", gen.ID, "err", err)
	}
}

// commitNote tells a commit of ours from what Kafka's own tools set: the
// embedded broker deletes nothing on their word.
const commitNote = "sealift/1"

// commit records how far the jobs are over, where that changed. It goes back
// where the topic did: who comes next would else begin above what is there. No
// reader waits for it; only one goroutine calls it at a time.
func (g *generation) commit(ctx context.Context) error {
	changed := g.changed()
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

// changed returns how far the jobs are over where that is not committed, by topic.
func (g *generation) changed() map[string]map[int]stream.Mark {
	g.mu.Lock()
	defer g.mu.Unlock()
	changed := map[string]map[int]stream.Mark{}
	for topic, partitions := range g.positions {
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

// closeWithin bounds close, when brokers are away.
const closeWithin = 10 * time.Second

// close commits what is over and leaves the group.
func (j *jobs) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, closeWithin)
	defer cancel()
	var errs []error
	if j.gen != nil {
		if err := j.gen.commit(ctx); err != nil {
			j.log.DebugContext(ctx, "offsets not committed", "err", err) // the next owner repeats some
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
