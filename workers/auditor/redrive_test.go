package auditor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/objstore/objstoretest"
)

// Destinations of a workspace that may be in the catalog.
const (
	workspace = "ws_aaaaaaaaaaaaaaaa"
	backOne   = workspace + "/one"
	backTwo   = workspace + "/two"
)

// catalog sets the catalog to backOne and backTwo, as modified by change.
func (r *rig) catalog(change func(w *catalog.Workspace)) {
	w := catalog.Workspace{ID: workspace, Sources: []catalog.Source{{ID: "web"}}, Destinations: []catalog.Destination{
		{Name: "one", Sources: []string{"web"}, Bucket: "one-logs"}, {Name: "two", Sources: []string{"web"}, Bucket: "two-logs"},
	}}
	if change != nil {
		change(&w)
	}
	s, err := catalog.NewSnapshot([]catalog.Workspace{w})
	require.NoError(r.t, err)
	r.deps.Catalog.Set(s)
}

func disable(w *catalog.Workspace) {
	no := false
	w.Destinations[0].Enabled = &no
}

// parkFor parks a debt for a reason.
func (r *rig) parkFor(e *ledger.Entry, i int, dest, reason string) string {
	p := delivery.Parked{Job: delivery.Job{File: delivery.Ref(e, i), Destination: dest, Attempt: 3, LastError: "x"}, Reason: reason, Cause: "x", Fix: "y"}
	key := delivery.ParkedKey(p.Job.File, dest)
	r.stage(key, string(p.Encode()))
	return key
}

// countNoteReads counts, from now on, the reads of parked jobs.
func (r *rig) countNoteReads() *int {
	n := new(int)
	r.staging.SetFault(func(op objstore.Op) objstore.Fault {
		if op.Name == "get" && strings.HasPrefix(op.Key, "parked/") {
			*n++
		}
		return objstore.Fault{}
	})
	return n
}

func TestParkedJobsAreRedrivenWhenTheirDestinationIsBack(t *testing.T) {
	for hazard, c := range map[string]struct {
		reason string
		change func(*catalog.Workspace)
		back   bool
	}{
		"enabled_again":    {delivery.ReasonDisabled, nil, true},
		"put_back":         {delivery.ReasonGone, nil, true},
		"record_corrected": {delivery.ReasonRefused, nil, true},
		"still_disabled":   {delivery.ReasonDisabled, disable, false},
		"gone_then_off":    {delivery.ReasonGone, disable, false},
		"still_gone":       {delivery.ReasonGone, func(w *catalog.Workspace) { w.Destinations = w.Destinations[1:] }, false},
		"denied":           {"put_denied", nil, false},
		"former_release":   {"", nil, false},
	} {
		t.Run(hazard, func(t *testing.T) {
			r := newRig(t, nil)
			e := r.seal(log0, time.Hour, []string{backOne}, "a")
			key := r.parkFor(e, 0, backOne, c.reason)
			r.catalog(c.change)
			report := r.audit()
			require.Equal(t, !c.back, r.exists(key))
			jobs := r.jobs.take()
			if !c.back {
				require.Empty(t, jobs)
				require.EqualValues(t, 1, report.Parked)
				return
			}
			require.Equal(t, []delivery.Job{{Version: 1, File: delivery.Ref(e, 0), Destination: backOne}}, jobs, "want one job without attempts")
			require.EqualValues(t, 1, report.Redriven)
			require.EqualValues(t, 1, report.Parked, "a redriven job is also counted as parked")
			report = r.audit()
			require.EqualValues(t, 1, report.Queued)
			require.Zero(t, report.Parked)
			require.Empty(t, r.jobs.take())
		})
	}
}

