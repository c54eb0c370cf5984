package copier

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/objstore"
)

// park sets a job aside where people see it. It stays owed: redrive enqueues
// it again, and the auditor counts it.
func (c *Copier) park(ctx context.Context, job delivery.Job, v verdict) error {
	fix := parkedFix(v.fix, again(job))
	p := delivery.Parked{Job: job, Cause: v.cause, Fix: fix, Since: job.FirstTry, At: time.Now().UnixMilli()}
	if err := storeParked(ctx, c.deps.Staging, p); err != nil {
		c.deps.Log.WarnContext(ctx, "parking a job", "destination", job.Destination, "file", job.File.String(), "err", err)
		return err
	}
	c.metrics.parked.WithLabelValues(job.Destination, v.reason).Inc()
	c.deps.Log.WarnContext(ctx, "job parked", "destination", job.Destination, "file", job.File.String(),
		"attempt", job.Attempt, "cause", v.cause, "fix", fix)
	return nil
}

// parkedFix is the fix of a job that is not tried again by itself any more.
func parkedFix(fix, again string) string {
	rest, waits := strings.CutPrefix(fix, "none: ")
	if !waits {
		return fix
	}
	if _, hint, ok := strings.Cut(rest, "if it lasts, "); ok {
		rest = hint
	} else {
		rest = "remove the cause"
	}
	return fmt.Sprintf("%s, then: %s", rest, again)
}

// again is the command by which the job is tried again.
func again(job delivery.Job) string {
	if job.Replay != "" {
		return "sealift replay --resume " + job.Replay
	}
	return "sealift redrive --destination " + job.Destination
}

// storeParked writes the note of a parked job, over an older one.
func storeParked(ctx context.Context, staging objstore.Store, p delivery.Parked) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	_, err := staging.Put(ctx, delivery.ParkedKey(p.Job.File, p.Job.Destination), bytes.NewReader(p.Encode()),
		objstore.PutOptions{ContentType: "application/json"})
	return err
}
