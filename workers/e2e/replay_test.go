package e2e

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/gziptest"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/objstore/objstoretest"
	"github.com/sealift/sealift/pkg/replay"
	"github.com/sealift/sealift/pkg/stream"
	"github.com/sealift/sealift/workers/appender"
	"github.com/sealift/sealift/workers/copier"
)

const replayWorkspace = "ws_replay0123456789ab"

// replays is a pipeline with copiers and two buckets: all sources are owed to the first, and the
// second is subscribed to some of them when it is backfilled.
type replays struct {
	*pipeline
	worker  *worker
	buckets map[string]*objstore.Memory
	catalog *catalog.Live
	copiers copier.Config
	stuck   chan struct{} // if set, PUTs into the second bucket wait until it is closed

	mu   sync.Mutex // guards puts
	puts map[string]int
}

const replaySources = 8

func newReplays(t *testing.T) *replays {
	r := &replays{pipeline: newPipeline(t), catalog: catalog.NewLive(), puts: map[string]int{},
		buckets: map[string]*objstore.Memory{"first": objstore.NewMemory("first"), "second": objstore.NewMemory("second")}}
	r.setCatalog("source0")
	r.owed = func(source string) []string { return r.catalog.Snapshot().Owed(source) }
	r.copiers = copier.Config{JobsTopic: "jobs", Group: "g", SessionTimeout: 6 * time.Second, RetryTiers: []time.Duration{time.Second}}
	r.createJobTopics(r.copiers)
	r.worker = r.start(appender.Config{DataDir: t.TempDir()})
	r.waitFor("partitions assigned", func() bool { return len(r.worker.Partitions()) == pipelinePartitions })
	return r
}

// setCatalog subscribes the second bucket to those sources.
func (r *replays) setCatalog(second ...string) {
	w := catalog.Workspace{ID: replayWorkspace}
	first := catalog.Destination{Name: "first", Bucket: "first"}
	for i := range replaySources {
		id := fmt.Sprint("source", i)
		w.Sources = append(w.Sources, catalog.Source{ID: id})
		first.Sources = append(first.Sources, id)
	}
	w.Destinations = []catalog.Destination{first, {Name: "second", Bucket: "second", Sources: second}}
	s, err := catalog.NewSnapshot([]catalog.Workspace{w})
	require.NoError(r.t, err)
	r.catalog.Set(s)
}