func TestRedriveHazards(t *testing.T) {
	t.Run("young", func(t *testing.T) { // the walk leaves its entry alone
		r := newRig(t, nil)
		e := r.seal(log0, time.Minute, []string{backOne}, "a")
		r.parkFor(e, 0, backOne, delivery.ReasonDisabled)
		r.catalog(nil)
		r.audit()
		require.Len(t, r.jobs.take(), 1)
	})
	t.Run("dry_run", func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.DryRun = true })
		key := r.parkFor(r.seal(log0, time.Hour, []string{backOne}, "a"), 0, backOne, delivery.ReasonDisabled)
		r.catalog(nil)
		require.EqualValues(t, 1, r.audit().Redriven)
		require.True(t, r.exists(key))
		require.Empty(t, r.jobs.take())
	})
	t.Run("kafka_away", func(t *testing.T) {
		r := newRig(t, nil)
		key := r.parkFor(r.seal(log0, time.Hour, []string{backOne}, "a"), 0, backOne, delivery.ReasonDisabled)
		r.catalog(nil)
		r.jobs.fail = errors.New("no broker")
		_, err := r.Audit(t.Context())
		require.ErrorContains(t, err, "no broker")
		require.True(t, r.exists(key), "the note is gone")
		r.jobs.fail = nil
		r.audit()
		require.Len(t, r.jobs.take(), 1)
		require.False(t, r.exists(key))
	})
	t.Run("note_not_deleted", func(t *testing.T) { // it is enqueued once; those beside and after it do not wait
		r := newRig(t, nil)
		e := r.seal(log0, time.Hour, []string{backOne}, strings.Split(strings.Repeat("x", jobsPerBatch+1), "")...)
		var keys []string
		for i := range e.Files {
			keys = append(keys, r.parkFor(e, i, backOne, delivery.ReasonDisabled))
		}
		key := slices.Min(keys)
		r.catalog(nil)
		r.staging.SetFault(func(op objstore.Op) objstore.Fault {
			if op.Name == "delete" && op.Key == key {
				return objstore.Fault{Before: objstore.ErrDenied}
			}
			return objstore.Fault{}
		})
		report, err := r.Audit(t.Context())
		require.ErrorIs(t, err, objstore.ErrDenied)
		require.EqualValues(t, jobsPerBatch, report.Redriven)
		require.Len(t, r.jobs.take(), jobsPerBatch)
		r.staging.SetFault(nil)
		require.EqualValues(t, 1, r.audit().Redriven)
	})
	t.Run("without_redis", func(t *testing.T) {
		r := newRig(t, nil)
		r.parkFor(r.seal(log0, time.Hour, []string{backOne}, "a"), 0, backOne, delivery.ReasonDisabled)
		r.catalog(nil)
		r.redis.SetError("LOADING")
		r.audit()
		require.NotEmpty(t, r.jobs.take())
	})
	t.Run("unreadable_note", func(t *testing.T) { // people will see it, and verify reports it
		r := newRig(t, nil)
		e := r.seal(log0, time.Hour, []string{backOne, backTwo}, "a")
		bad, elsewhere := delivery.ParkedKey(delivery.Ref(e, 0), backOne), delivery.ParkedKey(delivery.Ref(e, 0), backTwo)
		large := r.seal(log0, time.Hour, []string{backOne}, "a")
		tooLarge := delivery.ParkedKey(delivery.Ref(large, 0), backOne)
		r.stage(tooLarge, strings.Repeat("x", 1<<20+1))
		r.stage(bad, "hello")
		r.stage(elsewhere, string(delivery.Parked{Job: delivery.Job{File: delivery.Ref(e, 0), Destination: backOne}, Reason: delivery.ReasonDisabled}.Encode()))
		r.catalog(nil)
		require.EqualValues(t, 3, r.audit().Parked)
		require.True(t, r.exists(tooLarge))
		require.True(t, r.exists(bad))
		require.True(t, r.exists(elsewhere))
	})
	t.Run("unread_once_only", func(t *testing.T) {
		r := newRig(t, nil)
		e := r.seal(log0, time.Hour, []string{backOne}, "a", "b", "c")
		r.parkFor(e, 0, backOne, "put_denied")
		r.parkFor(e, 1, backOne, "put_denied")
		r.catalog(nil)
		r.parkedReads.readUntil[backOne] = time.Now().Add(2 * maxClockDifference).UnixMilli()
		n := r.countNoteReads()
		r.audit()
		require.Zero(t, *n)
		r.catalog(disable)
		r.audit()
		r.catalog(nil)
		n = r.countNoteReads()
		r.audit()
		require.Equal(t, 2, *n, "want both notes read after the destination was disabled")
		r.parkFor(e, 2, backOne, delivery.ReasonDisabled)
		require.EqualValues(t, 1, r.audit().Redriven)
	})
}

