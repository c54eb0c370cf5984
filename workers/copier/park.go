package copier

import (
	"context"
	"fmt"
	"time"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/destination"
	"github.com/sealift/sealift/pkg/shell"
)

// park sets a job aside where people see it. It stays owed: redrive enqueues
// it again, and the auditor counts it.
func (c *Copier) park(ctx context.Context, job delivery.Job, v destination.Verdict) error {
	ctx, counted := c.counting(ctx, job.Destination)
	defer counted()
	p := parkedNote(job, v)
	if err := store(ctx, c.deps.Staging, delivery.ParkedKey(job.File, job.Destination), p.Encode(), false); err != nil {
		return fmt.Errorf("park a job: %w", err)
	}
	c.metrics.parked.WithLabelValues(job.Destination, v.Reason).Inc()
	c.deps.Log.WarnContext(ctx, "job parked", "destination", job.Destination, "file", job.File.String(),
		"attempt", job.Attempt, "cause", v.Cause, "fix", p.Fix)
	return nil
}

// parkedNote is what people see of a job that is set aside.
func parkedNote(job delivery.Job, v destination.Verdict) delivery.Parked {
	return delivery.Parked{
		Job: job, Reason: v.Reason, Cause: clip(v.Cause, mostOfAText), Fix: clip(v.Fix.Parked(again(job)), mostOfAText),
		Since: job.FirstTry, At: time.Now().UnixMilli(),
	}
}

// mostOfAText is how many characters of a cause or a fix are kept, which may
// quote a customer's server: notes that are too large to be read would be noted
// for nothing. A fix that shows a policy has some 1,000.
const mostOfAText = 10_000

// again is the command by which the job is tried again.
func again(job delivery.Job) string {
	if job.Replay != "" {
		return "sealift replay --resume " + job.Replay
	}
	return "sealift redrive --destination " + shell.Word(job.Destination)
}
