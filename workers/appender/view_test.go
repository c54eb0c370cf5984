package appender

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/stream"
)

// TestAgeOfTheOldestIsHonest holds that the age does not look better than it
// is while a partition is in trouble, paused, or behind.
func TestAgeOfTheOldestIsHonest(t *testing.T) {
	c := newTestCore(t, entry(0))
	var v view
	v.noteState(c, "")
	require.Zero(t, v.oldest, "an empty log has no oldest record")

	feed(t, c, "a@5", "b@6")
	v.noteRead(c.position, 2)
	v.noteState(c, "")
	require.Equal(t, t0+5*60_000, v.oldest)

	v.noteProblem(errors.New("away"))
	require.Equal(t, t0+5*60_000, v.oldest, "an abandoned partition is not fresh")

	require.NoError(t, c.sealAll("request"))
	require.NotNil(t, c.cut())
	c.won(entry(2))
	v.noteState(c, "")
	require.Zero(t, v.oldest, "all that there is, is in the ledger")

	v.noteBounds(stream.Bounds{End: 10}) // the log grew, and nothing is read
	v.noteState(c, pausedDisk)
	require.Equal(t, c.progress, v.oldest, "what was not read was received since")
	require.EqualValues(t, 8, v.end-v.position)
}

// TestAPartitionThatCannotBeFetchedIsInTrouble: one whose leader is gone, or
// whose next batch is damaged for good, but not one whose broker restarts.
func TestAPartitionThatCannotBeFetchedIsInTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		fail := func(err error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.unread = err
		}
		registry := prometheus.NewRegistry()
		registry.MustRegister(r.metrics)
		inTrouble := func() float64 {
			families, err := registry.Gather()
			require.NoError(t, err)
			for _, f := range families {
				if f.GetName() == "sealift_appender_in_trouble" {
					return f.GetMetric()[0].GetGauge().GetValue()
				}
			}
			require.Fail(t, "there is no such metric")
			return 0
		}
		r.run()
		require.NoError(t, r.Ready(t.Context()))
		require.Zero(t, inTrouble())
		broken := errors.New("the batch is damaged")
		fail(broken)
		time.Sleep(3 * time.Second)
		require.NoError(t, r.Ready(t.Context()))
		time.Sleep(10 * time.Second)
		require.ErrorIs(t, r.Ready(t.Context()), broken)
		require.EqualValues(t, 1, inTrouble())
		fail(nil)
		time.Sleep(10 * time.Second)
		require.NoError(t, r.Ready(t.Context()))
		require.Zero(t, inTrouble())
		r.end()
	})
}
