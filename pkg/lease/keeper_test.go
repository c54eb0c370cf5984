package lease

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

const ttl = 90 * time.Second

func startedKeeper(extend func(context.Context) (bool, error)) *keeper {
	k := newKeeper(time.Now(), ttl)
	k.extend = extend
	k.start()
	return k
}

func isLost(k *keeper) bool {
	synctest.Wait()
	select {
	case <-k.Lost():
		return true
	default:
		return false
	}
}

func TestKeeperRenewsUntilStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		renewed := 0
		k := startedKeeper(func(context.Context) (bool, error) { renewed++; return true, nil })
		time.Sleep(10 * ttl)
		require.False(t, isLost(k))
		require.True(t, k.Held())
		require.InDelta(t, 30, renewed, 1, "every third of the ttl")
		require.True(t, k.stop())
		require.False(t, k.Held(), "after release")
		require.False(t, k.stop(), "twice")
	})
}

func TestKeeperLosesTheLease(t *testing.T) {
	for hazard, c := range map[string]struct {
		extend func(context.Context) (bool, error)
		by     time.Duration
	}{
		"taken_by_another": {func(context.Context) (bool, error) { return false, nil }, ttl / 3},
		"redis_down":       {func(context.Context) (bool, error) { return false, errors.New("down") }, ttl - ttl/10},
		"redis_hangs": {func(ctx context.Context) (bool, error) {
			<-ctx.Done()
			return false, ctx.Err()
		}, ttl - ttl/10},
	} {
		t.Run(hazard, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				k := startedKeeper(c.extend)
				<-k.Lost()
				require.Equal(t, c.by, time.Since(begun))
				require.False(t, k.Held())
				require.True(t, k.stop())
			})
		})
	}
}

func TestKeeperSurvivesShortOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		k := startedKeeper(func(context.Context) (bool, error) {
			if time.Since(begun) < ttl*8/10 {
				return false, errors.New("down")
			}
			return true, nil
		})
		time.Sleep(3 * ttl)
		require.False(t, isLost(k))
		require.True(t, k.stop())
	})
}

// After a pause of the process past the deadline, Held is false even before the goroutine has run.
func TestHeldIsFalseRightAfterAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeper(time.Now(), ttl) // its goroutine never runs
		time.Sleep(ttl)
		require.False(t, k.Held())
	})
}

func TestStopEndsARenewalInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := startedKeeper(func(ctx context.Context) (bool, error) {
			<-ctx.Done()
			return false, ctx.Err()
		})
		time.Sleep(ttl / 2)
		begun := time.Now()
		require.True(t, k.stop())
		require.Zero(t, time.Since(begun))
		require.False(t, isLost(k), "stopped, not lost")
	})
}