// An auditor that starts reads only the notes that none has read yet, of a million that may be
// parked.
func TestRestartReadsOnlyNewNotes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigWithoutRedis(t)
		start := func(change func(*Config)) *Auditor { // like another process
			cfg := Config{Grace: 10 * time.Minute}
			if change != nil {
				change(&cfg)
			}
			deps := r.deps
			deps.Catalog = catalog.NewLive()
			a, err := New(cfg, deps)
			require.NoError(t, err)
			r.Auditor = a
			r.catalog(nil)
			return a
		}
		reads := func(change func(*Config)) int {
			n := r.countNoteReads()
			_, err := start(change).Audit(t.Context())
			require.NoError(t, err)
			return *n
		}
		e := r.seal(log0, time.Hour, []string{backOne}, "a", "b", "c", "d")
		r.parkFor(e, 0, backOne, "put_denied")
		time.Sleep(2 * maxClockDifference)
		r.parkFor(e, 1, backOne, "put_denied")
		require.Equal(t, 2, reads(func(c *Config) { c.DryRun = true }))
		require.Equal(t, 2, reads(nil), "the dry run noted what it read")
		require.Equal(t, 1, reads(nil), "want notes of the last minute read again")

		time.Sleep(2 * maxClockDifference)
		r.parkFor(e, 2, backOne, delivery.ReasonDisabled)
		r.jobs.take()
		require.Equal(t, 2, reads(nil))
		require.Equal(t, []delivery.Job{{Version: 1, File: delivery.Ref(e, 2), Destination: backOne}}, r.jobs.take()[:1])

		require.Equal(t, 2, reads(func(c *Config) { c.Full = true }), "Full must read every note")
		for hazard, body := range map[string]string{
			"damaged":         `{"version":1,"unt`,
			"a_later_release": `{"version":2,"until":{"` + backOne + `":1}}`,
			"a_clock_ahead":   fmt.Sprintf(`{"version":1,"until":{%q:%d}}`, backOne, time.Now().Add(time.Hour).UnixMilli()),
			"empty":           `{}`,
		} {
			r.stage(parkedReadsKey, body)
			require.Equal(t, 2, reads(nil), hazard)
		}
	})
}

// Invariant: I10. Missing jobs are enqueued before all parked notes are read, of which there may be
// a million after a restart.
func TestMissingJobsAreEnqueuedBeforeNotesAreRead(t *testing.T) {
	r := newRig(t, nil)
	e := r.seal(log0, time.Hour, []string{backOne}, "a", "b")
	r.parkFor(e, 0, backOne, "put_denied")
	r.catalog(nil)
	var enqueued []delivery.Job
	read := false
	r.staging.SetFault(func(op objstore.Op) objstore.Fault {
		if op.Name == "get" && strings.HasPrefix(op.Key, "parked/") {
			read, enqueued = true, r.jobs.take()
		}
		return objstore.Fault{}
	})
	r.audit()
	require.True(t, read)
	require.Equal(t, []delivery.Job{{Version: 1, File: delivery.Ref(e, 1), Destination: backOne}}, enqueued)
}

// Parked jobs of a destination are redriven concurrently.
func TestParkedJobsAreRedrivenInParallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigWithoutRedis(t)
		r.deps.Catalog = catalog.NewLive()
		e := r.seal(log0, time.Hour, []string{backOne}, strings.Split(strings.Repeat("a", 10*entriesAtOnce), "")...)
		for i := range e.Files {
			r.parkFor(e, i, backOne, delivery.ReasonDisabled)
		}
		r.catalog(nil)
		r.deps.Staging = objstoretest.Slow(r.deps.Staging, time.Second, "get", "delete")
		begun := time.Now()
		require.NoError(t, r.redriveDestinations(t.Context(), []string{backOne}))
		require.Len(t, r.jobs.take(), len(e.Files))
		require.Equal(t, 16*time.Second, time.Since(begun), "want reads 8 and deletions 16 at a time")
	})
}

