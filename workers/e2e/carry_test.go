package e2e

import (
	"context"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/check"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/sample"
	"github.com/sealift/sealift/pkg/secret"
	"github.com/sealift/sealift/pkg/send"
)

// runDeliveryTest tests the promise: n events go in, all roles run as processes, faults happen in
// the middle while events keep coming, and in the end every bucket has exactly what is owed to it.
func runDeliveryTest(t *testing.T, on servers, n int, faults func(ctx context.Context, s *system)) {
	t.Helper()
	const sources = 300
	ctx, cancel := context.WithTimeout(t.Context(), 12*time.Minute)
	defer cancel()
	s := newSystem(t, on, sources, fleet{
		collectors: 1, appenders: 2, copiers: 2, auditors: 1,
		appender: "roll_every: 5s, grace: 1s", copier: "lock_ttl: 10s, retry_tiers: [1s, 5s]", auditor: "every: 10s, grace: 20s",
	})
	s.start(ctx)
	owed := newExpectations(s)

	//  1. Events go in; half of them before anything breaks.
	in := &input{owed: owed, half: make(chan struct{}), resume: make(chan struct{}), ended: make(chan error, 1)}
	go func() { in.ended <- in.send(ctx, "http://"+s.listen[0], n, sources) }()
	select {
	case <-in.half:
	case err := <-in.ended:
		require.NoError(t, err)
		require.Fail(t, "sending ended before its half")
	}

	//  2. All processes have work in progress. Then one of each role is killed, and stays down long
	//     enough for the others to take its work over.
	seen := newDeliveryCounter(s)
	seen.wait(ctx, t, "the first deliveries", func() bool { return seen.lines.Load() > 0 })
	close(in.resume)
	open := owed.acked.Load() + int64(n)/10 // some of them are in files that are open
	for owed.acked.Load() < open {
		require.NoError(t, ctx.Err(), "waiting for more events")
		time.Sleep(10 * time.Millisecond)
	}
	s.kill(s.appenders[0], s.copiers[0])
	at := owed.acked.Load()
	require.Less(t, at, int64(n), "all events were sent before the first fault")
	t.Logf("after %d acknowledged events and %d delivered lines", at, seen.lines.Load())
	faults(ctx, s)
	require.NoError(t, <-in.ended)
	s.restart(ctx, s.appenders[0], s.copiers[0])

	//  3. The others are killed when they have all of the work, and come back, the appender on an
	//     empty disk: nothing but work may be lost with the old one.
	s.kill(s.appenders[1], s.copiers[1])
	require.NoError(t, os.RemoveAll(s.disk(s.appenders[1])))
	s.restart(ctx, s.appenders[1], s.copiers[1])

	//  4. What went in comes out.
	require.Equal(t, int64(n), owed.acked.Load())
	filed := owed.finish(ctx, t, s, seen)
	t.Logf("%d events acknowledged, %d of them sent twice, %d records in the topic, %d of them copies, %d of which were filed",
		n, in.resent, filed.records, filed.repeated, filed.doubled)

	//  5. The independent judge reads the buckets.
	for _, d := range s.destinations() {
		report, err := owed.expected[d].Check(objects(ctx, store(on, d.bucket)), check.Rules{Prefix: d.prefix})
		require.NoError(t, err)
		t.Logf("%s: %s", d.bucket, report)
		require.True(t, report.OK(), "bucket %s", d.bucket)
		require.Zero(t, report.Ignored, "objects outside of segment-logs/ in bucket %s", d.bucket)
		require.NotZero(t, report.Objects)
	}
	for p, end := range topicEnds(ctx, t, on.kafka, "e2e-"+s.tag+".dead-letters") {
		require.Zero(t, end, "dead letters in partition %d", p)
	}
}

// expectations is what every destination must have in the end.
type expectations struct {
	expected map[*destination]*check.Expected
	bySource map[string][]*destination // by source
	acked    atomic.Int64
}

