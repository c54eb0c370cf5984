package replay

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/objstore"
)

// TestSelection: each selector enqueues the right copies, and a dry run counts exactly those.
func TestSelection(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*delivery.Order)
		want   []string
	}{
		"all":                          {everything, []string{"app 0→one", "app 1→one", "shop 0→theirs", "shop 1→theirs", "web 0→one", "web 1→one"}},
		"source":                       {func(o *delivery.Order) { o.Sources = []string{"web"} }, []string{"web 0→one", "web 1→one"}},
		"since":                        {func(o *delivery.Order) { o.Since = next }, []string{"app 1→one", "shop 1→theirs", "web 1→one"}},
		"until":                        {func(o *delivery.Order) { o.Until, o.Sources = next, []string{"app"} }, []string{"app 0→one"}},
		"offsets":                      {func(o *delivery.Order) { o.Offsets = []delivery.Range{{First: 29, Last: 29}} }, []string{"shop 0→theirs"}},
		"offsets_of_another_partition": {func(o *delivery.Order) { o.Offsets = []delivery.Range{{Partition: 1, Last: 99}} }, nil},
		"destination":                  {func(o *delivery.Order) { o.Destinations = []string{theirs} }, []string{"shop 0→theirs", "shop 1→theirs"}},
		"new_destination":              {func(o *delivery.Order) { o.Destinations = []string{two} }, []string{"web 0→two", "web 1→two"}},
		"sealed_after_the_order":       {func(o *delivery.Order) { o.Heads = map[int]int64{0: 1} }, []string{"app 0→one", "shop 0→theirs", "web 0→one"}},
		"destination_named_twice":      {func(o *delivery.Order) { o.Destinations = []string{two, two} }, []string{"web 0→two", "web 1→two"}},
		"two_destinations_one_hour":    {func(o *delivery.Order) { o.Destinations, o.Until = []string{one, two}, next }, []string{"app 0→one", "web 0→one", "web 0→two"}},
		"source_of_another_workspace":  {func(o *delivery.Order) { o.Destinations, o.Sources = []string{theirs}, []string{"web"} }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.fill()
			o := r.order("r", c.change)
			objects := len(r.staging.Contents(""))
			dry, err := r.run().Count(t.Context(), o)
			require.NoError(t, err)
			require.Empty(t, r.jobs, "a dry run enqueued jobs")
			require.Len(t, r.staging.Contents(""), objects)
			require.EqualValues(t, len(c.want), dry.Copies)

			tally, err := r.run().Enqueue(t.Context(), o, false)
			require.NoError(t, err)
			require.Equal(t, c.want, r.targets())
			require.EqualValues(t, len(c.want), tally.Enqueued)
			s, err := ReadStatus(t.Context(), r.staging, "r")
			require.NoError(t, err)
			require.Equal(t, dry.Copies, s.Plan.Copies)
			require.Equal(t, dry.Bytes, s.Plan.Bytes)
			r.deliver(r.jobs...)
			s, err = ReadStatus(t.Context(), r.staging, "r")
			require.NoError(t, err)
			require.True(t, s.Over())
		})
	}
}

func TestTallyBySourceAndDestination(t *testing.T) {
	r := newRig(t)
	first, _ := r.fill()
	require.NoError(t, r.staging.Delete(t.Context(), first.Files[0].StagedKey))
	r.first = 1 // so Kafka does not have that one either
	tally, err := r.run().Count(t.Context(), r.order("r", func(o *delivery.Order) { o.Destinations = []string{one, two} }))
	require.NoError(t, err)
	web := Row{Source: "web", Files: 2, Records: 20, Bytes: tally.Rows[1].Bytes, Missing: 1, Lost: 1}
	web.Destination = one
	require.Equal(t, web, tally.Rows[1])
	web.Destination = two
	require.Equal(t, web, tally.Rows[2])
	require.Equal(t, "app", tally.Rows[0].Source)
	require.Zero(t, tally.Rows[0].Missing)
	require.Equal(t, [5]int64{4, 6, 60, 1, 1}, [5]int64{tally.Files, tally.Copies, tally.Records, tally.Missing, tally.Lost})
}

