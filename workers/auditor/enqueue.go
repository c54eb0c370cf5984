package auditor

import (
	"context"
	"fmt"
	"slices"

	"github.com/sealift/sealift/pkg/ablation"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/job"
	"github.com/sealift/sealift/pkg/stream"
)

// jobsPerBatch is how many jobs are enqueued at once.
const jobsPerBatch = 1000

// debt is an owed pair without a receipt.
type debt struct {
	file        delivery.FileRef
	destination string
}

// auditsWithoutRedis is the number of audits without Redis after which jobs for what was already
// open are enqueued again. Otherwise a destination that is down would collect another job at each
// audit, and all of them would circulate until it is up.
const auditsWithoutRedis = 6

// decideQueued decides whether a job for the debt counts as waiting. Without Redis, which it records,
// that is not known; a job that an earlier audit enqueued is then assumed to be waiting, for some
// audits.
func (w *walk) decideQueued(ctx context.Context, ref delivery.FileRef, dest string, reopened bool) (bool, error) {
	w.mu.Lock()
	withoutRedis := w.withoutRedis || w.deps.Leases == nil
	w.mu.Unlock()
	if !withoutRedis {
		queued, err := w.isQueued(ctx, ref, dest)
		if err == nil {
			return queued, nil
		}
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.withoutRedis = true
	if reopened && !w.enqueueReopened {
		return true, nil
	}
	if reopened {
		w.hint.Blind = w.now.UnixMilli()
	}
	return false, nil
}

// enqueue produces jobs for the debts, and marks them as queued.
//
// Invariant: I10.
func (w *walk) enqueue(ctx context.Context, debts []debt) error {
	if w.cfg.DryRun || ablation.On(ablation.Blind) {
		return nil
	}
	for chunk := range slices.Chunk(debts, jobsPerBatch) {
		records := make([]stream.Record, len(chunk))
		for i, d := range chunk {
			records[i] = job.Record(delivery.Job{File: d.file, Destination: d.destination})
		}
		if err := w.deps.Jobs.Produce(ctx, records...); err != nil {
			return fmt.Errorf("enqueue %d jobs: %w", len(chunk), err)
		}
		w.report.Enqueued += int64(len(chunk))
		for _, d := range chunk {
			if w.withoutRedis {
				break
			}
			// Valid until the audit after the next, because copiers may be behind.
			if err := w.deps.Leases.Mark(ctx, delivery.QueuedMarker(d.file, d.destination), w.cfg.Every*3/2); err != nil {
				w.withoutRedis = true
			}
		}
	}
	return nil
}
