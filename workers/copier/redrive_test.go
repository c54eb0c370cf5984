package copier

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/destination"
	"github.com/sealift/sealift/pkg/lease"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/ledger/ledgertest"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/objstore/objstoretest"
	"github.com/sealift/sealift/pkg/receipt"
	"github.com/sealift/sealift/pkg/stream"
)

// jobTopic collects the jobs that a redrive enqueues.
type jobTopic struct {
	jobs []delivery.Job
	fail error
}

func (j *jobTopic) Produce(_ context.Context, records ...stream.Record) error {
	if j.fail != nil {
		return j.fail
	}
	for _, r := range records {
		job, err := delivery.DecodeJob(r.Value)
		if err != nil {
			return err
		}
		j.jobs = append(j.jobs, job)
	}
	return nil
}

func parkSome(t *testing.T) (*rig, []delivery.Job) {
	r := newRig(t)
	var jobs []delivery.Job
	for _, dest := range []string{acmeOne, acmeOne, acmeTwo} {
		job := r.job(dest, "x")
		job.Attempt, job.FirstTry, job.LastError = 3, 1, "no"
		require.NoError(t, r.park(t.Context(), job, destination.Verdict{Cause: "no", Fix: destination.Fix{Do: "yes"}}))
		jobs = append(jobs, job)
	}
	return r, jobs
}

func (r *rig) parkedKeys() (keys []string) {
	infos, err := r.staging.List(r.t.Context(), delivery.ParkedPrefix(""), "", 0)
	require.NoError(r.t, err)
	for _, info := range infos {
		keys = append(keys, info.Key)
	}
	return keys
}

func TestRedriveEnqueuesParkedJobs(t *testing.T) {
	r, jobs := parkSome(t)
	topic := &jobTopic{}
	var seen []string
	done, err := Redrive{Staging: r.staging, Jobs: topic, Destination: acmeOne, OnParked: func(p delivery.Parked) { seen = append(seen, p.Cause) }}.Run(t.Context())
	require.NoError(t, err)
	require.Equal(t, RedriveResult{Found: 2, Enqueued: 2}, done)
	require.Equal(t, []string{"no", "no"}, seen)
	require.Equal(t, []delivery.Job{{Version: 1, File: jobs[0].File, Destination: acmeOne}, {Version: 1, File: jobs[1].File, Destination: acmeOne}}, topic.jobs)
	require.Equal(t, []string{delivery.ParkedKey(jobs[2].File, acmeTwo)}, r.parkedKeys())

	for _, job := range topic.jobs {
		require.Equal(t, outcome{kind: outcomeDone}, r.runJob(t.Context(), job))
	}
	require.Len(t, r.objects("one-logs"), 2)
}

// Parked jobs are redriven several at a time, because somebody who has repaired a bucket must not
// wait for a hundred thousand files one by one. They are still reported in their order.
func TestRedriveWorksInParallel(t *testing.T) {
	for _, skip := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			staging := objstore.NewMemory("staging")
			const n = 10 * 16 // job.InParallel runs 16 at once
			var files []ledger.File
			for i := range n {
				files = append(files, ledgertest.File(testLog, ledger.File{First: int64(i), Owed: []string{acmeOne}}, []byte("x")))
				p := delivery.Parked{Job: delivery.Job{File: delivery.FileRef{Topic: "events", Incarnation: "1", Seq: 1, Index: i}, Destination: acmeOne}, Cause: fmt.Sprint(i), Fix: "y"}
				require.NoError(t, putNote(t.Context(), staging, delivery.ParkedKey(p.Job.File, acmeOne), p.Encode()))
			}
			ledgertest.Append(t, staging, ledgertest.Next(ledgertest.Append(t, staging, ledgertest.Init(testLog, time.Now())), files...))
			topic, seen := &jobTopic{}, []string(nil)
			begun := time.Now()
			slow := objstoretest.Slow(staging, time.Second, "get", "delete")
			done, err := Redrive{Staging: slow, Jobs: topic, Skip: skip, OnParked: func(p delivery.Parked) { seen = append(seen, p.Cause) }}.Run(t.Context())
			require.NoError(t, err)
			require.EqualValues(t, n, done.Enqueued+done.Skipped)
			require.Len(t, seen, n)
			for i, cause := range seen {
				require.Equal(t, fmt.Sprint(i), cause)
			}
			for i, job := range topic.jobs {
				require.Equal(t, i, job.File.Index)
			}
			want := 10 * 2 * time.Second // reading and deleting the notes
			if skip {
				want = (1 + 10*3) * time.Second // also reading the entry and the receipts
			}
			require.Equal(t, want, time.Since(begun))
		})
	}
}

