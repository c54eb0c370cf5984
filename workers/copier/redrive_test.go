package copier

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/destination"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/stream"
)

// jobTopic takes what a redrive enqueues.
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
		require.NoError(t, r.park(t.Context(), job, destination.Verdict{Cause: "no", Fix: "yes"}))
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

func TestRedriveEnqueuesAnew(t *testing.T) {
	r, jobs := parkSome(t)
	topic := &jobTopic{}
	var told []string
	done, err := Redrive{Staging: r.staging, Jobs: topic, Destination: acmeOne, Each: func(p delivery.Parked) { told = append(told, p.Cause) }}.Run(t.Context())
	require.NoError(t, err)
	require.Equal(t, Redriven{Found: 2, Enqueued: 2}, done)
	require.Equal(t, []string{"no", "no"}, told)
	require.Equal(t, []delivery.Job{{Version: 1, File: jobs[0].File, Destination: acmeOne}, {Version: 1, File: jobs[1].File, Destination: acmeOne}}, topic.jobs)
	require.Equal(t, []string{delivery.ParkedKey(jobs[2].File, acmeTwo)}, r.parkedKeys())

	for _, job := range topic.jobs {
		require.Equal(t, done0, r.once(t.Context(), job))
	}
	require.Len(t, r.objects("one-logs"), 2)
}

var done0 = outcome{kind: done}

func TestRedriveOfAWorkspaceAndOfAll(t *testing.T) {
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
	require.Equal(t, Redriven{Found: 3}, done)
	require.Len(t, r.parkedKeys(), 3)
}

func TestRedriveSkipClosesTheDebts(t *testing.T) {
	r, jobs := parkSome(t)
	done, err := Redrive{Staging: r.staging, Destination: acmeTwo, Skip: true, Worker: "cli"}.Run(t.Context())
	require.NoError(t, err)
	require.Equal(t, Redriven{Found: 1, Skipped: 1}, done)
	require.Equal(t, delivery.Skipped, r.receipt(jobs[2]).Outcome)
	require.Equal(t, moot, r.once(t.Context(), jobs[2]).kind)
	require.Empty(t, r.objects("two-logs"))
}

func TestRedriveHazards(t *testing.T) {
	t.Run("kafka_away", func(t *testing.T) {
		r, _ := parkSome(t)
		away := errors.New("no broker")
		done, err := Redrive{Staging: r.staging, Jobs: &jobTopic{fail: away}}.Run(t.Context())
		require.ErrorIs(t, err, away)
		require.Equal(t, Redriven{Found: 3, Failed: 3}, done)
		require.Len(t, r.parkedKeys(), 3, "still parked")
	})
	t.Run("a_note_that_cannot_be_read", func(t *testing.T) {
		r, jobs := parkSome(t)
		r.overwrite(delivery.ParkedKey(jobs[0].File, acmeOne), "hello")
		topic := &jobTopic{}
		done, err := Redrive{Staging: r.staging, Jobs: topic}.Run(t.Context())
		require.ErrorIs(t, err, delivery.ErrBadJob)
		require.Equal(t, Redriven{Found: 3, Enqueued: 2, Failed: 1}, done)
		require.Len(t, r.parkedKeys(), 1, "kept")
	})
	t.Run("a_note_that_is_too_large", func(t *testing.T) {
		r, jobs := parkSome(t)
		r.overwrite(delivery.ParkedKey(jobs[0].File, acmeOne), strings.Repeat("x", 2<<20))
		done, err := Redrive{Staging: r.staging, Jobs: &jobTopic{}}.Run(t.Context())
		require.ErrorIs(t, err, objstore.ErrTooLarge)
		require.Equal(t, Redriven{Found: 3, Enqueued: 2, Failed: 1}, done)
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
		require.Equal(t, Redriven{Found: 2, Enqueued: 2}, done)
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
