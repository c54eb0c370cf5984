package e2e

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/embedded"
	"github.com/sealift/sealift/pkg/gziptest"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/objstore/objstoretest"
	"github.com/sealift/sealift/pkg/stream"
	"github.com/sealift/sealift/workers/appender"
	"github.com/sealift/sealift/workers/rotator"
)

// pipeline is a broker and a staging bucket, for appenders in this process.
type pipeline struct {
	t       *testing.T
	client  *stream.Client
	staging *objstore.Memory
	gate    chan struct{} // if not nil, files are not staged until it is closed
	owed    func(source string) []string
	brokers []string
	topic   string // the events topic; the other names begin with it, except for the embedded broker
	jobs    string
	dead    string
	session time.Duration            // session timeout of the group
	prepare func(*appender.Appender) // called before a worker runs; may be nil
}

const pipelinePartitions = 6

func newPipeline(t *testing.T) *pipeline {
	t.Helper()
	broker, err := embedded.StartKafka(embedded.KafkaConfig{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { broker.Close() })
	return newPipelineOn(t, &pipeline{brokers: []string{broker.Addr()}, topic: "events", jobs: "jobs", dead: "dead", session: 2 * time.Second})
}

// newPipelineOn completes p with a client, a staging bucket and topics.
func newPipelineOn(t *testing.T, p *pipeline) *pipeline {
	t.Helper()
	client, err := stream.Open(stream.Config{Brokers: p.brokers}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { client.Close() })
	p.t, p.client, p.staging = t, client, objstore.NewMemory("staging")
	p.owed = func(string) []string { return []string{"ws/bucket"} }
	require.NoError(t, client.EnsureTopics(t.Context(), true,
		stream.Topic{Name: p.topic, Partitions: pipelinePartitions}, stream.Topic{Name: p.jobs, Partitions: 2}, stream.Topic{Name: p.dead, Partitions: 1}))
	return p
}

// produce writes n records over that many sources, with ids from..from+n-1.
func (p *pipeline) produce(from, n, sources int) {
	p.t.Helper()
	producer := p.client.NewProducer(stream.ProducerConfig{Topic: p.topic})
	defer producer.Close(context.Background())
	now := time.Now().UnixMilli()
	var records []stream.Record
	for id := from; id < from+n; id++ {
		source := fmt.Sprintf("source%d", id%sources)
		records = append(records, record(source, strconv.FormatInt(now, 10), fmt.Sprintf(`{"messageId":"%d"}`, id)))
	}
	require.NoError(p.t, producer.Produce(p.t.Context(), records...))
}

func record(source, received, value string) stream.Record {
	return stream.Record{Key: []byte(source), Value: []byte(value), Headers: []stream.Header{
		{Key: "sealift-source", Value: []byte(source)}, {Key: "sealift-received", Value: []byte(received)},
	}}
}

// worker is an appender with its rotator.
type worker struct {
	*appender.Appender
	metrics *prometheus.Registry
	cancel  context.CancelFunc
	done    chan error
}

func (p *pipeline) start(cfg appender.Config) *worker {
	p.t.Helper()
	log := slog.New(slog.DiscardHandler)
	cluster, err := p.client.ClusterID(p.t.Context())
	require.NoError(p.t, err)
	gated := objstoretest.Before{Store: p.staging, Do: func(ctx context.Context, op, key string) error {
		if p.gate == nil || op != "put" || !strings.HasPrefix(key, "data/") {
			return nil
		}
		select {
		case <-p.gate:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}}
	rot := rotator.New(rotator.Config{Cluster: cluster}, rotator.Deps{
		Staging: gated, Kafka: p.client, Jobs: p.client.NewProducer(stream.ProducerConfig{Topic: p.jobs}), Logger: log,
		Owed: p.owed,
	})
	cfg.Topic = p.topic
	metrics := prometheus.NewRegistry()
	app, err := appender.New(cfg, appender.Deps{
		Log: appender.KafkaLog{Client: p.client},
		Join: func(name string) (appender.Membership, error) {
			return p.client.Join(stream.GroupConfig{ID: p.topic, Topics: []string{p.topic}, Worker: name, SessionTimeout: p.session})
		},
		DeadLetters: p.client.NewProducer(stream.ProducerConfig{Topic: p.dead}), Rotator: rot, Logger: log, Metrics: metrics,
	})
	require.NoError(p.t, err)
	if p.prepare != nil {
		p.prepare(app)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := &worker{Appender: app, metrics: metrics, cancel: cancel, done: make(chan error, 1)}
	go func() { w.done <- app.Run(ctx) }()
	p.t.Cleanup(func() { w.stop(p.t) })
	return w
}

func (w *worker) stop(t *testing.T) {
	w.cancel()
	if err, open := <-w.done; open {
		require.NoError(t, err)
		close(w.done)
	}
}

// entries returns all entries of the ledger.
func (p *pipeline) entries() (all []*ledger.Entry) {
	p.t.Helper()
	logs, err := ledger.Logs(p.t.Context(), p.staging, p.topic, "1")
	require.NoError(p.t, err)
	for _, l := range logs {
		chain := ledger.NewChain(p.staging, l)
		head, err := chain.Head(p.t.Context())
		require.NoError(p.t, err)
		for seq := range head.Seq + 1 {
			e, err := chain.Entry(p.t.Context(), seq)
			require.NoError(p.t, err)
			all = append(all, e)
		}
	}
	return all
}

// files returns the number of files in the ledger.
func (p *pipeline) files() (n int) {
	for _, e := range p.entries() {
		n += len(e.Files)
	}
	return n
}

// ids counts the message ids in the ledger's files.
func (p *pipeline) ids() map[string]int {
	p.t.Helper()
	ids := map[string]int{}
	for _, e := range p.entries() {
		for i := range e.Files {
			r, err := e.Files[i].Open(p.t.Context(), p.staging)
			require.NoError(p.t, err)
			lines := strings.Split(strings.TrimSuffix(gziptest.Unzip(p.t, r), "\n"), "\n")
			require.Len(p.t, lines, int(e.Files[i].Records))
			for _, line := range lines {
				ids[line]++
			}
		}
	}
	return ids
}

func (p *pipeline) requireAllOnce(n int) {
	p.t.Helper()
	ids := p.ids()
	require.Len(p.t, ids, n)
	for id, times := range ids {
		require.Equal(p.t, 1, times, "id %s", id)
	}
}

func (p *pipeline) sealAll(w *worker) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 30*time.Second)
	defer cancel()
	require.NoError(p.t, w.SealAll(ctx))
}

func (p *pipeline) waitFor(what string, ok func() bool) {
	p.t.Helper()
	require.Eventually(p.t, ok, 30*time.Second, 20*time.Millisecond, what)
}

// waitForMemory waits until workers remember all messages of their partitions. Until then
// duplicates may pass, because after two seconds workers no longer wait for what is read back.
func (p *pipeline) waitForMemory(workers ...*worker) {
	p.t.Helper()
	for _, w := range workers {
		p.waitFor("all messages remembered", func() bool {
			families, err := w.metrics.Gather()
			missing := 0.0
			for _, f := range families {
				if name := f.GetName(); name == "sealift_appender_dedup_missing_offsets" || name == "sealift_appender_dedup_disabled" {
					for _, m := range f.GetMetric() {
						missing += m.GetGauge().GetValue()
					}
				}
			}
			return err == nil && missing == 0
		})
	}
}

func TestAppenderFilesEveryRecordOnce(t *testing.T) {
	p := newPipeline(t)
	w := p.start(appender.Config{DataDir: t.TempDir()})
	p.waitFor("partitions assigned", func() bool { return len(w.Partitions()) == pipelinePartitions })
	p.produce(0, 5_000, 40)
	p.sealAll(w)
	p.requireAllOnce(5_000)
	p.produce(5_000, 1_000, 40)
	p.sealAll(w)
	p.requireAllOnce(6_000)
	require.NoError(t, w.Ready(t.Context()))
}

func TestFilesAreSealedByTimeWithoutNewData(t *testing.T) {
	p := newPipeline(t)
	p.start(appender.Config{DataDir: t.TempDir(), RollEvery: time.Second, Grace: 100 * time.Millisecond})
	p.produce(0, 500, 10)
	p.waitFor("all records in the ledger", func() bool { return len(p.ids()) == 500 })
	p.requireAllOnce(500)
}

func TestPartitionsMoveBetweenAppenders(t *testing.T) {
	p := newPipeline(t)
	one := p.start(appender.Config{DataDir: t.TempDir()})
	p.waitFor("all partitions assigned to the first worker", func() bool { return len(one.Partitions()) == pipelinePartitions })
	p.produce(0, 2_000, 40)
	two := p.start(appender.Config{DataDir: t.TempDir()})
	p.waitFor("partitions shared", func() bool { return len(one.Partitions()) == 3 && len(two.Partitions()) == 3 })
	p.produce(2_000, 2_000, 40)
	one.stop(t) // the records in its open files are read again
	p.waitFor("all partitions assigned to the second worker", func() bool { return len(two.Partitions()) == pipelinePartitions })
	p.produce(4_000, 2_000, 40)
	p.sealAll(two)
	p.requireAllOnce(6_000)
}

func TestSealOnStop(t *testing.T) {
	p := newPipeline(t)
	w := p.start(appender.Config{DataDir: t.TempDir(), SealOnStop: true})
	p.waitFor("partitions assigned", func() bool { return len(w.Partitions()) == pipelinePartitions })
	p.produce(0, 100, 10)
	p.sealAll(w)
	p.produce(100, 100, 10)
	p.waitFor("records read", func() bool { return w.RecordsForTesting() >= 200 })
	w.stop(t)
	p.requireAllOnce(200)
}

func TestMalformedRecordsGoToTheDeadLetters(t *testing.T) {
	p := newPipeline(t)
	now := strconv.FormatInt(time.Now().UnixMilli(), 10)
	producer := p.client.NewProducer(stream.ProducerConfig{Topic: p.topic})
	defer producer.Close(t.Context())
	poison := map[string]stream.Record{
		"malformed JSON":         record("a", now, `{"a":`),
		"not an object":          record("a", now, `[1]`),
		"empty":                  record("a", now, ``),
		"path as a source":       record("../x", now, `{}`),
		"no source":              record("", now, `{}`),
		"source of 65":           record(strings.Repeat("s", 65), now, `{}`),
		"unicode source":         record("quelle-ä", now, `{}`),
		"wildcard source":        record("*", now, `{}`),
		"no time":                record("a", "", `{}`),
		"time in seconds":        record("a", "1700000000", `{}`),
		"vouched, not an object": withHeader(record("a", now, `"x"`), "sealift-line", "1"),
		"vouched with a newline": withHeader(record("a", now, "{\n}"), "sealift-line", "1"),
	}
	n := 0
	for _, r := range poison {
		require.NoError(t, producer.Produce(t.Context(), r))
		p.produce(n, 10, 3)
		n += 10
	}
	// Other producers may write JSON over several lines.
	require.NoError(t, producer.Produce(t.Context(), record("a", now, "{\n  \"pretty\": \"a\\nb\"\n}\n")))

	w := p.start(appender.Config{DataDir: t.TempDir()})
	p.waitFor("partitions assigned", func() bool { return len(w.Partitions()) == pipelinePartitions })
	p.sealAll(w)
	p.requireAllOnce(n + 1)
	require.Contains(t, p.ids(), `{"pretty":"a\nb"}`)

	dead, err := p.client.NewFetcher(p.dead, 0).Fetch(t.Context(), 0, stream.FetchOptions{})
	require.NoError(t, err)
	require.Len(t, dead.Records, len(poison))
	reasons := map[string]int{}
	for _, r := range dead.Records {
		reason, ok := r.Header("sealift-reason")
		require.True(t, ok)
		reasons[string(reason)]++
		topic, _ := r.Header("sealift-topic")
		require.Equal(t, p.topic, string(topic))
	}
	require.Equal(t, map[string]int{"not_a_json_object": 4, "invalid_source": 5, "invalid_received": 2, "unfit_line": 1}, reasons)
}

func withHeader(r stream.Record, key, value string) stream.Record {
	r.Headers = append(r.Headers, stream.Header{Key: key, Value: []byte(value)})
	return r
}

func TestTwoAppendersCannotShareADirectory(t *testing.T) {
	p := newPipeline(t)
	dir := t.TempDir()
	one := p.start(appender.Config{DataDir: dir})
	p.waitFor("partitions assigned", func() bool { return len(one.Partitions()) == pipelinePartitions })
	two, err := appender.New(appender.Config{DataDir: dir}, appender.Deps{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	require.ErrorContains(t, two.Run(t.Context()), "in use by another process")
}
