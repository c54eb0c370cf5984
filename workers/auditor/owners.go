package auditor

import (
	"context"
	"slices"
	"time"

	"github.com/sealift/sealift/pkg/jitter"
)

// ownersEvery is how often the owners of the partitions are looked at.
const ownersEvery = 15 * time.Second

// watchOwners keeps the metric of partitions that nobody reads, and says when
// it changed, until ctx ends. While it cannot be known the last word stands.
func (a *Auditor) watchOwners(ctx context.Context) {
	var last []int
	for {
		select { // at first as well: processes start together
		case <-ctx.Done():
			return
		case <-time.After(ownersEvery + jitter.N(ownersEvery/10)):
		}
		unowned, err := a.deps.Unowned(ctx)
		if err != nil { // also while the group rebalances
			a.deps.Log.DebugContext(ctx, "looking for partitions without an owner", "err", err)
			continue
		}
		if slices.Equal(unowned, last) {
			continue
		}
		if len(unowned) > 0 {
			a.deps.Log.WarnContext(ctx, "partitions have no owner: no appender reads them", "topic", a.cfg.Topic, "partitions", unowned)
		} else {
			a.deps.Log.InfoContext(ctx, "every partition has an owner", "topic", a.cfg.Topic)
		}
		a.metrics.unowned.Set(float64(len(unowned)))
		last = unowned
	}
}