func TestRedriveOfAWorkspaceAndOfEverything(t *testing.T) {
	for _, dest := range []string{acme, ""} {
		r, _ := parkSome(t)
		done, err := Redrive{Staging: r.staging, Jobs: &jobTopic{}, Destination: dest}.Run(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 3, done.Enqueued)
		require.Empty(t, r.parkedKeys())
	}
}

func TestRedriveDryRunChangesNothing(t *testing.T) {
	r, _ := parkSome(t)
	done, err := Redrive{Staging: r.staging, DryRun: true, Skip: true}.Run(t.Context())
	require.NoError(t, err)
	require.Equal(t, RedriveResult{Found: 3}, done)
	require.Len(t, r.parkedKeys(), 3)
}

func TestRedriveSkipClosesTheDebts(t *testing.T) {
	r, jobs := parkSome(t)
	done, err := Redrive{Staging: r.staging, Destination: acmeTwo, Skip: true, Worker: "cli"}.Run(t.Context())
	require.NoError(t, err)
	require.Equal(t, RedriveResult{Found: 1, Skipped: 1}, done)
	require.Equal(t, delivery.Skipped, r.receipt(jobs[2]).Outcome)
	require.Equal(t, outcomeMoot, r.runJob(t.Context(), jobs[2]).kind)
	require.Empty(t, r.objects("two-logs"))
}

// Files owed to a destination whose name the catalog refuses can be given up; nothing else can
// close these debts.
func TestRedriveSkipOfAnInvalidDestinationName(t *testing.T) {
	const dest = acme + "/My Dest"
	r := newRig(t)
	live := catalog.NewLive()
	require.NoError(t, live.Apply(acme, catalog.Encode(catalog.Workspace{ID: acme, Sources: []catalog.Source{{ID: "web"}}, Destinations: []catalog.Destination{
		{Name: "My Dest", Sources: []string{"web"}, Bucket: "one-logs"},
	}})))
	require.Equal(t, []string{dest}, live.Publish().Owed("web"))
	r.Copier.deps.Catalog = live
	job, err := delivery.DecodeJob(r.job(dest, "x").Encode())
	require.NoError(t, err)
	o := r.runJob(t.Context(), job)
	require.Contains(t, o.verdict.Cause, "My Dest")
	require.NoError(t, r.park(t.Context(), job, o.verdict))
	require.Equal(t, []string{delivery.ParkedKey(job.File, dest)}, r.parkedKeys())
	done, err := Redrive{Staging: r.staging, Destination: dest, Skip: true, Worker: "cli"}.Run(t.Context())
	require.NoError(t, err)
	require.Equal(t, RedriveResult{Found: 1, Skipped: 1}, done)
	require.Empty(t, r.parkedKeys())
	require.Equal(t, delivery.Skipped, r.receipt(job).Outcome)
}

// A receipt is never deleted, so none is written for what is not owed: if the ledger was restored to an older state, it
// would close the debt of another file that gets the same number later.
func TestRedriveSkipOfWhatIsNotOwed(t *testing.T) {
	for hazard, change := range map[string]func(*delivery.Job){
		"a_later_entry":       func(j *delivery.Job) { j.File.Seq++ },
		"another_file":        func(j *delivery.Job) { j.File.Index++ },
		"another_destination": func(j *delivery.Job) { j.Destination = acmeTwo },
	} {
		t.Run(hazard, func(t *testing.T) {
			r := newRig(t)
			job := r.job(acmeOne, "x")
			change(&job)
			require.NoError(t, r.park(t.Context(), job, destination.Verdict{Cause: "no"}))
			done, err := Redrive{Staging: r.staging, Skip: true}.Run(t.Context())
			require.ErrorContains(t, err, "the ledger does not owe it")
			require.Equal(t, RedriveResult{Found: 1, Failed: 1}, done)
			require.Empty(t, r.staging.Contents("receipts/"))
			require.Len(t, r.parkedKeys(), 1)
		})
	}
}

