package simulation

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/lease"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/objstore/conformance"
)

// newBenignWorld returns a world in which every request succeeds at once, until stop is called.
func newBenignWorld() (w *world, a *actor, stop func()) {
	w = &world{intercepted: make(chan *op)}
	w.judge = newJudge(w)
	a = &actor{name: "test", died: make(chan struct{})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for o := range w.intercepted {
			o.run(well)
			close(o.reply)
		}
	}()
	return w, a, func() { close(w.intercepted); <-done }
}

func TestBucketConformance(t *testing.T) {
	w, a, stop := newBenignWorld()
	defer stop()
	conformance.Run(t, func(*testing.T) objstore.Store {
		b := &bucket{Memory: objstore.NewMemory("one"), name: "one"}
		return b.clientFor(w, a)
	})
}

func TestRedisConformance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, a, stop := newBenignWorld()
		defer stop()
		r, ctx := newRedis(), t.Context()
		one, two := lease.New(r.clientFor(w, a)), lease.New(r.clientFor(w, a))
		require.NoError(t, one.Ping(ctx))

		l, err := one.Acquire(ctx, "x", time.Minute)
		require.NoError(t, err)
		_, err = two.Acquire(ctx, "x", time.Minute)
		require.ErrorIs(t, err, lease.ErrHeld)
		time.Sleep(10 * time.Minute)
		require.True(t, l.Held(), "the lease was not renewed")
		require.NoError(t, l.Release(ctx))
		next, err := two.Acquire(ctx, "x", time.Minute)
		require.NoError(t, err)
		require.Greater(t, next.Fence, l.Fence)

		steal := &op{reply: make(chan struct{}), run: func(way) {
			r.keys["sealift:lease:x"] = value{token: "another", expires: time.Now().Add(time.Hour)}
		}}
		w.intercepted <- steal
		<-steal.reply
		<-next.Lost()
		require.NoError(t, next.Release(ctx))
		_, err = one.Acquire(ctx, "x", time.Minute)
		require.ErrorIs(t, err, lease.ErrHeld, "release dropped another holder's lease")

		server := r.clientFor(w, a)
		for range 2 { // as after a lost reply
			fence, err := server.Take(ctx, "y", "me", time.Minute, "")
			require.NoError(t, err)
			require.Positive(t, fence)
		}
		time.Sleep(time.Minute)
		fence, err := server.Take(ctx, "y", "you", time.Minute, "")
		require.NoError(t, err)
		require.Positive(t, fence, "an expired lease was not granted")

		require.NoError(t, one.Mark(ctx, "m", time.Minute))
		is, err := two.Marked(ctx, "m")
		require.NoError(t, err)
		require.True(t, is)
		_, err = one.AcquireUnlessMarked(ctx, "z", time.Minute, "m")
		require.ErrorIs(t, err, lease.ErrMarked)
		time.Sleep(time.Minute)
		is, err = two.Marked(ctx, "m")
		require.NoError(t, err)
		require.False(t, is)
		l, err = one.AcquireUnlessMarked(ctx, "z", time.Minute, "m")
		require.NoError(t, err)
		require.NoError(t, l.ReleaseAndMark(ctx, "m", time.Minute))
		_, err = one.AcquireUnlessMarked(ctx, "z", time.Minute, "m")
		require.ErrorIs(t, err, lease.ErrMarked)
	})
}
