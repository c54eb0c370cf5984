package copier

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/delivery"
)

// staticClaim is a claim that is owned or lost from the start.
type staticClaim struct {
	lost  bool
	acked atomic.Bool
}

func (c *staticClaim) isOwned() bool { return !c.lost }
func (c *staticClaim) acknowledge()  { c.acked.Store(true) }

// TestNewClaimIsNotDroppedWithTheLostOne: in a new generation, the same process may read a
// job again while its former claim is being dropped. If the new claim were dropped with it, its
// offset, and all offsets after it, would never be committed.
func TestNewClaimIsNotDroppedWithTheLostOne(t *testing.T) {
	for _, ends := range []outcomeKind{outcomeDone, outcomeBusy} { // a busy job is enqueued again
		e := fakeEngine(func(context.Context, delivery.Job) outcome { return outcome{kind: ends} }, &fakeQueue{})
		const jobs = 20_000
		again := make([]staticClaim, jobs)
		var readers sync.WaitGroup
		former, lost := make(chan int, 64), &staticClaim{lost: true}
		readers.Go(func() {
			defer close(former)
			for i := range jobs {
				_ = e.submit(t.Context(), t.Context(), jobOf(fmt.Sprint("d", i%32), i), lost)
				former <- i
			}
		})
		for range 2 {
			readers.Go(func() {
				for i := range former {
					_ = e.submit(t.Context(), t.Context(), jobOf(fmt.Sprint("d", i%32), i), &again[i])
				}
			})
		}
		readers.Wait()
		e.work.Wait()
		for i := range again {
			require.True(t, again[i].acked.Load(), "job %d", i)
		}
		require.Empty(t, e.tasks)
	}
}