// A file that is given up is not delivered afterwards, even by a copier that reads its job again
// and has an older listing of receipts. A file that a copier is working on is not given up.
func TestRedriveSkipWhileCopiersRun(t *testing.T) {
	r := newRig(t)
	jobs := r.sealMany(minDebtsForBatch)
	job := jobs[1]
	require.Equal(t, outcomeDone, r.runJob(t.Context(), jobs[0]).kind)
	_, listed := r.receipts.lookUpListed(delivery.ReceiptPrefix(job.File.Log(), job.File.Seq), receipt.PairOf(job.File, acmeOne), time.Now().Add(-listedFor))
	require.True(t, listed)
	require.NoError(t, r.park(t.Context(), job, destination.Verdict{Cause: "no", Fix: destination.Fix{Do: "yes"}}))
	skip := Redrive{Staging: r.staging, Destination: acmeOne, Skip: true, Leases: r.deps.Leases}

	held, err := r.acquireDebt(t.Context(), job, delivery.DoneMarker(job.File, job.Destination))
	require.NoError(t, err)
	result, err := skip.Run(t.Context())
	require.ErrorIs(t, err, lease.ErrHeld)
	require.Equal(t, RedriveResult{Found: 1, Failed: 1}, result)
	require.Len(t, r.parkedKeys(), 1)
	require.NoError(t, held.Release(t.Context()))

	result, err = skip.Run(t.Context())
	require.NoError(t, err)
	require.Equal(t, RedriveResult{Found: 1, Skipped: 1}, result)
	require.Equal(t, outcomeMoot, r.runJob(t.Context(), job).kind)
	require.Len(t, r.objects("one-logs"), 1, "the skipped file was delivered")
	require.Equal(t, delivery.Skipped, r.receipt(job).Outcome)
	require.Equal(t, outcomeDone, r.runJob(t.Context(), jobs[2]).kind)
}

// If the batches of an entry cannot be listed, only its own files are not given up.
func TestRedriveSkipOfAnEntryThatCannotBeListed(t *testing.T) {
	r, jobs := parkSome(t)
	file := jobs[0].File
	r.staging.SetFault(func(op objstore.Op) objstore.Fault {
		if op.Name == "list" && op.Key == delivery.BatchPrefix(file.Log(), file.Seq) {
			return objstore.Fault{Before: objstore.ErrUnavailable}
		}
		return objstore.Fault{}
	})
	done, err := Redrive{Staging: r.staging, Skip: true}.Run(t.Context())
	require.ErrorIs(t, err, objstore.ErrUnavailable)
	require.ErrorContains(t, err, "give up "+file.String())
	require.Equal(t, RedriveResult{Found: 3, Skipped: 2, Failed: 1}, done)
	require.Equal(t, []string{delivery.ParkedKey(file, acmeOne)}, r.parkedKeys())
}

// If Redis fails after the receipt was written, another run sets the marker.
func TestRedriveSkipWithRedisGone(t *testing.T) {
	r, jobs := parkSome(t)
	skip := Redrive{Staging: r.staging, Destination: acmeTwo, Skip: true, Leases: r.deps.Leases}
	r.redis.SetError("LOADING")
	result, err := skip.Run(t.Context())
	require.ErrorIs(t, err, lease.ErrUnavailable)
	require.Equal(t, RedriveResult{Found: 1, Failed: 1}, result)
	require.Contains(t, r.parkedKeys(), delivery.ParkedKey(jobs[2].File, acmeTwo))
	r.redis.SetError("")
	_, err = skip.Run(t.Context())
	require.NoError(t, err)
	known, err := r.deps.Leases.Marked(t.Context(), delivery.DoneMarker(jobs[2].File, acmeTwo))
	require.NoError(t, err)
	require.True(t, known)
}

