package simulation

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/sealift/sealift/pkg/stream"
	"github.com/sealift/sealift/workers/appender"
	"github.com/sealift/sealift/workers/copier"
)

// Topics of every run.
const (
	eventsTopic = "events"
	jobsTopic   = "jobs"
	deadTopic   = "dead"
)

// kafka is a Kafka in the world: logs, and groups that share them.
type kafka struct {
	w      *world
	topics map[string][]*partitionLog
	groups map[string]*group
	seqs   map[topicOffset]int // when each job was added
}

type topicOffset struct {
	topic     string
	partition int
	offset    int64
}

// partitionLog is one partition's log.
type partitionLog struct {
	start   int64 // records below are deleted
	records []stream.Record
}

func (l *partitionLog) end() int64 { return int64(len(l.records)) }

func newKafka(w *world) *kafka {
	return &kafka{w: w, topics: map[string][]*partitionLog{}, groups: map[string]*group{}, seqs: map[topicOffset]int{}}
}

func (k *kafka) create(topic string, partitions int) {
	for range partitions {
		k.topics[topic] = append(k.topics[topic], &partitionLog{})
	}
}

// append writes a record to the partition that its key determines.
func (k *kafka) append(topic string, r stream.Record) {
	h := fnv.New32a()
	_, _ = h.Write(r.Key)
	k.appendTo(topic, int(h.Sum32()%uint32(len(k.topics[topic]))), r)
}

func (k *kafka) appendTo(topic string, partition int, r stream.Record) {
	log := k.topics[topic][partition]
	r.Topic, r.Partition, r.Offset = topic, partition, log.end()
	if r.Time.IsZero() {
		r.Time = time.Now()
	}
	log.records = append(log.records, r)
	k.w.judge.job(topic, r.Value)
	k.seqs[topicOffset{topic, partition, r.Offset}] = k.w.judge.jobSeq
}

var errBroker = errors.New("broker not available")

// kafkaClient is Kafka as an actor accesses it.
type kafkaClient struct {
	k *kafka
	a *actor
}

// readWays are the ways in which reading a topic may go wrong.
func (k *kafka) readWays(topic string) []way {
	if topic == eventsTopic && k.w.staleLeaders {
		return []way{cut, stale}
	}
	return []way{cut}
}

// staleBy is how far a new leader is behind that does not know yet how much of its log is committed.
const staleBy = 5 * time.Second

// endAsOf returns the end of the log at an earlier time.
func (l *partitionLog) endAsOf(t time.Time) int64 {
	end := l.end()
	for end > l.start && l.records[end-1].Time.After(t) {
		end--
	}
	return end
}

// doUnlessStale does what effect does, or what a stale leader does.
func (c kafkaClient) doUnlessStale(ctx context.Context, o *op, effect, outdated func()) error {
	o.actor = c.a
	o.run = func(out way) {
		switch out {
		case well:
			effect()
		case stale:
			outdated()
		default:
			o.err = errBroker
		}
	}
	return c.k.w.do(ctx, o)
}

func (c kafkaClient) do(ctx context.Context, o *op, effect func()) error {
	o.actor = c.a
	o.run = func(out way) {
		if out == well || out == lost {
			effect()
		}
		if out != well {
			o.err = errBroker
		}
	}
	return c.k.w.do(ctx, o)
}

// Ping implements appender.Log and copier.Kafka.
func (c kafkaClient) Ping(ctx context.Context) error {
	return c.do(ctx, &op{kind: "kafka ping"}, func() {})
}

// Bounds implements appender.Log, rotator.Kafka and copier.Kafka.
func (c kafkaClient) Bounds(ctx context.Context, topic string, partitions ...int) (map[int]stream.Bounds, error) {
	bounds := map[int]stream.Bounds{}
	o := &op{kind: "bounds", key: topic, ways: c.k.readWays(topic)}
	err := c.doUnlessStale(ctx, o, func() {
		for p, l := range c.k.topics[topic] {
			bounds[p] = stream.Bounds{First: l.start, End: l.end()}
		}
	}, func() {
		for p, l := range c.k.topics[topic] {
			bounds[p] = stream.Bounds{First: l.start, End: l.endAsOf(time.Now().Add(-staleBy))}
		}
	})
	return bounds, err
}

// fetcher reads one partition for an actor.
type fetcher struct {
	c         kafkaClient
	topic     string
	partition int
	patient   bool // waits for records for as long as necessary
}

