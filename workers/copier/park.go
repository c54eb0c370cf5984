package copier

import (
	"context"
	"fmt"
	"time"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/destination"
	"github.com/sealift/sealift/pkg/shell"
)

// park sets a job aside where people see it. The debt remains: redrive enqueues the job again, and
// the auditor counts it.
func (c *Copier) park(ctx context.Context, job delivery.Job, v destination.Verdict) error {
	ctx, addUp := c.countRequests(ctx, job.Destination)
	defer addUp()
	p := parkedNote(job, v)
	if err := putNote(ctx, c.deps.Staging, delivery.ParkedKey(job.File, job.Destination), p.Encode()); err != nil {
		return fmt.Errorf("park a job: %w", err)
	}
	c.metrics.parked.WithLabelValues(job.Destination, v.Reason).Inc()
	c.deps.Log.WarnContext(ctx, "job parked", "destination", job.Destination, "file", job.File.String(),
		"attempt", job.Attempt, "cause", v.Cause, "fix", p.Fix)
	return nil
}

// parkedNote returns the note that people see about a job that was set aside.
func parkedNote(job delivery.Job, v destination.Verdict) delivery.Parked {
	return delivery.Parked{
		Job: job, Reason: v.Reason, Cause: clip(v.Cause, maxNoteRunes), Fix: clip(v.Fix.Parked(retryCommand(job)), maxNoteRunes),
		Since: job.FirstTry, At: time.Now().UnixMilli(),
	}
}

// maxNoteRunes is how many characters of a cause or a fix are kept. They may quote a customer's
// server, and a note that is too large could not be read back. A fix that shows a policy has some
// 1,000.
const maxNoteRunes = 10_000

// retryCommand returns the command that tries the job again.
func retryCommand(job delivery.Job) string {
	if job.Replay != "" {
		return "sealift replay --resume " + job.Replay
	}
	return "sealift redrive --destination " + shell.QuoteIfNeeded(job.Destination)
}