// A debt that was delivered or closed otherwise is not reported as given up, and its note is
// deleted.
func TestRedriveSkipOfAClosedDebt(t *testing.T) {
	for hazard, c := range map[string]struct {
		outcome delivery.Outcome // of the receipt; "": a copier delivers the file
		body    string           // in place of a receipt
		batched bool             // the receipt is in a batch
		want    RedriveResult
	}{
		"in_a_batch":          {batched: true, want: RedriveResult{Found: 1, Closed: 1}},
		"delivered_meanwhile": {want: RedriveResult{Found: 1, Closed: 1}},
		"given_up_before":     {outcome: delivery.Skipped, want: RedriveResult{Found: 1, Skipped: 1}},
		"unreadable":          {body: "hello", want: RedriveResult{Found: 1, Closed: 1}},
		"too_large":           {body: strings.Repeat("x", 2<<20), want: RedriveResult{Found: 1, Closed: 1}},
	} {
		t.Run(hazard, func(t *testing.T) {
			r, jobs := parkSome(t)
			key := delivery.ReceiptKey(jobs[2].File, acmeTwo)
			switch {
			case c.batched:
				key = ledgertest.Batch(t, r.staging, r.head, delivery.Receipt{Destination: acmeTwo})
			case c.body != "":
				r.overwrite(key, c.body)
			case c.outcome != "":
				require.NoError(t, receipt.Write(t.Context(), r.staging, delivery.Receipt{File: jobs[2].File, Destination: acmeTwo, Outcome: c.outcome}))
			default:
				require.Equal(t, outcomeDone, r.runJob(t.Context(), jobs[2]).kind)
			}
			before, err := objstore.Read(t.Context(), r.staging, key, 4<<20)
			require.NoError(t, err)
			result, err := Redrive{Staging: r.staging, Destination: acmeTwo, Skip: true, Leases: r.deps.Leases}.Run(t.Context())
			require.NoError(t, err)
			require.Equal(t, c.want, result)
			after, err := objstore.Read(t.Context(), r.staging, key, 4<<20)
			require.NoError(t, err)
			require.Equal(t, before, after, "the receipt changed")
			receipts, err := r.staging.List(t.Context(), delivery.ReceiptPrefix(jobs[2].File.Log(), jobs[2].File.Seq), "", 0)
			require.NoError(t, err)
			require.Len(t, receipts, 1)
			require.NotContains(t, r.parkedKeys(), delivery.ParkedKey(jobs[2].File, acmeTwo))
		})
	}
}

// A note that cannot be read does not prevent trying its file again or giving it up, because its
// key names the debt.
func TestRedriveOfUnreadableNotes(t *testing.T) {
	for hazard, body := range map[string]func(jobs []delivery.Job) string{
		"no_note":         func([]delivery.Job) string { return "hello" },
		"empty":           func([]delivery.Job) string { return "" },
		"too_large":       func([]delivery.Job) string { return strings.Repeat("x", 2<<20) },
		"a_later_release": func(jobs []delivery.Job) string { return strings.Replace(parkedBytes(jobs[0]), `"cause"`, `"why"`, 1) },
		"another's":       func(jobs []delivery.Job) string { return parkedBytes(jobs[1]) },
		"a_replay's": func(jobs []delivery.Job) string {
			job := jobs[0]
			job.Replay = "r"
			return parkedBytes(job)
		},
	} {
		t.Run(hazard, func(t *testing.T) {
			r, jobs := parkSome(t)
			key := delivery.ParkedKey(jobs[0].File, acmeOne)
			r.overwrite(key, body(jobs))
			var seen []delivery.Parked
			run := Redrive{Staging: r.staging, Destination: acmeOne, Worker: "cli", DryRun: true, OnParked: func(p delivery.Parked) { seen = append(seen, p) }}
			done, err := run.Run(t.Context())
			require.NoError(t, err)
			require.Equal(t, RedriveResult{Found: 2}, done)
			require.Equal(t, delivery.Job{File: jobs[0].File, Destination: acmeOne}, seen[0].Job)
			require.Equal(t, delivery.ReasonUnreadable, seen[0].Reason)
			require.Contains(t, seen[0].Cause, key)
			require.Less(t, len(seen[0].Cause), 1000)
			require.Contains(t, seen[0].Fix, "sealift redrive --destination "+acmeOne)
			require.WithinDuration(t, time.Now(), time.UnixMilli(seen[0].Since), time.Minute)
			require.Equal(t, "no", seen[1].Cause)

			topic := &jobTopic{fail: errors.New("no broker")}
			again := Redrive{Staging: r.staging, Destination: acmeOne, Jobs: topic}
			_, err = again.Run(t.Context())
			require.ErrorIs(t, err, topic.fail)
			require.Len(t, r.parkedKeys(), 3, "a note is gone")
			topic.fail = nil
			_, err = again.Run(t.Context())
			require.NoError(t, err)
			require.Equal(t, []delivery.Job{{Version: 1, File: jobs[0].File, Destination: acmeOne}, {Version: 1, File: jobs[1].File, Destination: acmeOne}}, topic.jobs)

			r.overwrite(key, body(jobs))
			run.DryRun, run.Skip = false, true
			done, err = run.Run(t.Context())
			require.NoError(t, err)
			require.Equal(t, RedriveResult{Found: 1, Skipped: 1}, done)
			require.Equal(t, delivery.Skipped, r.receipt(jobs[0]).Outcome)
			require.Equal(t, []string{delivery.ParkedKey(jobs[2].File, acmeTwo)}, r.parkedKeys())
		})
	}
}