// TestResume: whatever was enqueued, lost or delivered before, a second run enqueues exactly what
// was not delivered.
func TestResume(t *testing.T) {
	r := newRig(t)
	r.fill()
	o := r.order("r", everything)
	r.produceErr = errors.New("the broker is away")
	_, err := r.run().Enqueue(t.Context(), o, false)
	require.ErrorIs(t, err, r.produceErr)
	s, err := ReadStatus(t.Context(), r.staging, "r")
	require.NoError(t, err)
	require.Nil(t, s.Plan, "there is a plan before all jobs are enqueued")
	require.False(t, s.Over())

	r.produceErr = nil
	_, err = r.run().Enqueue(t.Context(), o, true)
	require.NoError(t, err)
	require.Len(t, r.jobs, 6)
	r.deliver(r.jobs[:2]...)
	note := delivery.Parked{Job: r.jobs[2], Cause: "x", Fix: "y"}
	require.NoError(t, put(t.Context(), r.staging, delivery.ReplayFailedKey("r", note.Job.File, note.Job.Destination), note.Encode(), false))

	left := r.jobs[2:] // the topic is lost
	r.jobs = nil
	tally, err := r.run().Enqueue(t.Context(), o, true)
	require.NoError(t, err)
	require.ElementsMatch(t, left, r.jobs)
	require.EqualValues(t, 2, tally.Done)
	s, err = ReadStatus(t.Context(), r.staging, "r")
	require.NoError(t, err)
	require.EqualValues(t, 6, s.Plan.Copies)
	require.EqualValues(t, 2, s.Delivered)
	require.Zero(t, s.Failed, "the failure note of a retried copy was kept")
}

// Copies that a former run made but this one may no longer make, for example because a source is no
// longer subscribed, are not mistaken for copies that are still outstanding.
func TestResumeAfterTheCatalogChanged(t *testing.T) {
	r := newRig(t)
	r.subscribeTwo("web", "app")
	r.fill()
	r.write("app", next, `{"messageId":"alone"}`)
	r.seal(100, nil) // an entry with nothing else
	o := r.order("r", func(o *delivery.Order) { o.Destinations, o.Copies = []string{two}, 5 })
	_, err := r.run().Enqueue(t.Context(), o, false)
	require.NoError(t, err)
	jobs := r.jobsOf()
	require.Len(t, jobs["app"], 3)
	require.Len(t, jobs["web"], 2)
	require.NoError(t, r.staging.Delete(t.Context(), delivery.PlanKey("r")), "an interrupted run leaves no plan")
	r.deliver(jobs["app"][:2]...)
	r.deliver(jobs["web"][0])
	for _, job := range jobs["app"][1:] { // a note that is late
		require.NoError(t, put(t.Context(), r.staging, delivery.ReplayFailedKey("r", job.File, job.Destination), []byte("{}"), false))
	}

	r.subscribeTwo("web")
	r.jobs = nil
	tally, err := r.run().Enqueue(t.Context(), o, true)
	require.NoError(t, err)
	require.Equal(t, jobs["web"][1:], r.jobs)
	require.EqualValues(t, 2, tally.Copies)
	for _, over := range []bool{false, true} {
		s, err := ReadStatus(t.Context(), r.staging, "r")
		require.NoError(t, err)
		require.EqualValues(t, 5, s.Plan.Copies)
		require.Equal(t, over, s.Over(), "%+v", s)
		r.deliver(jobs["web"]...)
	}
}

