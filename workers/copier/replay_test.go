package copier

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/destination"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/receipt"
	"github.com/sealift/sealift/pkg/replay"
)

// order writes a replay order for everything in the rig's ledger.
func (r *rig) order(id string, change func(*delivery.Order)) *delivery.Order {
	o := &delivery.Order{ID: id, Topic: testLog.Topic, Incarnation: testLog.Incarnation, Heads: map[int]int64{0: r.head.Seq}, From: delivery.FromAuto}
	change(o)
	require.NoError(r.t, replay.WriteOrder(r.t.Context(), r.staging, o))
	return o
}

func replayJob(o *delivery.Order, job delivery.Job) delivery.Job {
	job.Replay = o.ID
	return job
}

// replayReceipt returns the replay's receipt for the job, or nil.
func (r *rig) replayReceipt(job delivery.Job) *delivery.Receipt {
	key := delivery.ReplayReceiptKey(job.Replay, job.File, job.Destination)
	body, _, err := r.staging.Get(r.t.Context(), key)
	if err != nil {
		require.ErrorIs(r.t, err, objstore.ErrNotFound)
		return nil
	}
	var b bytes.Buffer
	_, err = b.ReadFrom(body)
	require.NoError(r.t, err)
	rec, err := delivery.DecodeReceipt(b.Bytes())
	require.NoError(r.t, err)
	return &rec
}

func unchanged(*delivery.Order) {}

func TestReplayIntoTheSameDestination(t *testing.T) {
	r := newRig(t)
	job := r.job(acmeOne, "hello")
	require.Equal(t, outcomeDone, r.runJob(t.Context(), job).kind)
	first, key := *r.receipt(job), r.receipt(job).Key
	lane := r.replayLane()

	// An object that exists stays as it is.
	again := replayJob(r.order("again", unchanged), job)
	require.Equal(t, outcomeDone, lane.runJob(t.Context(), again).kind)
	require.True(t, r.replayReceipt(again).Existed)
	require.Equal(t, outcomeMoot, lane.runJob(t.Context(), again).kind, "a second job of the same order")
	require.Equal(t, map[string]string{key: "hello"}, r.objects("one-logs"))

	// An object that the customer deleted is put again.
	require.NoError(t, r.buckets["one-logs"].Memory.Delete(t.Context(), key))
	hole := replayJob(r.order("hole", unchanged), job)
	require.Equal(t, outcomeDone, lane.runJob(t.Context(), hole).kind)
	require.False(t, r.replayReceipt(hole).Existed)
	require.Equal(t, map[string]string{key: "hello"}, r.objects("one-logs"))
	require.Equal(t, first, *r.receipt(job), "the receipt of the debt changed")

	// Force overwrites whatever is there with the same bytes.
	_, err := r.buckets["one-logs"].Memory.Put(t.Context(), key, strings.NewReader("broken"), objstore.PutOptions{})
	require.NoError(t, err)
	force := replayJob(r.order("force", func(o *delivery.Order) { o.Force = true }), job)
	require.Equal(t, outcomeDone, lane.runJob(t.Context(), force).kind)
	require.False(t, r.replayReceipt(force).Existed)
	require.Equal(t, map[string]string{key: "hello"}, r.objects("one-logs"))
	opts := r.buckets["one-logs"].opts
	require.False(t, opts[len(opts)-1].IfAbsent)
	require.True(t, opts[len(opts)-2].IfAbsent)
}

// A replay that delivers an owed file closes its debt.
func TestReplayClosesAnOpenDebt(t *testing.T) {
	r := newRig(t)
	job := r.job(acmeOne, "hello")
	require.Equal(t, outcomeDone, r.replayLane().runJob(t.Context(), replayJob(r.order("r", unchanged), job)).kind)
	require.Equal(t, "r", r.receipt(job).Replay)
	require.Equal(t, outcomeMoot, r.runJob(t.Context(), job).kind)
	require.Len(t, r.buckets["one-logs"].opts, 1)
}