// Fetch implements appender.Fetcher and copier.Fetcher.
func (f fetcher) Fetch(ctx context.Context, offset int64, opts stream.FetchOptions) (out stream.Fetched, err error) {
	f.c.k.w.mu.Lock()
	log := f.c.k.topics[f.topic][f.partition]
	f.c.k.w.mu.Unlock()
	begun := time.Now()
	outside := func() bool { return offset < log.start || offset > log.end() }
	o := &op{kind: "fetch", key: fmt.Sprintf("%s/%d@%d", f.topic, f.partition, offset), ways: f.c.k.readWays(f.topic)}
	o.ready = func() bool {
		// While an appender writes dead letters it gets no records: otherwise the seed would not
		// decide which of the things that are ready afterwards it sees first.
		if f.c.k.w.isWaitingFor(f.c.a, "produce "+deadTopic) {
			return false
		}
		return offset < log.end() || outside() || !f.patient && time.Since(begun) >= opts.MaxWait
	}
	isOutside := false
	err = f.c.doUnlessStale(ctx, o, func() {
		if isOutside = outside(); isOutside {
			return
		}
		end := log.end()
		// A broker returns any part of what it has.
		if some := f.c.k.w.fetchAtMost; some > 0 {
			end = min(end, offset+int64(some))
		}
		out = stream.Fetched{Records: slices.Clone(log.records[offset:end]), Next: end, HighWatermark: log.end(), LogStart: log.start}
	}, func() {
		end := log.endAsOf(time.Now().Add(-staleBy))
		if isOutside = offset > end && f.c.k.w.step%2 == 0 || offset < log.start; isOutside {
			return
		}
		out = stream.Fetched{Next: offset, HighWatermark: end, LogStart: log.start}
		if offset < end {
			out.Records, out.Next = slices.Clone(log.records[offset:end]), end
		}
	})
	if err == nil && isOutside {
		err = stream.ErrOffsetOutOfRange
	}
	return out, err
}

// producer writes to one topic for an actor.
type producer struct {
	c     kafkaClient
	topic string
}

// Produce implements the roles' producers.
func (p producer) Produce(ctx context.Context, records ...stream.Record) error {
	o := &op{actor: p.c.a, kind: "produce " + p.topic, key: keysOf(records), ways: []way{cut, lost, partly, twice, ghost}}
	add := func(records []stream.Record) {
		for _, r := range records {
			p.c.k.append(p.topic, r)
		}
	}
	o.lateEffect = func() { add(records) }
	o.run = func(out way) {
		switch out {
		case well, lost, twice:
			add(records)
		case partly:
			add(records[:len(records)/2])
		}
		if out == ghost || out == twice {
			p.c.k.w.scheduleGhost(o.kind+" "+o.key, o.lateEffect)
		}
		if out != well && out != twice {
			o.err = errBroker
		}
	}
	return p.c.k.w.do(ctx, o)
}

// Close implements copier.Producer.
func (p producer) Close(context.Context) error { return nil }

func keysOf(records []stream.Record) string {
	if len(records) == 1 {
		return string(records[0].Key)
	}
	return strconv.Itoa(len(records)) + " from " + string(records[0].Key)
}

// appenderLog is Kafka with the interface that an appender needs.
type appenderLog struct{ kafkaClient }

// Fetcher implements appender.Log.
func (l appenderLog) Fetcher(topic string, partition int) appender.Fetcher {
	return fetcher{c: l.kafkaClient, topic: topic, partition: partition}
}

// copierKafka is Kafka with the interface that a copier needs.
type copierKafka struct{ kafkaClient }

// Fetcher implements copier.Kafka.
func (k copierKafka) Fetcher(topic string, partition int) copier.Fetcher {
	return fetcher{c: k.kafkaClient, topic: topic, partition: partition, patient: true}
}

// Producer implements copier.Kafka.
func (k copierKafka) Producer(topic string) copier.Producer {
	return producer{k.kafkaClient, topic}
}

// Join implements copier.Kafka.
func (k copierKafka) Join(cfg stream.GroupConfig) (copier.Membership, error) {
	return k.join(cfg.ID, cfg.Topics), nil
}

// rebalanceDue rebalances a group that needs it, sooner or later.
func (k *kafka) rebalanceDue(d *dice) bool {
	for _, name := range slices.Sorted(maps.Keys(k.groups)) {
		g := k.groups[name]
		if g.rebalanceNeeded() && (time.Since(g.changed) > 3*time.Second || k.w.calm || d.n(4) == 0) {
			g.rebalance(d)
			return true
		}
	}
	return false
}