// If the catalog allows fewer copies than the order amounted to, by whatever mistake, the rest does
// not become the plan: the order is not over, and what is allowed is made.
func TestResumeWithFewerCopiesKeepsTheOrderOpen(t *testing.T) {
	for hazard, c := range map[string]struct {
		cutShort bool // before there was a plan
		gone     bool // app is unsubscribed on purpose, and copiers give its copies up
	}{
		"enqueued":     {},
		"cut_short":    {cutShort: true},
		"unsubscribed": {gone: true},
	} {
		t.Run(hazard, func(t *testing.T) {
			r := newRig(t)
			r.subscribeTwo("web", "app")
			r.fill()
			o := r.order("r", func(o *delivery.Order) { o.Destinations, o.Copies = []string{two}, 4 })
			_, err := r.run().Enqueue(t.Context(), o, false)
			require.NoError(t, err)
			jobs := r.jobsOf()
			if c.cutShort {
				require.NoError(t, r.staging.Delete(t.Context(), delivery.PlanKey("r")))
			}
			resume := func() (Status, error) {
				r.jobs = nil
				_, resumed := r.run().Enqueue(t.Context(), o, true)
				s, err := ReadStatus(t.Context(), r.staging, "r")
				require.NoError(t, err)
				return s, resumed
			}

			r.subscribeTwo("web")
			s, err := resume()
			require.ErrorIs(t, err, ErrFewerCopies)
			require.ErrorContains(t, err, "of 4 copies 2 to "+two+" are left out")
			require.Equal(t, jobs["web"], r.jobs)
			require.Equal(t, c.cutShort, s.Plan == nil)
			r.deliver(jobs["web"]...)
			s, err = ReadStatus(t.Context(), r.staging, "r")
			require.NoError(t, err)
			require.False(t, s.Over(), "%+v", s)

			if c.gone {
				for _, job := range jobs["app"] {
					require.NoError(t, put(t.Context(), r.staging, delivery.ReplayFailedKey("r", job.File, job.Destination), []byte("{}"), false))
				}
				s, err = resume()
				require.Empty(t, r.jobs)
			} else {
				r.subscribeTwo("web", "app")
				s, err = resume()
				require.Equal(t, jobs["app"], r.jobs)
				r.deliver(jobs["app"]...)
			}
			require.NoError(t, err)
			require.EqualValues(t, 4, s.Plan.Copies)
			s, err = ReadStatus(t.Context(), r.staging, "r")
			require.NoError(t, err)
			require.True(t, s.Over(), "%+v", s)
		})
	}
}

// A resumed replay renews its order at once, because the auditor deletes a replay that has done
// nothing for long. If it was deleted, the replay is not reported as enqueued.
func TestResumeRenewsTheOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fill()
		o := r.order("r", everything)
		_, err := r.run().Enqueue(t.Context(), o, false)
		require.NoError(t, err)
		before, err := objstore.Read(t.Context(), r.staging, delivery.OrderKey("r"), maxOrderBytes)
		require.NoError(t, err)
		time.Sleep(time.Hour)
		resumed := time.Now()
		r.staging.SetFault(func(op objstore.Op) objstore.Fault {
			if op.Name == "get" && strings.HasPrefix(op.Key, "ledger/") {
				return objstore.Fault{Before: objstore.ErrDenied} // before the replay does anything else
			}
			return objstore.Fault{}
		})
		_, err = r.run().Enqueue(t.Context(), o, true)
		require.ErrorIs(t, err, objstore.ErrDenied)
		r.staging.SetFault(nil)
		after, info, err := objstore.ReadInfo(t.Context(), r.staging, delivery.OrderKey("r"), maxOrderBytes)
		require.NoError(t, err)
		require.Equal(t, before, after)
		require.False(t, info.LastModified.Before(resumed))

		require.NoError(t, r.staging.Delete(t.Context(), delivery.PlanKey("r")))
		slow := r.run() // it takes longer than the retention
		slow.OnTally = func(Tally) { require.NoError(t, r.staging.Delete(t.Context(), delivery.OrderKey("r"))) }
		_, err = slow.Enqueue(t.Context(), o, false)
		require.ErrorIs(t, err, ErrOrderExpired)
		s, err := ReadStatus(t.Context(), r.staging, "r")
		require.NoError(t, err)
		require.Nil(t, s.Plan)
	})
}