func newExpectations(s *system) *expectations {
	o := &expectations{expected: map[*destination]*check.Expected{}, bySource: map[string][]*destination{}}
	for _, d := range s.destinations() {
		o.expected[d] = new(check.Expected)
		for _, source := range d.sources {
			o.bySource[source] = append(o.bySource[source], d)
		}
	}
	return o
}

// acknowledge is called for every event that was answered with success.
func (o *expectations) acknowledge(source, messageID string) {
	for _, d := range o.bySource[source] {
		o.expected[d].Acknowledge(source, messageID)
	}
	o.acked.Add(1)
}

// finish waits until everything is delivered, stops the system, and adds to what is expected the
// records of the events topic that are in files. These are all records except duplicates that were
// left out. A new owner without its predecessor's disk may let some duplicates pass.
func (o *expectations) finish(ctx context.Context, t *testing.T, s *system, seen *deliveryCounter) *filing {
	t.Helper()
	filed := newFiling(newBooks(store(s.servers, s.staging()), s.eventsTopic()))
	ends := topicEnds(ctx, t, s.servers.kafka, s.eventsTopic())
	seen.wait(ctx, t, "all deliveries", func() bool {
		require.NoError(t, filed.books.read(ctx))
		_, open := filed.books.countDebts()
		return len(filed.books.notSealedUpTo(ends)) == 0 && open == 0
	})
	s.stop()
	require.NoError(t, filed.books.read(ctx)) // what was written while stopping

	dump(ctx, t, s.servers.kafka, s.eventsTopic(), func(d dumped) {
		require.Contains(t, o.bySource, d.source, "a record of no source: %s", d.line)
		id, err := filed.record(d)
		require.NoError(t, err)
		require.NotEmpty(t, id, "a record without a messageId: %s", d.line)
	})
	filed.checkCoverage()
	require.Empty(t, filed.problems)
	sound, err := s.checkInstallation(ctx, s.servers)
	require.NoError(t, err)
	require.Empty(t, sound.Problems)
	dump(ctx, t, s.servers.kafka, s.eventsTopic(), func(d dumped) { // a second time, because lines are not kept
		if filed.find(d).file == nil {
			return
		}
		for _, to := range o.bySource[d.source] {
			o.expected[to].Record(d.source, d.received, d.line)
		}
	})
	return filed
}

// input sends events to the collector until each has been acknowledged.
type input struct {
	owed   *expectations
	half   chan struct{} // closed when half of the events are sent
	resume chan struct{} // closed by the test to let it continue
	ended  chan error
	resent int64 // valid after ended
}