// A replay writes no receipt for a debt that has one: what was given up stays given up, and a batch would have taken the
// place of the receipt that tells which bytes are in the bucket.
func TestReplayLeavesClosedDebtsAlone(t *testing.T) {
	r := newRig(t)
	jobs := r.sealMany(minDebtsForBatch)
	require.NoError(t, receipt.Write(t.Context(), r.staging, delivery.Receipt{File: jobs[0].File, Destination: acmeOne, Outcome: delivery.Skipped}))
	for _, job := range jobs[1:] {
		require.Equal(t, outcomeDone, r.runJob(t.Context(), job).kind)
	}
	before := r.staging.Contents("receipts/")
	lane := r.replayLane()
	lane.receipts.gatherFor = 100 * time.Millisecond
	order := r.order("r", unchanged)
	var group errgroup.Group
	for _, job := range jobs {
		group.Go(func() error {
			require.Equal(t, outcomeDone, lane.runJob(t.Context(), replayJob(order, job)).kind)
			return nil
		})
	}
	require.NoError(t, group.Wait())
	require.Equal(t, before, r.staging.Contents("receipts/"))
	for _, job := range jobs {
		require.NotNil(t, r.replayReceipt(replayJob(order, job)))
	}
}

func TestReplayBackfillsANewDestination(t *testing.T) {
	r := newRig(t)
	job := r.job(acmeOne, "hello")
	job.Destination = acmeTwo
	require.Equal(t, outcomeMoot, r.runJob(t.Context(), job).kind, "the ledger does not owe it")
	back := replayJob(r.order("back", func(o *delivery.Order) { o.Destinations = []string{acmeTwo} }), job)
	require.Equal(t, outcomeDone, r.replayLane().runJob(t.Context(), back).kind)
	require.Equal(t, []string{"hello"}, values(r.objects("two-logs")))
	require.Nil(t, r.receipt(job), "a receipt for a debt that does not exist")
}

func TestReplayIntoAView(t *testing.T) {
	r := newRig(t)
	job := r.job(acmeOne, "hello")
	view := replayJob(r.order("v", func(o *delivery.Order) { o.View = "second" }), job)
	require.Equal(t, outcomeDone, r.replayLane().runJob(t.Context(), view).kind)
	for key := range r.objects("one-logs") {
		require.True(t, strings.HasPrefix(key, "path/second/segment-logs/web/"), key)
	}
	require.Nil(t, r.receipt(job), "a view closed the debt")
	require.Contains(t, r.roles.requests[0].SessionPolicy, "path/second/segment-logs/*")
}

func values(m map[string]string) (out []string) {
	for _, v := range m {
		out = append(out, v)
	}
	return out
}

// Invariant: I7. A job that no order covers is dropped, because anyone with access to the topic can
// write any job.
func TestForgedReplayJobsAreDropped(t *testing.T) {
	r := newRig(t)
	job := r.job(acmeOne, "hello")
	covers := r.order("covers", unchanged)
	for hazard, forged := range map[string]delivery.Job{
		"no_order":          replayJob(&delivery.Order{ID: "none"}, job),
		"not_a_replay":      job,
		"other_source":      replayJob(r.order("source", func(o *delivery.Order) { o.Sources = []string{"app"} }), job),
		"other_hours":       replayJob(r.order("hours", func(o *delivery.Order) { o.Since = 1795356000001 }), job),
		"other_offsets":     replayJob(r.order("offsets", func(o *delivery.Order) { o.Offsets = []delivery.Range{{Partition: 0, First: 1, Last: 9}} }), job),
		"other_destination": replayJob(r.order("destination", func(o *delivery.Order) { o.Destinations = []string{acmeTwo} }), job),
		"other_partition":   replayJob(r.order("partition", func(o *delivery.Order) { o.Heads = map[int]int64{1: 9} }), job),
		"later_entry":       replayJob(r.order("later", func(o *delivery.Order) { o.Heads = map[int]int64{0: 0} }), job),
		"other_topic":       replayJob(r.order("topic", func(o *delivery.Order) { o.Topic = "x" }), job),
		"not_owed":          func() delivery.Job { j := replayJob(covers, job); j.Destination = acmeTwo; return j }(),
		"no_such_file":      func() delivery.Job { j := replayJob(covers, job); j.File.Index = 7; return j }(),
		"no_such_entry":     func() delivery.Job { j := replayJob(covers, job); j.File.Seq = 7; return j }(),
	} {
		require.Equal(t, outcomeMoot, r.replayLane().runJob(t.Context(), forged).kind, hazard)
	}
	require.Equal(t, outcomeMoot, r.runJob(t.Context(), replayJob(covers, job)).kind, "a replay's job in the jobs topic")
	require.Empty(t, r.buckets["one-logs"].opts)
	require.Empty(t, r.buckets["two-logs"].opts)
}