// When an operator enables a destination, its parked jobs do not wait for the next audit.
func TestRedriveFollowsTheCatalog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigWithoutRedis(t)
		r.deps.Catalog = catalog.NewLive()
		r.deps.Log = slog.New(slog.DiscardHandler)
		e := r.seal(log0, time.Hour, []string{backOne, backTwo}, "a")
		off, denied := r.parkFor(e, 0, backOne, delivery.ReasonDisabled), r.parkFor(e, 0, backTwo, "put_denied")
		r.catalog(disable)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.Run(ctx) }()
		time.Sleep(time.Minute)
		require.True(t, r.exists(off))
		r.catalog(func(w *catalog.Workspace) { disable(w); w.Destinations[1].Bucket = "more-logs" })
		time.Sleep(time.Minute)
		require.Empty(t, r.jobs.take(), "redriven although no destination came back")
		r.catalog(nil)
		time.Sleep(catalogSpreadTime - time.Second)
		require.Empty(t, r.jobs.take(), "redriven before the copiers know the catalog")
		time.Sleep(catalogSpreadTime)
		synctest.Wait()
		require.Equal(t, []delivery.Job{{Version: 1, File: delivery.Ref(e, 0), Destination: backOne}}, r.jobs.take())
		require.False(t, r.exists(off))
		require.True(t, r.exists(denied))
		cancel()
		require.NoError(t, <-done)
	})
}

// What was parked is redriven soon after its destination is back, but not before all copiers know
// that, whatever changes the auditor noticed.
func TestRedriveSeesEveryChangeOfTheCatalog(t *testing.T) {
	const soon = catalogSpreadTime + catalogSpreadTime/3 + time.Second
	elsewhere := func(w *catalog.Workspace) { w.Destinations[1].Bucket = "more-logs" }
	for hazard, c := range map[string]struct {
		before func(*rig, func()) // starts after a minute; it calls the function when jobs are to be parked
		store  bool               // staging is slow
	}{
		"off_and_on_at_once": {before: func(r *rig, park func()) {
			r.catalog(disable)
			park()
			time.Sleep(8 * time.Second)
			r.catalog(nil)
		}},
		"on_at_the_end_of_the_wait_for_others": {before: func(r *rig, park func()) {
			r.catalog(disable)
			park()
			time.Sleep(catalogSpreadTime - time.Second)
			r.catalog(nil)
		}},
		"others_change_all_the_time": {before: func(r *rig, park func()) {
			r.catalog(disable)
			park()
			time.Sleep(time.Minute)
			r.catalog(nil)
			go func() {
				for range 10 {
					time.Sleep(2 * time.Second)
					r.catalog(elsewhere)
				}
			}()
		}},
		"off_and_on_while_notes_are_read": {store: true, before: func(r *rig, park func()) {
			r.catalog(func(w *catalog.Workspace) { no := false; w.Destinations[1].Enabled = &no })
			time.Sleep(time.Minute)
			r.catalog(nil)
			time.Sleep(soon + 5*time.Second) // a note of the other destination is being read
			r.catalog(disable)
			park()
			time.Sleep(5 * time.Second)
			r.catalog(nil)
		}},
	} {
		t.Run(hazard, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRigWithoutRedis(t)
				r.deps.Catalog = catalog.NewLive()
				if c.store {
					r.deps.Staging = objstoretest.Slow(r.deps.Staging, time.Second, "get", "delete")
				}
				e := r.seal(log0, time.Hour, []string{backOne, backTwo}, strings.Split(strings.Repeat("a", 100*entriesAtOnce), "")...)
				for i := range e.Files[1:] {
					r.parkFor(e, i+1, backTwo, "put_denied")
				}
				r.catalog(nil)
				defer r.start()()
				time.Sleep(5 * time.Minute)
				c.before(r, func() { r.parkFor(e, 0, backOne, delivery.ReasonDisabled) })
				time.Sleep(catalogSpreadTime - time.Second)
				require.Empty(t, r.jobs.take(), "redriven before the copiers know the catalog")
				time.Sleep(soon - catalogSpreadTime + 5*time.Second)
				require.Equal(t, []delivery.Job{{Version: 1, File: delivery.Ref(e, 0), Destination: backOne}}, r.jobs.take())
			})
		})
	}
}

// What changed while no auditor was running is noticed by the next.
func TestRedriveAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigWithoutRedis(t)
		r.deps.Catalog = catalog.NewLive()
		e := r.seal(log0, time.Hour, []string{backOne}, "a")
		r.parkFor(e, 0, backOne, delivery.ReasonDisabled)
		r.catalog(nil)
		defer r.start()()
		time.Sleep(catalogSpreadTime - time.Second)
		require.Empty(t, r.jobs.take(), "redriven before the copiers know the catalog")
		time.Sleep(catalogSpreadTime)
		require.Len(t, r.jobs.take(), 1)
	})
}

// start starts the role; the returned function ends it.
func (r *rig) start() (end func()) {
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	return func() {
		cancel()
		require.NoError(r.t, <-done)
	}
}