// An order is refused when it is resumed for the same reasons as when it is given.
func TestResumeIsRefused(t *testing.T) {
	for want, change := range map[string]func(*catalog.Workspace){
		"is not in the catalog": func(w *catalog.Workspace) { w.Destinations = nil },
		"is disabled":           func(w *catalog.Workspace) { off := false; w.Destinations[0].Enabled = &off },
	} {
		t.Run(want, func(t *testing.T) {
			r := newRig(t)
			r.fill()
			o := r.order("r", func(o *delivery.Order) { o.Destinations, o.Sources = []string{two}, []string{"web"} })
			_, err := r.run().Enqueue(t.Context(), o, false)
			require.NoError(t, err)
			before, err := ReadStatus(t.Context(), r.staging, "r")
			require.NoError(t, err)
			r.jobs = nil
			w := catalog.Workspace{ID: acme, Sources: []catalog.Source{{ID: "web"}, {ID: "app"}}, Destinations: []catalog.Destination{{Name: "two", Sources: []string{"web"}, Bucket: "two-logs"}}}
			change(&w)
			s, err := catalog.NewSnapshot([]catalog.Workspace{w})
			require.NoError(t, err)
			r.catalog.Set(s)
			_, err = r.run().Enqueue(t.Context(), o, true)
			require.ErrorIs(t, err, ErrRefused)
			require.ErrorContains(t, err, want)
			require.Empty(t, r.jobs)
			after, err := ReadStatus(t.Context(), r.staging, "r")
			require.NoError(t, err)
			require.Equal(t, before, after)
		})
	}
}

// What a former run did is listed along with the walk, and not separately for every entry.
func TestResumeListsFormerRunsOnce(t *testing.T) {
	r := newRig(t)
	for i := range 40 {
		r.write([]string{"web", "shop"}[i%2], hour+int64(i), fmt.Sprintf(`{"messageId":"%d"}`, i))
		r.seal(100, nil)
	}
	o := r.order("r", func(o *delivery.Order) { o.Destinations = []string{one} })
	_, err := r.run().Enqueue(t.Context(), o, false)
	require.NoError(t, err)
	require.Len(t, r.jobs, 20)
	for i, job := range r.jobs {
		if i%3 == 0 {
			r.deliver(job)
		}
		if i%2 == 0 {
			require.NoError(t, put(t.Context(), r.staging, delivery.ReplayFailedKey("r", job.File, job.Destination), []byte("{}"), false))
		}
	}
	lists := 0
	r.staging.SetFault(func(op objstore.Op) objstore.Fault {
		if op.Name == "list" {
			lists++
		}
		return objstore.Fault{}
	})
	r.jobs = nil
	tally, err := r.run().Enqueue(t.Context(), o, true)
	require.NoError(t, err)
	require.EqualValues(t, 7, tally.Done)
	require.Len(t, r.jobs, 13)
	require.Equal(t, 2, lists, "one listing of receipts and one of failure notes")
	s, err := ReadStatus(t.Context(), r.staging, "r")
	require.NoError(t, err)
	require.EqualValues(t, 20, s.Plan.Copies)
	require.EqualValues(t, 7, s.Delivered)
	require.Zero(t, s.Failed)
}

// A copy that both failed and arrived, because it was tried twice or its note was late, counts
// once: otherwise another copy that is outstanding would be taken for made.
func TestFailedAndDeliveredCopyCountsOnce(t *testing.T) {
	r := newRig(t)
	r.fill()
	_, err := r.run().Enqueue(t.Context(), r.order("r", everything), false)
	require.NoError(t, err)
	for _, job := range r.jobs[:5] {
		require.NoError(t, put(t.Context(), r.staging, delivery.ReplayFailedKey("r", job.File, job.Destination), []byte("{}"), false))
	}
	r.deliver(r.jobs[3:5]...)
	for _, left := range []bool{true, false} {
		s, err := ReadStatus(t.Context(), r.staging, "r")
		require.NoError(t, err)
		require.EqualValues(t, 3, s.Failed)
		require.Equal(t, left, !s.Over(), "%+v", s)
		r.deliver(r.jobs[5])
	}
}

