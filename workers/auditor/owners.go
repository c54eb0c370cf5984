package auditor

import (
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/sealift/sealift/pkg/jitter"
	"github.com/sealift/sealift/pkg/sleep"
	"github.com/sealift/sealift/pkg/stream"
)

const (
	// ownersEvery is how often the owners of the partitions are looked at.
	ownersEvery = 15 * time.Second
	// ownersStale is how long the last known state is valid, and the interval at which it is logged
	// that there is no newer one.
	ownersStale = 5 * time.Minute
)

// watchOwners maintains the metric of partitions that nobody reads, and logs when it changes, until
// ctx ends. The metric is NaN while the number is not known.
func (a *Auditor) watchOwners(ctx context.Context) {
	var last []int
	known, warned := time.Now(), time.Time{} // warned is zero if the last look succeeded
	for {
		if sleep.For(ctx, ownersEvery+jitter.N(ownersEvery/10)) != nil { // at first as well, because processes start together
			return
		}
		unowned, err := a.deps.Unowned(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			stale := time.Since(known) >= ownersStale
			if stale {
				a.metrics.unowned.Set(math.NaN())
			}
			passing := errors.Is(err, stream.ErrRebalancing) && !stale
			if !passing && time.Since(warned) >= ownersStale {
				warned = time.Now()
				a.deps.Log.WarnContext(ctx, "it is not known whether every partition has an owner", "topic", a.cfg.Topic, "err", err)
			}
			continue
		}
		known, warned = time.Now(), time.Time{}
		a.metrics.unowned.Set(float64(len(unowned)))
		if slices.Equal(unowned, last) {
			continue
		}
		if len(unowned) > 0 {
			a.deps.Log.WarnContext(ctx, "partitions have no owner: no appender reads them", "topic", a.cfg.Topic, "partitions", unowned)
		} else {
			a.deps.Log.InfoContext(ctx, "every partition has an owner", "topic", a.cfg.Topic)
		}
		last = unowned
	}
}