// A replay never sends a source's data to another workspace, whatever its order says.
func TestReplayToAnotherWorkspaceIsRefused(t *testing.T) {
	r := newRig(t)
	job := r.job(acmeOne, "hello")
	job.Destination = theirs
	bad := replayJob(r.order("bad", func(o *delivery.Order) { o.Destinations = []string{theirs} }), job)
	o := r.replayLane().runJob(t.Context(), bad)
	require.Equal(t, outcomeFailed, o.kind)
	require.Equal(t, destination.Hopeless, o.verdict.Class)
	require.Contains(t, o.verdict.Cause, "another workspace")

	// Not even after the source's id has changed hands.
	r.setCatalog(func(ws []catalog.Workspace) {
		ws[0].Sources, ws[0].Destinations = nil, nil
		ws[1].Sources = append(ws[1].Sources, catalog.Source{ID: "web"})
		ws[1].Destinations[0].Sources = []string{"app", "web"}
	})
	require.Equal(t, destination.Hopeless, r.replayLane().runJob(t.Context(), bad).verdict.Class)
	require.Empty(t, r.buckets["their-logs"].opts)
}

func TestReplayToAnUnsubscribedDestinationWaitsForTheCatalogThenFails(t *testing.T) {
	r := newRig(t)
	job := r.job(acmeOne, "hello")
	job.Destination = acmeTwo
	r.setCatalog(func(ws []catalog.Workspace) {
		ws[0].Sources = append(ws[0].Sources, catalog.Source{ID: "shop"})
		ws[0].Destinations[1].Sources = []string{"shop"}
	})
	job = replayJob(r.order("r", func(o *delivery.Order) { o.Destinations = []string{acmeTwo} }), job)
	require.Equal(t, destination.Transient, r.replayLane().runJob(t.Context(), job).verdict.Class)
	job.Attempt = maxTriesOutsideCatalog
	v := r.replayLane().runJob(t.Context(), job).verdict
	require.Equal(t, destination.Hopeless, v.Class)
	require.Contains(t, v.Fix.String(), "sealift replay --resume r")
}

// A failed replay is noted at its order, not among the parked jobs.
func TestFailedReplayIsNotedInTheOrder(t *testing.T) {
	r := newRig(t)
	job := r.job(acmeOne, "hello")
	r.setCatalog(func(ws []catalog.Workspace) { no := false; ws[0].Destinations[0].Enabled = &no })
	job = replayJob(r.order("r", unchanged), job)
	lane := r.replayLane()
	e := lane.newEngine(lane.retryQueue(r.queue))
	c := newClaim()
	require.NoError(t, e.submit(t.Context(), t.Context(), job, c))
	<-c.done
	e.drain()
	require.Equal(t, 1, c.acks())
	s, err := replay.ReadStatus(t.Context(), r.staging, "r")
	require.NoError(t, err)
	require.EqualValues(t, 1, s.Failed)
	require.NoError(t, replay.EachFailure(t.Context(), r.staging, "r", func(p delivery.Parked) bool {
		require.Equal(t, job.File, p.Job.File)
		require.Equal(t, "disabled", p.Cause)
		require.Contains(t, p.Fix, "sealift replay --resume r")
		return true
	}))
	_, err = r.staging.Head(t.Context(), delivery.ParkedKey(job.File, job.Destination))
	require.ErrorIs(t, err, objstore.ErrNotFound)

	// When the file is delivered after all, the note is deleted.
	r.setCatalog(func([]catalog.Workspace) {})
	require.Equal(t, outcomeDone, r.replayLane().runJob(t.Context(), job).kind)
	s, err = replay.ReadStatus(t.Context(), r.staging, "r")
	require.NoError(t, err)
	require.Equal(t, replay.Status{Delivered: 1}, s)
}