// How many copies already existed is counted by the receipts that can be read, at most the first
// ones.
func TestReadExisting(t *testing.T) {
	r := newRig(t)
	r.fill()
	_, err := r.run().Enqueue(t.Context(), r.order("r", everything), false)
	require.NoError(t, err)
	require.Len(t, r.jobs, 6)
	for i, job := range r.jobs {
		body := delivery.Receipt{File: job.File, Destination: job.Destination, Outcome: delivery.Delivered, Replay: "r", Existed: i%2 == 1}.Encode()
		if i == 5 {
			body = []byte("torn")
		}
		require.NoError(t, put(t.Context(), r.staging, delivery.ReplayReceiptKey("r", job.File, job.Destination), body, false))
	}
	for most, want := range map[int]Existing{10: {Existed: 2, ReceiptsRead: 5}, 4: {Existed: 2, ReceiptsRead: 4}, 1: {ReceiptsRead: 1}} {
		existing, err := ReadExisting(t.Context(), r.staging, "r", most)
		require.NoError(t, err)
		require.Equal(t, want, existing)
	}
}

// A note that cannot be read hides neither itself nor those after it.
func TestFailuresWithUnreadableNotes(t *testing.T) {
	r := newRig(t)
	r.fill()
	o := r.order("r", everything)
	_, err := r.run().Enqueue(t.Context(), o, false)
	require.NoError(t, err)
	var keys []string
	for i, body := range []string{"hello", strings.Repeat("x", 1<<20+1), string(delivery.Parked{Job: r.jobs[2], Cause: "x", Fix: "y"}.Encode())} {
		key := delivery.ReplayFailedKey("r", r.jobs[i].File, r.jobs[i].Destination)
		require.NoError(t, put(t.Context(), r.staging, key, []byte(body), false))
		keys = append(keys, key)
	}
	found := map[delivery.Job]delivery.Parked{}
	collect := func(p delivery.Parked) bool {
		p.Job.Version = r.jobs[0].Version
		found[p.Job] = p
		return true
	}
	require.NoError(t, EachFailure(t.Context(), r.staging, "r", collect))
	require.Len(t, found, 3)
	for i, key := range keys[:2] {
		p := found[r.jobs[i]]
		require.Equal(t, delivery.ReasonUnreadable, p.Reason)
		require.Contains(t, p.Cause, key)
		require.Contains(t, p.Fix, "sealift replay --resume r")
	}
	require.Equal(t, "x", found[r.jobs[2]].Cause)

	clear(found)
	stray := delivery.ReplayFailuresPrefix("r") + "a"
	for _, key := range []string{stray, delivery.ReplayReceiptsPrefix("r") + "a.json"} {
		require.NoError(t, put(t.Context(), r.staging, key, nil, false))
	}
	require.ErrorContains(t, EachFailure(t.Context(), r.staging, "r", collect), stray)
	require.Len(t, found, 3)
	r.deliver(r.jobs[3])
	s, err := ReadStatus(t.Context(), r.staging, "r")
	require.NoError(t, err)
	require.Equal(t, [2]int64{1, 3}, [2]int64{s.Delivered, s.Failed}, "objects with other keys are not counted as copies")

	r.jobs = nil
	_, err = r.run().Enqueue(t.Context(), o, true)
	require.NoError(t, err)
	for _, key := range keys {
		_, err := r.staging.Head(t.Context(), key)
		require.ErrorIs(t, err, objstore.ErrNotFound, "resuming did not delete the failure note")
	}
}

func TestRateIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		_, second := r.fill()
		start := time.Now()
		_, err := r.run().Enqueue(t.Context(), r.order("files", func(o *delivery.Order) { o.FilesPerSecond = 0.5 }), false)
		require.NoError(t, err)
		require.Equal(t, 10*time.Second, time.Since(start), "the first file at once, the other five every two seconds")
		for i := range r.enqueuedAt {
			require.LessOrEqual(t, r.enqueuedAt[i].Sub(start), time.Duration(i+1)*2*time.Second)
		}

		start = time.Now()
		size := second.Files[0].GzipBytes
		_, err = r.run().Enqueue(t.Context(), r.order("bytes", func(o *delivery.Order) { o.BytesPerSecond = size; o.Sources = []string{"web"} }), false)
		require.NoError(t, err)
		require.InDelta(t, time.Second, time.Since(start), float64(200*time.Millisecond))

		start, r.enqueuedAt = time.Now(), nil
		_, err = r.run().Enqueue(t.Context(), r.order("fast", func(o *delivery.Order) { o.FilesPerSecond = 20 }), false)
		require.NoError(t, err)
		require.Equal(t, 200*time.Millisecond, r.enqueuedAt[5].Sub(start), "the last job is enqueued at the ordered rate")
		require.Equal(t, r.enqueuedAt[0], r.enqueuedAt[1], "the first jobs are enqueued in one request")
	})
}

func TestPacerAllowsNoBurstAfterAPause(t *testing.T) {
	p := pacer{files: 10}
	at := time.UnixMilli(0)
	require.Zero(t, p.reserve(1, at))
	require.Equal(t, 100*time.Millisecond, p.reserve(1, at))
	at = at.Add(time.Hour)
	require.Zero(t, p.reserve(1, at))
	require.Equal(t, 100*time.Millisecond, p.reserve(1, at), "no burst after a pause")
}

func TestCheckRefuses(t *testing.T) {
	r := newRig(t)
	for want, change := range map[string]func(*delivery.Order){
		"is not in the catalog":             func(o *delivery.Order) { o.Destinations = []string{acme + "/three"} },
		"another workspace":                 func(o *delivery.Order) { o.Destinations, o.Sources = []string{theirs}, []string{"web"} },
		"use WORKSPACE/NAME":                func(o *delivery.Order) { o.Destinations = []string{"one"} },
		"from \"disk\": use":                func(o *delivery.Order) { o.From = "disk" },
		"until must be after since":         func(o *delivery.Order) { o.Since, o.Until = next, hour },
		"view \"segment-logs\"":             func(o *delivery.Order) { o.View = "segment-logs" },
		"view \"a/b\"":                      func(o *delivery.Order) { o.View = "a/b" },
		"offsets 0:5-4: use":                func(o *delivery.Order) { o.Offsets = []delivery.Range{{First: 5, Last: 4}} },
		"must not be negative":              func(o *delivery.Order) { o.FilesPerSecond = -1 },
		"id \"../x\": use up to 64 of a-z,": func(o *delivery.Order) { o.ID = "../x" },
	} {
		o := &delivery.Order{ID: "r", Topic: "events", Incarnation: "1", From: delivery.FromAuto}
		change(o)
		require.ErrorContains(t, r.run().Check(o), want)
	}
	require.NoError(t, r.run().Check(&delivery.Order{ID: "r", Topic: "events", Incarnation: "1", From: delivery.FromAuto, Destinations: []string{two}, Sources: []string{"web"}}))
}

// What the ledger owes to a destination may be replayed to it, as sealift verify says to do with a missing object, although
// the source was taken from it since. A source of which nothing may go there is refused.
func TestUnsubscribedSources(t *testing.T) {
	r := newRig(t)
	r.owed["app"] = []string{two}
	r.write("app", hour, `{"messageId":"1"}`)
	r.seal(100, nil)
	delete(r.owed, "app")
	r.write("app", next, `{"messageId":"2"}`)
	r.seal(100, nil)
	owed := r.order("owed", func(o *delivery.Order) { o.Destinations, o.Sources, o.Until = []string{two}, []string{"app"}, next })
	require.NoError(t, r.run().Check(owed))
	tally, err := r.run().Count(t.Context(), owed)
	require.NoError(t, err)
	require.EqualValues(t, 1, tally.Copies)
	_, err = r.run().Enqueue(t.Context(), owed, true)
	require.NoError(t, err)
	require.Equal(t, []string{"app 0→two"}, r.targets())
	_, err = r.run().Count(t.Context(), r.order("later", func(o *delivery.Order) {
		o.Destinations, o.Sources, o.Since = []string{two}, []string{"web", "app"}, next
	}))
	require.ErrorIs(t, err, ErrNotSubscribed)
}

