package copier

import (
	"fmt"
	"testing"
	"time"

	"github.com/sealift/sealift/pkg/delivery"
)

// BenchmarkScheduler measures what a job costs from arrival to end while n destinations have
// waiting jobs, half of them suspects.
func BenchmarkScheduler(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		b.Run(fmt.Sprint(n, "_destinations"), func(b *testing.B) {
			l := limits{concurrency: 16, perDestination: 4, maxStored: maxStored, maxWaiting: 10 * n, maxWaitingSuspects: 10 * n, breakTransient: 1 << 30}
			s := newScheduler(l, retryPolicy{tiers: []time.Duration{time.Hour}, parkAfter: 24 * time.Hour})
			now := time.Now()
			running, i := []*task(nil), 0
			take := func(effects []effect) {
				for _, e := range effects {
					if e.kind == effectStart {
						running = append(running, e.task)
					}
				}
			}
			arrive := func() {
				dest := fmt.Sprint("d", i%n)
				i++
				take(s.onArrived(&task{job: delivery.Job{Destination: dest}}, now))
			}
			for range n * 3 {
				arrive()
			}
			b.ReportAllocs()
			for b.Loop() {
				arrive()
				t := running[0]
				running = running[1:]
				o := ok
				if t.job.Destination[len(t.job.Destination)-1]%2 == 0 {
					o = timeout
				} else {
					take(s.onStored(t, now))
				}
				take(s.onFinished(t, o, now))
				now = now.Add(time.Millisecond)
			}
		})
	}
}