// A copy that was delivered has no note of a failure, even if the note was written late or the
// copier died before it could delete the note.
func TestFailureNoteIsDeletedAfterDelivery(t *testing.T) {
	for hazard, late := range map[string]func(*replayer, delivery.Job) error{
		"note_after_the_receipt": func(lane *replayer, job delivery.Job) error {
			if o := lane.runJob(t.Context(), job); o.kind != outcomeDone {
				return fmt.Errorf("%v", o)
			}
			return lane.setAside(t.Context(), job, destination.Verdict{Cause: "no", Fix: destination.Fix{Do: "yes"}})
		},
		"died_before_deleting_the_note": func(lane *replayer, job delivery.Job) error {
			if err := lane.setAside(t.Context(), job, destination.Verdict{Cause: "no", Fix: destination.Fix{Do: "yes"}}); err != nil {
				return err
			}
			r := delivery.Receipt{File: job.File, Destination: job.Destination, Outcome: delivery.Delivered, Replay: job.Replay}
			if err := receipt.WriteReplayed(t.Context(), lane.deps.Staging, r); err != nil {
				return err
			}
			if o := lane.runJob(t.Context(), job); o.kind != outcomeMoot {
				return fmt.Errorf("%v", o)
			}
			return nil
		},
	} {
		t.Run(hazard, func(t *testing.T) {
			r := newRig(t)
			owed := r.job(acmeOne, "hello")
			job := replayJob(r.order("r", unchanged), owed)
			require.NoError(t, late(r.replayLane(), job))
			_, err := r.staging.Head(t.Context(), delivery.ReplayFailedKey(job.Replay, job.File, job.Destination))
			require.ErrorIs(t, err, objstore.ErrNotFound)
		})
	}
}

