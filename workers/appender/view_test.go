package appender

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/stream"
)

// TestOldestAgeIsNotTooLow: the reported age is not too low while a partition is in trouble,
// paused, or behind.
func TestOldestAgeIsNotTooLow(t *testing.T) {
	c := newTestCore(t, entry(0))
	var v view
	v.noteState(c, "")
	require.Zero(t, v.oldest, "age of an empty log")

	feed(t, c, "a@5", "b@6")
	v.noteRead(c.position, 2)
	v.noteState(c, "")
	require.Equal(t, t0+5*60_000, v.oldest)

	v.noteProblem(errors.New("away"))
	require.Equal(t, t0+5*60_000, v.oldest, "age of an abandoned partition")

	require.NoError(t, c.sealAll("request"))
	require.NotNil(t, c.cut())
	c.won(entry(2))
	v.noteState(c, "")
	require.Zero(t, v.oldest, "age when everything is in the ledger")

	v.noteBounds(stream.Bounds{End: 10}) // the log grew, and nothing is read
	v.noteState(c, pausedDisk)
	require.Equal(t, c.progress, v.oldest, "age of records that were not read")
	require.EqualValues(t, 8, v.end-v.position)
}

// TestLagWhileAPartitionIsTakenOver: a takeover may take long, or be refused. Meanwhile the lag is
// that of the committed offset, and not the whole log.
func TestLagWhileAPartitionIsTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		r.produce("a", "b", "a", "b", "a")
		r.onAcquire = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		ctx, stop := context.WithCancel(t.Context())
		r.stop = stop
		go func() { r.ended <- r.Run(ctx) }()
		r.generations <- &stream.Generation{Assignments: map[string][]stream.Assignment{
			r.cfg.Topic: {{Partition: 0, Mark: stream.Mark{Committed: 3}}},
		}}
		synctest.Wait()
		require.Zero(t, lag(r.Appender), "lag before the log's end is known")
		time.Sleep(time.Minute)
		require.EqualValues(t, 2, lag(r.Appender))
		r.stopAndWait()
	})
}

// inTrouble returns the value of the in_trouble metric for partition 0.
func (r *rig) inTrouble() bool {
	registry := prometheus.NewRegistry()
	registry.MustRegister(r.metrics)
	families, err := registry.Gather()
	require.NoError(r.t, err)
	for _, f := range families {
		if f.GetName() == "sealift_appender_in_trouble" {
			return f.GetMetric()[0].GetGauge().GetValue() == 1
		}
	}
	require.Fail(r.t, "metric is missing")
	return false
}

// TestUnwrittenEntriesAreTrouble: writing is retried indefinitely, so it counts
// as trouble after a while, unless objects are being staged meanwhile.
func TestUnwrittenEntriesAreTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		going, release := make(chan struct{}), make(chan struct{})
		r.onRotate = func(ctx context.Context, _ int) error {
			for {
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-going:
					r.staged()
				case <-release:
					return nil
				}
			}
		}
		r.run()
		r.produce("a")
		time.Sleep(10 * time.Second)
		go func() { _ = r.seal() }()
		for range 3 {
			time.Sleep(4 * time.Minute)
			require.NoError(t, r.Ready(t.Context()))
			require.False(t, r.inTrouble())
			going <- struct{}{}
		}
		time.Sleep(6 * time.Minute)
		require.ErrorContains(t, r.Ready(t.Context()), "no ledger entry could be written for 6m0s")
		require.True(t, r.inTrouble())
		r.mu.Lock()
		r.onRotate = nil
		r.mu.Unlock()
		release <- struct{}{}
		synctest.Wait()
		require.NoError(t, r.Ready(t.Context()))
		require.False(t, r.inTrouble())
		time.Sleep(time.Hour)
		require.NoError(t, r.Ready(t.Context()), "readiness without anything to write")
		r.stopAndWait()
	})
}

// TestStuckLoopIsTrouble: a disk that does not answer returns no error.
func TestStuckLoopIsTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{DedupWindow: time.Hour})
		var once sync.Once
		r.onEntry = func(context.Context) error { // stands for a disk that does not answer
			once.Do(func() { time.Sleep(10 * time.Minute) })
			return errTest
		}
		r.run()
		time.Sleep(time.Minute)
		require.NoError(t, r.Ready(t.Context()))
		time.Sleep(2 * time.Minute)
		require.ErrorContains(t, r.Ready(t.Context()), "it has not gone on for 3m0s")
		require.True(t, r.inTrouble())
		time.Sleep(10 * time.Minute)
		require.NoError(t, r.Ready(t.Context()))
		require.False(t, r.inTrouble())
		r.stopAndWait()
	})
}

// TestFailingFetchesAreTrouble: a partition is in trouble if its leader is gone or
// its next batch is damaged for good, but not while its broker restarts.
func TestFailingFetchesAreTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		fail := func(err error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.fetchErr = err
		}
		r.run()
		require.NoError(t, r.Ready(t.Context()))
		require.False(t, r.inTrouble())
		broken := errors.New("the batch is damaged")
		fail(broken)
		time.Sleep(unfetchedAfter - time.Second/10)
		require.NoError(t, r.Ready(t.Context()))
		time.Sleep(2*time.Second + time.Second/10) // the first fetch that fails may be late by that
		require.ErrorIs(t, r.Ready(t.Context()), broken)
		require.True(t, r.inTrouble())
		fail(nil)
		time.Sleep(10 * time.Second)
		require.NoError(t, r.Ready(t.Context()))
		require.False(t, r.inTrouble())
		r.stopAndWait()
	})
}
