package auditor

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/logtest"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/stream"
)

func TestUnownedPartitionsAreReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type answer struct {
			unowned []int
			fails   error
		}
		var now atomic.Pointer[answer]
		now.Store(&answer{fails: errors.New("denied")})
		var logged logtest.Buffer
		reg := prometheus.NewRegistry()
		a, err := New(Config{}, Deps{
			Staging: objstore.NewMemory("staging"), Jobs: &fakeJobs{}, Log: slog.New(slog.NewTextHandler(&logged, nil)), Metrics: reg,
			Unowned: func(context.Context) ([]int, error) { return now.Load().unowned, now.Load().fails },
		})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- a.Run(ctx) }()
		requireUnowned := func(want float64) {
			t.Helper()
			time.Sleep(2 * ownersEvery)
			synctest.Wait()
			got, ok := gather(t, reg)["sealift_auditor_partitions_unowned"]
			require.True(t, ok)
			if math.IsNaN(want) {
				require.True(t, math.IsNaN(got), got)
				return
			}
			require.Equal(t, want, got)
		}
		warnings := func() int { return strings.Count(logged.String(), "level=WARN") }
		require.True(t, math.IsNaN(gather(t, reg)["sealift_auditor_partitions_unowned"]), "want NaN before the first look")
		requireUnowned(math.NaN())
		require.Equal(t, 1, warnings())
		require.Contains(t, logged.String(), "denied")
		now.Store(&answer{})
		requireUnowned(0)
		require.Equal(t, 1, warnings(), "warned although all have an owner")
		now.Store(&answer{unowned: []int{4, 5}})
		requireUnowned(2)
		require.Equal(t, 2, warnings(), "want one warning per change")
		require.Contains(t, logged.String(), `partitions="[4 5]"`)
		now.Store(&answer{fails: stream.ErrRebalancing})
		requireUnowned(2) // the last known number stays
		require.Equal(t, 2, warnings(), "warned about a rebalance")
		time.Sleep(ownersStale)
		requireUnowned(math.NaN())
		require.Equal(t, 3, warnings(), "want one warning per change")
		now.Store(&answer{})
		requireUnowned(0)
		require.Contains(t, logged.String(), "every partition has an owner")
		cancel()
		require.NoError(t, <-ended)
	})
}