func (in *input) send(ctx context.Context, url string, n, sources int) error {
	var refused atomic.Pointer[string]
	sender := send.New(ctx, send.Config{
		URL: url, Workers: 8, BatchEvents: 100, Log: slog.New(slog.DiscardHandler),
		OnAcked: func(events []send.Event) {
			for _, e := range events {
				in.owed.acknowledge(strings.TrimPrefix(e.WriteKey, writeKey("")), e.MessageID)
			}
		},
		OnRefused: func(e send.Event, reason string) {
			text := fmt.Sprintf("event %s was refused: %s", e.MessageID, reason)
			refused.Store(&text)
		},
	})
	i := 0
	for e := range sample.New(sample.Config{Seed: uint64(n), Sources: sources, Start: time.Now()}).Take(n) {
		if i++; i == n/2 {
			close(in.half)
			select {
			case <-in.resume:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err := sender.Send(send.Event{WriteKey: writeKey(sourceID(e.Source)), MessageID: e.MessageID, Body: e.Body}); err != nil {
			return err
		}
	}
	err := sender.Close()
	in.resent = sender.Resent()
	if text := refused.Load(); err == nil && text != nil {
		return fmt.Errorf("%s", *text)
	}
	return err
}

// store opens a bucket with its owner's credentials.
func store(on servers, bucket string) objstore.Store {
	return objstore.NewS3(objstore.S3Config{
		Bucket: bucket, Region: on.region, Endpoint: on.s3, PathStyle: true,
		Credentials: func(context.Context) (objstore.Credentials, error) {
			return objstore.Credentials{AccessKeyID: on.access, SecretAccessKey: secret.New(on.secret)}, nil
		},
	})
}

// objects yields a bucket's objects for the judge.
func objects(ctx context.Context, from objstore.Store) iter.Seq2[check.Object, error] {
	return func(yield func(check.Object, error) bool) {
		for o, err := range bodies(ctx, from) {
			if err == nil {
				var info objstore.Info
				info, err = from.Head(ctx, o.Key)
				o.ContentType, o.ContentEncoding, o.Metadata = info.ContentType, info.ContentEncoding, info.Metadata
			}
			if !yield(o, err) || err != nil {
				return
			}
		}
	}
}

// bodies yields the objects without their headers, which takes half as many requests.
func bodies(ctx context.Context, from objstore.Store) iter.Seq2[check.Object, error] {
	return func(yield func(check.Object, error) bool) {
		for info, err := range objstore.All(ctx, from, "") {
			o := check.Object{Key: info.Key, Open: func() (io.ReadCloser, error) {
				body, _, err := from.Get(ctx, info.Key)
				return body, err
			}}
			if !yield(o, err) || err != nil {
				return
			}
		}
	}
}

// checkInstallation compares everything that a system left with each other.
func (s *system) checkInstallation(ctx context.Context, on servers) (*check.InstallationReport, error) {
	installation := check.Installation{Staging: bodies(ctx, store(on, s.staging())), Buckets: map[string]check.Bucket{}}
	for _, w := range s.workspaces {
		for _, d := range w.destinations {
			installation.Buckets[w.id+"/"+d.name] = check.Bucket{Prefix: d.prefix, Objects: bodies(ctx, store(on, d.bucket))}
		}
	}
	return installation.Check()
}

// deliveryCounter counts the lines that have arrived so far, according to the objects' metadata. It
// only tells when to stop waiting; the judge reads everything.
type deliveryCounter struct {
	system  *system
	stores  []objstore.Store
	counted map[string]string // bucket index/key -> ETag
	lines   atomic.Int64
}

func newDeliveryCounter(s *system) *deliveryCounter {
	n := &deliveryCounter{system: s, counted: map[string]string{}}
	for _, d := range s.destinations() {
		n.stores = append(n.stores, store(s.servers, d.bucket))
	}
	return n
}

// wait counts until the condition holds. No process may end by itself meanwhile.
func (n *deliveryCounter) wait(ctx context.Context, t *testing.T, what string, enough func() bool) {
	t.Helper()
	began, last := time.Now(), time.Now()
	for {
		for i, from := range n.stores {
			require.NoError(t, n.count(ctx, i, from), "count the delivered lines")
		}
		if enough() {
			t.Logf("%s after %v: %d lines in %d objects", what, time.Since(began).Round(time.Millisecond), n.lines.Load(), len(n.counted))
			return
		}
		for _, p := range n.system.all() {
			require.NoError(t, p.alive())
		}
		if time.Since(last) > 10*time.Second {
			last = time.Now()
			t.Logf("waiting for %s: %d lines in %d objects", what, n.lines.Load(), len(n.counted))
		}
		select {
		case <-ctx.Done():
			require.Fail(t, "timed out waiting for "+what, "%d lines in %d objects", n.lines.Load(), len(n.counted))
		case <-time.After(500 * time.Millisecond):
		}
	}
}

func (n *deliveryCounter) count(ctx context.Context, index int, from objstore.Store) error {
	for info, err := range objstore.All(ctx, from, "") {
		if err != nil {
			return err
		}
		id := fmt.Sprintf("%d/%s", index, info.Key)
		if etag, ok := n.counted[id]; ok {
			if etag != info.ETag {
				return fmt.Errorf("object %q changed after it was delivered: %s, then %s", info.Key, etag, info.ETag)
			}
			continue
		}
		head, err := from.Head(ctx, info.Key)
		if err != nil {
			return err
		}
		lines, err := strconv.ParseInt(head.Metadata["records"], 10, 64)
		if err != nil {
			return fmt.Errorf("object %q: records in its metadata: %w", info.Key, err)
		}
		n.counted[id] = info.ETag
		n.lines.Add(lines)
	}
	return nil
}