func TestOrdersAreGivenOnceAndFound(t *testing.T) {
	r := newRig(t)
	r.fill()
	for _, id := range []string{"a", "a-b", "b"} {
		o := r.order(id, everything)
		require.ErrorIs(t, WriteOrder(t.Context(), r.staging, o), objstore.ErrExists)
		_, err := r.run().Enqueue(t.Context(), o, false)
		require.NoError(t, err)
		r.deliver(r.jobs...)
	}
	ids, err := ListIDs(t.Context(), r.staging)
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"a", "a-b", "b"}, ids)
	o, err := ReadOrder(t.Context(), r.staging, "a-b")
	require.NoError(t, err)
	require.Equal(t, "a-b", o.ID)
	_, err = ReadOrder(t.Context(), r.staging, "c")
	require.ErrorIs(t, err, objstore.ErrNotFound)
	require.Regexp(t, `^20261122-140000-[0-9a-f]{6}$`, NewID(time.UnixMilli(hour)))
}

// If a source has moved to another workspace, copies of files owed to the former one are refused
// and counted; files that nobody would expect there are not counted.
func TestRefusedCopiesAreCounted(t *testing.T) {
	r := newRig(t)
	r.fill()
	s, err := catalog.NewSnapshot([]catalog.Workspace{
		{ID: acme, Sources: []catalog.Source{{ID: "app"}}, Destinations: []catalog.Destination{{Name: "one", Sources: []string{"app"}, Bucket: "one-logs"}}},
		{ID: "ws_other0123456789ab", Sources: []catalog.Source{{ID: "shop"}, {ID: "web"}}, Destinations: []catalog.Destination{{Name: "theirs", Sources: []string{"shop", "web"}, Bucket: "their-logs"}}},
	})
	require.NoError(t, err)
	r.catalog.Set(s)
	r.write("web", next, `{"messageId":"owed to nobody else"}`)
	r.owed["web"] = []string{theirs}
	r.seal(100, nil)
	o := r.order("r", func(o *delivery.Order) { o.Destinations = []string{theirs} })
	want := []Refusal{{Source: "web", Destination: theirs, Owed: one, Copies: 2}}
	dry, err := r.run().Count(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, want, dry.Refused)
	require.EqualValues(t, 3, dry.Copies)
	tally, err := r.run().Enqueue(t.Context(), o, false)
	require.NoError(t, err)
	require.Equal(t, want, tally.Refused)
	require.Equal(t, []string{"shop 0→theirs", "shop 1→theirs", "web 1→theirs"}, r.targets())
}

// Files that are owed to nobody go only where an order says. Whoever gives one that does not say it
// learns how many there are, so that a part is not taken for everything.
func TestUnowedFilesAreCounted(t *testing.T) {
	r := newRig(t)
	r.fill()
	r.owed["web"] = nil
	r.write("web", next, `{"messageId":"while it was disabled"}`)
	r.seal(100, nil)
	webOnly := func(o *delivery.Order) { o.Sources = []string{"web"} }
	o := r.order("r", webOnly)
	dry, err := r.run().Count(t.Context(), o)
	require.NoError(t, err)
	require.EqualValues(t, 1, dry.Unowed)
	owed := dry.Copies
	_, err = r.run().Enqueue(t.Context(), o, false)
	require.NoError(t, err)
	require.Len(t, r.targets(), int(owed))

	dry, err = r.run().Count(t.Context(), r.order("r2", func(o *delivery.Order) { webOnly(o); o.Destinations = []string{one} }))
	require.NoError(t, err)
	require.Zero(t, dry.Unowed, "the order says where they go")
	require.Equal(t, owed+1, dry.Copies)
}