func parkedBytes(job delivery.Job) string {
	return string(delivery.Parked{Job: job, Cause: "x", Fix: "y"}.Encode())
}

func TestRedriveHazards(t *testing.T) {
	t.Run("kafka_away", func(t *testing.T) {
		r, _ := parkSome(t)
		away := errors.New("no broker")
		done, err := Redrive{Staging: r.staging, Jobs: &jobTopic{fail: away}}.Run(t.Context())
		require.ErrorIs(t, err, away)
		require.Equal(t, RedriveResult{Found: 3, Failed: 3}, done)
		require.Len(t, r.parkedKeys(), 3, "a note is gone")
	})
	t.Run("foreign_key", func(t *testing.T) { // unknown object: it is left alone
		for _, skip := range []bool{false, true} {
			r, _ := parkSome(t)
			r.overwrite(delivery.ParkedPrefix(acmeOne)+"notes.txt", "hello")
			done, err := Redrive{Staging: r.staging, Jobs: &jobTopic{}, Skip: skip}.Run(t.Context())
			require.ErrorIs(t, err, delivery.ErrBadJob)
			require.ErrorContains(t, err, delivery.ParkedPrefix(acmeOne)+"notes.txt")
			require.ErrorContains(t, err, "delete it")
			require.Equal(t, RedriveResult{Found: 4, Enqueued: done.Enqueued, Skipped: done.Skipped, Failed: 1}, done)
			require.EqualValues(t, 3, done.Enqueued+done.Skipped, "the other jobs were not handled")
			require.Len(t, r.parkedKeys(), 1)
		}
	})
	t.Run("note_denied", func(t *testing.T) { // a note that cannot be had now is not treated as unreadable
		r, jobs := parkSome(t)
		r.staging.SetFault(func(op objstore.Op) objstore.Fault {
			if op.Name == "get" && op.Key == delivery.ParkedKey(jobs[0].File, acmeOne) {
				return objstore.Fault{Before: objstore.ErrDenied}
			}
			return objstore.Fault{}
		})
		done, err := Redrive{Staging: r.staging, Skip: true}.Run(t.Context())
		require.ErrorIs(t, err, objstore.ErrDenied)
		require.Equal(t, RedriveResult{Found: 3, Skipped: 2, Failed: 1}, done)
		require.Len(t, r.parkedKeys(), 1)
	})
	t.Run("two_redrives_at_once", func(t *testing.T) {
		r, jobs := parkSome(t)
		r.staging.SetFault(func(op objstore.Op) objstore.Fault {
			if op.Name == "get" && op.Key == delivery.ParkedKey(jobs[0].File, acmeOne) {
				return objstore.Fault{Before: objstore.ErrNotFound}
			}
			return objstore.Fault{}
		})
		done, err := Redrive{Staging: r.staging, Jobs: &jobTopic{}}.Run(t.Context())
		require.NoError(t, err)
		require.Equal(t, RedriveResult{Found: 2, Enqueued: 2}, done)
	})
	t.Run("deletion_fails", func(t *testing.T) {
		r, _ := parkSome(t)
		r.staging.SetFault(func(op objstore.Op) objstore.Fault {
			if op.Name == "delete" {
				return objstore.Fault{Before: objstore.ErrDenied}
			}
			return objstore.Fault{}
		})
		topic := &jobTopic{}
		done, err := Redrive{Staging: r.staging, Jobs: topic}.Run(t.Context())
		require.ErrorIs(t, err, objstore.ErrDenied)
		require.EqualValues(t, 3, done.Failed)
		require.Empty(t, topic.jobs)
	})
}
