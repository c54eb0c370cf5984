package auditor

import (
	"context"
	"fmt"
	"slices"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/stream"
)

// batchJobs is how many jobs are enqueued at once.
const batchJobs = 1000

// debt is an owed pair without a receipt.
type debt struct {
	file        delivery.FileRef
	destination string
}

// waits reports whether Redis knows of a job. If it does not answer, a second
// job is enqueued, which is harmless.
func (w *walk) waits(ctx context.Context, ref delivery.FileRef, dest string) (bool, error) {
	w.mu.Lock()
	blind := w.blind
	w.mu.Unlock()
	if blind {
		return false, nil
	}
	queued, err := w.queued(ctx, ref, dest)
	if err != nil {
		w.mu.Lock()
		w.blind = true
		w.mu.Unlock()
	}
	return queued, ctx.Err()
}

// enqueue produces jobs for the debts, and notes that it did.
//
// Invariant: I10.
func (w *walk) enqueue(ctx context.Context, debts []debt) error {
	if w.cfg.DryRun {
		return nil
	}
	for chunk := range slices.Chunk(debts, batchJobs) {
		records := make([]stream.Record, len(chunk))
		for i, d := range chunk {
			job := delivery.Job{File: d.file, Destination: d.destination}
			records[i] = stream.Record{Key: job.RecordKey(), Value: job.Encode(), Time: w.now}
		}
		if err := w.deps.Jobs.Produce(ctx, records...); err != nil {
			return fmt.Errorf("enqueue %d jobs: %w", len(chunk), err)
		}
		w.report.Enqueued += int64(len(chunk))
		for _, d := range chunk {
			if w.deps.Leases == nil || w.blind {
				break
			}
			// Until the audit after the next: copiers may be behind.
			if err := w.deps.Leases.Mark(ctx, delivery.QueuedMarker(d.file, d.destination), w.cfg.Every*3/2); err != nil {
				w.blind = true
			}
		}
	}
	return nil
}