// zip compresses differently from the appender.
func zip(t *testing.T, text string) []byte {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	require.NoError(t, err)
	_, err = w.Write([]byte(text))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

func TestReplayOfARebuiltFile(t *testing.T) {
	const text = "{\"messageId\":\"1\"}\n{\"messageId\":\"2\"}\n"
	for hazard, c := range map[string]struct {
		from    delivery.ByteSource
		lost    bool   // the staged object is missing
		rebuilt string // lines of the rebuilt object; "": there is none
		want    outcomeKind
		reason  string
	}{
		"staging_lost":           {delivery.FromAuto, true, text, outcomeDone, ""},
		"staging_there":          {delivery.FromAuto, false, "", outcomeDone, ""},
		"from_kafka":             {delivery.FromKafka, false, text, outcomeDone, ""},
		"only_from_staging":      {delivery.FromStaging, true, text, outcomeFailed, "staged_missing"},
		"not_rebuilt":            {delivery.FromAuto, true, "", outcomeFailed, "staged_missing"},
		"from_kafka_not_rebuilt": {delivery.FromKafka, false, "", outcomeFailed, "rebuilt_missing"},
		"a_line_is_missing":      {delivery.FromKafka, true, text[:len(text)/2], outcomeFailed, "rebuilt_damaged"},
		"a_line_is_another":      {delivery.FromKafka, true, strings.Replace(text, "2", "3", 1), outcomeFailed, "rebuilt_damaged"},
		"not_gzip":               {delivery.FromKafka, true, "-", outcomeFailed, "rebuilt_damaged"},
	} {
		t.Run(hazard, func(t *testing.T) {
			r := newRig(t)
			sum, err := replay.Summarize(bytes.NewReader(zip(t, text)), int64(len(text)))
			require.NoError(t, err)
			job := r.jobOver(func(f *ledger.File) {
				f.Last, f.Records, f.RawBytes, f.RawCRC64 = f.First+1, sum.Records, sum.RawBytes, sum.RawCRC64
			})
			if c.lost {
				for key := range r.staging.Contents("data/") {
					require.NoError(t, r.staging.Delete(t.Context(), key))
				}
			}
			job = replayJob(r.order("r", func(o *delivery.Order) { o.From = c.from }), job)
			if c.rebuilt != "" {
				body := zip(t, c.rebuilt)
				if c.rebuilt == "-" {
					body = []byte("-")
				}
				_, err := r.staging.Put(t.Context(), delivery.RebuiltKey("r", job.File), bytes.NewReader(body), objstore.PutOptions{})
				require.NoError(t, err)
			}
			o := r.replayLane().runJob(t.Context(), job)
			require.Equal(t, c.want, o.kind, o.verdict)
			require.Equal(t, c.reason, o.verdict.Reason)
			if c.want == outcomeFailed {
				require.Empty(t, r.buckets["one-logs"].opts, "something was sent")
				return
			}
			rec := r.replayReceipt(job)
			require.Equal(t, rec.SHA256, r.buckets["one-logs"].opts[0].Metadata["sha256"])
			require.Equal(t, *rec, *r.receipt(job))
		})
	}
}

// jobOver returns a job for a staged file whose entry is changed before it is sealed.
func (r *rig) jobOver(change func(*ledger.File)) delivery.Job {
	r.change = change
	defer func() { r.change = nil }()
	return r.job(acmeOne, "as it was staged")
}

// TestReplaysDoNotDelayDeliveries: replays use none of the deliveries' slots, breakers or
// gate, however many of them wait and however badly they fail.
func TestReplaysDoNotDelayDeliveries(t *testing.T) {
	r := newRig(t)
	job := r.job(acmeOne, "hello")
	order := r.order("r", unchanged)
	lane := r.replayLane()
	stuck := make(chan struct{})
	replays := lane.newEngine(lane.retryQueue(r.queue))
	replays.try = func(context.Context, attempt) outcome { <-stuck; return outcome{kind: outcomeDone} }
	var claims []*fakeClaim
	for i := range 100 {
		c := newClaim()
		claims = append(claims, c)
		j := replayJob(order, job)
		j.Destination = fmt.Sprint(acmeOne, i%3)
		j.File.Index = i
		require.NoError(t, replays.submit(t.Context(), t.Context(), j, c))
	}
	require.Equal(t, lane.cfg.Concurrency, replays.sched.running())
	lane.gate.close(t.Context(), &awayError{lane.staging, objstore.ErrUnavailable})

	live := r.newEngine(r.retryQueue(r.queue))
	require.Zero(t, live.sched.running())
	require.NoError(t, r.gate.err(), "the replays' gate stopped deliveries")
	c := newClaim()
	require.NoError(t, live.submit(t.Context(), t.Context(), job, c))
	<-c.done
	require.NotNil(t, r.receipt(job))
	close(stuck)
	for _, c := range claims {
		<-c.done
	}
	live.drain()
	replays.drain()
	lane.gate.probes.Wait()
}

// TestTwoOrdersForOneFileAreTwoTasks: jobs of two orders for the same file are two tasks, because
// each needs its receipt.
func TestTwoOrdersForOneFileAreTwoTasks(t *testing.T) {
	r := newRig(t)
	job := r.job(acmeOne, "hello")
	a, b := replayJob(r.order("a", unchanged), job), replayJob(r.order("b", unchanged), job)
	lane := r.replayLane()
	e := lane.newEngine(lane.retryQueue(r.queue))
	ca, cb := newClaim(), newClaim()
	require.NoError(t, e.submit(t.Context(), t.Context(), a, ca))
	require.NoError(t, e.submit(t.Context(), t.Context(), b, cb))
	<-ca.done
	<-cb.done
	e.drain()
	require.NotNil(t, r.replayReceipt(a))
	require.NotNil(t, r.replayReceipt(b))
	require.Len(t, r.objects("one-logs"), 1)
}

func TestReplaysConfiguration(t *testing.T) {
	c := Config{JobsTopic: "jobs", Group: "g", ReplayConcurrency: 3, PerDestination: 8, RetryTiers: []time.Duration{time.Second, time.Minute}}
	require.Equal(t, []string{"jobs", "jobs.retry-1", "jobs.retry-2", "jobs.replay", "jobs.replay.retry-1"}, c.Topics())
	require.Equal(t, []string{"g-copier", "g-copier-replay"}, c.ConsumerGroups())
	require.Equal(t, "jobs.replay", c.ReplayTopic())
	lane := c.forReplays()
	require.Equal(t, 3, lane.Concurrency)
	require.Equal(t, 3, lane.PerDestination)
	require.Equal(t, 10*time.Second, lane.ParkAfter)
	require.Equal(t, lane, lane.forReplays())
}
