package auditor

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/objstore"
)

func TestPartitionsWithoutAnOwnerAreSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type answer struct {
			unowned []int
			fails   error
		}
		var now atomic.Pointer[answer]
		now.Store(&answer{})
		var logs strings.Builder
		reg := prometheus.NewRegistry()
		a, err := New(Config{}, Deps{
			Staging: objstore.NewMemory("staging"), Jobs: &fakeJobs{}, Log: slog.New(slog.NewTextHandler(&logs, nil)), Metrics: reg,
			Unowned: func(context.Context) ([]int, error) { return now.Load().unowned, now.Load().fails },
		})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- a.Run(ctx) }()
		after := func(want float64) {
			t.Helper()
			time.Sleep(2 * ownersEvery)
			synctest.Wait()
			got, ok := gather(t, reg)["sealift_auditor_partitions_unowned"]
			require.True(t, ok)
			require.Equal(t, want, got)
		}
		after(0)
		require.Empty(t, logs.String())
		now.Store(&answer{unowned: []int{4, 5}})
		after(2)
		require.Equal(t, 1, strings.Count(logs.String(), "level=WARN"), "once, not at every look")
		require.Contains(t, logs.String(), `partitions="[4 5]"`)
		now.Store(&answer{fails: errors.New("the group rebalances")})
		after(2) // nobody knows better
		now.Store(&answer{})
		after(0)
		require.Contains(t, logs.String(), "every partition has an owner")
		cancel()
		require.NoError(t, <-ended)
	})
}
