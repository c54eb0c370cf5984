package copier

import (
	"time"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/destination"
)

// permanentTries is how often a job fails in a way that looks permanent until it is parked.
const permanentTries = 3

// retryPolicy says what becomes of a job that failed. It is pure.
type retryPolicy struct {
	tiers     []time.Duration // delays, shortest first; at least one
	parkAfter time.Duration   // since the first failed try
}

// failed returns the job as it goes on, and the tier (from 0) that it waits
// in, or park. A transient failure walks the tiers and is parked by age; a
// permanent one waits in the slowest tier and is parked after few of its kind,
// whatever else happened before, but not before it waited there once: a store in
// trouble, or just out of it, may say no by mistake.
func (p retryPolicy) failed(job delivery.Job, v destination.Verdict, now time.Time) (next delivery.Job, tier int, park bool) {
	next = job
	next.Attempt++
	next.LastError = clip(v.Cause, mostOfACause)
	if next.FirstTry == 0 {
		next.FirstTry = now.UnixMilli()
	}
	slowest := len(p.tiers) - 1
	age := time.Duration(now.UnixMilli()-next.FirstTry) * time.Millisecond
	switch v.Class {
	case destination.Hopeless:
		return next, 0, true
	case destination.Permanent:
		next.Refused++
		tier, park = slowest, next.Refused >= permanentTries && age >= p.tiers[slowest]
	default:
		tier, park = min(next.Attempt-1, slowest), age >= p.parkAfter
	}
	next.NotBefore = now.Add(p.tiers[tier]).UnixMilli()
	return next, tier, park
}

// later returns the job, which did not fail, as it waits in the first tier.
func (p retryPolicy) later(job delivery.Job, now time.Time) delivery.Job {
	job.NotBefore = now.Add(p.tiers[0]).UnixMilli()
	return job
}

// mostOfACause is how many characters of a cause go along with a job, of which
// tens of thousands may be in memory.
const mostOfACause = 500

// clip shortens a text that came from a server.
func clip(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}