// deliver starts a copier.
func (r *replays) deliver() {
	r.startCopier(r.copiers, r.catalog, func(t catalog.Target) objstore.Store {
		return objstoretest.Before{Store: r.buckets[t.BucketName], Do: func(_ context.Context, op, _ string) error {
			if op != "put" {
				return nil
			}
			if t.BucketName == "second" && r.stuck != nil {
				<-r.stuck
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			r.puts[t.BucketName]++
			return nil
		}}
	})
}

// replay gives the order and carries it out. Its jobs go to jobs, or to the topic if that is nil.
func (r *replays) replay(change func(*delivery.Order), jobs func(...stream.Record)) *delivery.Order {
	r.t.Helper()
	heads, err := replay.ReadHeads(r.t.Context(), r.staging, r.topic, "1")
	require.NoError(r.t, err)
	o := &delivery.Order{ID: replay.NewID(time.Now()), Topic: r.topic, Incarnation: "1", Heads: heads, From: delivery.FromAuto}
	change(o)
	run := r.run(jobs)
	require.NoError(r.t, run.Check(o))
	require.NoError(r.t, replay.WriteOrder(r.t.Context(), r.staging, o))
	_, err = run.Enqueue(r.t.Context(), o, false)
	require.NoError(r.t, err)
	return o
}

type takeJobs func(...stream.Record)

func (f takeJobs) Produce(_ context.Context, records ...stream.Record) error {
	f(records...)
	return nil
}

func (r *replays) run(jobs func(...stream.Record)) replay.Run {
	run := replay.Run{Staging: r.staging, Catalog: r.catalog.Snapshot(), Kafka: &replay.Rebuilder{
		Bounds:  r.client.Bounds,
		Fetcher: func(topic string, partition int) replay.Fetcher { return r.client.NewFetcher(topic, partition) },
		Staging: r.staging, Dir: r.t.TempDir(),
	}}
	if jobs != nil {
		run.Jobs = takeJobs(jobs)
		return run
	}
	p := r.client.NewProducer(stream.ProducerConfig{Topic: r.copiers.ReplayTopic()})
	r.t.Cleanup(func() { require.NoError(r.t, p.Close(context.Background())) })
	run.Jobs = p
	return run
}

// waitUntilOver waits until the order is over, and requires that everything is delivered.
func (r *replays) waitUntilOver(o *delivery.Order) replay.Status {
	r.t.Helper()
	var s replay.Status
	r.waitFor("the replay is over", func() bool {
		var err error
		s, err = replay.ReadStatus(r.t.Context(), r.staging, o.ID)
		require.NoError(r.t, err)
		return s.Over()
	})
	require.Zero(r.t, s.Failed)
	return s
}

// lines returns the lines of every object of a bucket, by key.
func (r *replays) lines(bucket string) map[string]string {
	r.t.Helper()
	out := map[string]string{}
	for info, err := range objstore.All(r.t.Context(), r.buckets[bucket], "") {
		require.NoError(r.t, err)
		body, _, err := r.buckets[bucket].Get(r.t.Context(), info.Key)
		require.NoError(r.t, err)
		out[info.Key] = gziptest.Unzip(r.t, body)
	}
	return out
}

// waitForDeliveries waits until the first bucket has every file of the ledger.
func (r *replays) waitForDeliveries(records int) map[string]string {
	r.t.Helper()
	r.waitFor("all delivered", func() bool { return len(r.buckets["first"].Contents("")) == r.files() })
	r.requireAllOnce(records)
	return r.lines("first")
}

func (r *replays) deleteObjects(store *objstore.Memory, prefix string, which func(n int) bool) (deleted int) {
	for n, key := range slices.Sorted(maps.Keys(store.Contents(prefix))) {
		if which(n) {
			require.NoError(r.t, store.Delete(r.t.Context(), key))
			deleted++
		}
	}
	return deleted
}

func allObjects(int) bool { return true }

func TestReplay(t *testing.T) {
	r := newReplays(t)
	r.deliver()
	const records = 4000
	r.produce(0, records, replaySources)
	r.sealAll(r.worker)
	want := r.waitForDeliveries(records)

	t.Run("existing objects stay as they are", func(t *testing.T) {
		for range 2 {
			r.waitUntilOver(r.replay(func(*delivery.Order) {}, nil))
			require.Equal(t, want, r.lines("first"))
		}
	})
	t.Run("deleted objects come back", func(t *testing.T) {
		require.Positive(t, r.deleteObjects(r.buckets["first"], "", func(n int) bool { return n%3 == 0 }))
		s := r.waitUntilOver(r.replay(func(o *delivery.Order) { o.Destinations = []string{replayWorkspace + "/first"} }, nil))
		require.EqualValues(t, len(want), s.Delivered)
		require.Equal(t, want, r.lines("first"))
	})
	t.Run("new destination gets the same objects", func(t *testing.T) {
		r.setCatalog("source1", "source2")
		r.waitUntilOver(r.replay(func(o *delivery.Order) { o.Destinations = []string{replayWorkspace + "/second"} }, nil))
		second := r.lines("second")
		n := 0
		for key, text := range want {
			if source := key[len("segment-logs/"):][:len("source0")]; source == "source1" || source == "source2" {
				require.Equal(t, text, second[key])
				n++
			}
		}
		require.Positive(t, n)
	})
	t.Run("job topic lost", func(t *testing.T) {
		r.deleteObjects(r.buckets["first"], "", allObjects)
		o := r.replay(func(o *delivery.Order) { o.Destinations = []string{replayWorkspace + "/first"} }, func(...stream.Record) {})
		require.Empty(t, r.lines("first"))
		_, err := r.run(nil).Enqueue(t.Context(), o, true)
		require.NoError(t, err)
		r.waitUntilOver(o)
		require.Equal(t, want, r.lines("first"))
	})
	t.Run("staging lost while deliveries continue", func(t *testing.T) {
		r.deleteObjects(r.staging, "data/", allObjects)
		r.deleteObjects(r.buckets["first"], "", allObjects)
		o := r.replay(func(o *delivery.Order) { o.Sources = []string{"source0", "source3"} }, nil)
		r.produce(records, 400, replaySources)
		r.sealAll(r.worker)
		r.waitUntilOver(o)
		r.waitUntilOver(r.replay(func(o *delivery.Order) { o.Destinations = []string{replayWorkspace + "/first"} }, nil))
		r.waitFor("all delivered", func() bool {
			got := 0
			for _, text := range r.lines("first") {
				for i := range text {
					if text[i] == '\n' {
						got++
					}
				}
			}
			return got == records+400
		})
		for key, text := range want {
			require.Equal(t, text, r.lines("first")[key], "the same lines under the same key")
		}
	})
	t.Run("force overwrites broken objects", func(t *testing.T) {
		for key := range want {
			_, err := r.buckets["first"].Put(t.Context(), key, strings.NewReader("broken"), objstore.PutOptions{})
			require.NoError(t, err)
		}
		r.waitUntilOver(r.replay(func(o *delivery.Order) { o.Force = true; o.Destinations = []string{replayWorkspace + "/first"} }, nil))
		for key, text := range want {
			require.Equal(t, text, r.lines("first")[key])
		}
	})
}

// TestStuckReplaysDoNotDelayDeliveries: ordinary deliveries continue while the bucket that is
// being backfilled accepts nothing and every slot of replays hangs there.
func TestStuckReplaysDoNotDelayDeliveries(t *testing.T) {
	r := newReplays(t)
	r.stuck = make(chan struct{})
	r.setCatalog("source7")
	r.deliver()
	r.produce(0, 1000, 7)
	r.sealAll(r.worker)
	r.waitForDeliveries(1000)
	r.setCatalog("source0", "source1", "source2", "source3", "source4", "source5", "source6")
	o := r.replay(func(o *delivery.Order) { o.Destinations = []string{replayWorkspace + "/second"} }, nil)
	r.setCatalog("source7")
	r.produce(1000, 1000, 7)
	r.sealAll(r.worker)
	want := r.waitForDeliveries(2000)
	require.Empty(t, r.lines("second"))
	s, err := replay.ReadStatus(t.Context(), r.staging, o.ID)
	require.NoError(t, err)
	require.Zero(t, s.Delivered)
	r.setCatalog("source0", "source1", "source2", "source3", "source4", "source5", "source6")
	close(r.stuck)
	r.waitUntilOver(o)
	for key, text := range r.lines("second") {
		require.Equal(t, want[key], text)
	}
}
