package copier

import (
	"bytes"
	"context"
	"time"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/objstore"
)

// park sets a job aside where people see it. It stays owed: redrive enqueues
// it again, and the auditor counts it.
func (c *Copier) park(ctx context.Context, job delivery.Job, v verdict) error {
	p := delivery.Parked{Job: job, Cause: v.cause, Fix: v.fix, Since: job.FirstTry, At: time.Now().UnixMilli()}
	_, err := c.deps.Staging.Put(ctx, delivery.ParkedKey(job.File, job.Destination), bytes.NewReader(p.Encode()),
		objstore.PutOptions{ContentType: "application/json"})
	if err != nil {
		c.deps.Log.WarnContext(ctx, "parking a job", "destination", job.Destination, "file", job.File.String(), "err", err)
		return err
	}
	c.metrics.parked.WithLabelValues(job.Destination, v.reason).Inc()
	c.deps.Log.WarnContext(ctx, "job parked", "destination", job.Destination, "file", job.File.String(),
		"attempt", job.Attempt, "cause", v.cause, "fix", v.fix)
	return nil
}
