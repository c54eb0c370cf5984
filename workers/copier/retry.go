package copier

import (
	"time"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/destination"
)

// permanentTries is after how many failures that look permanent a job is parked.
const permanentTries = 3

// retryPolicy decides what becomes of a failed job. It is pure.
type retryPolicy struct {
	tiers     []time.Duration // shortest first; at least one
	parkAfter time.Duration   // since the first failed try
}

// afterFailure returns the job with its updated counts, and either the tier (from 0) that it waits
// in or park. A job that fails transiently walks the tiers and is parked because of its age. One
// that fails permanently waits in the slowest tier, and is parked after permanentTries such
// failures, whatever else happened before, but not before it has waited there once: a store that
// has trouble, or has just recovered, may refuse by mistake. tried is false if the job was spared a
// try that would have failed; it waits as if it had failed.
func (p retryPolicy) afterFailure(job delivery.Job, v destination.Verdict, tried bool, now time.Time) (next delivery.Job, tier int, park bool) {
	next = job
	if tried {
		next.Attempt++
	} else {
		next.Spared++
	}
	next.LastError = clip(v.Cause, maxCauseRunes)
	if next.FirstTry == 0 || next.FirstTry > now.UnixMilli() { // in the future: of a host whose clock was ahead
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
		tier, park = min(next.Attempt+next.Spared-1, slowest), age >= p.parkAfter
	}
	next.NotBefore = now.Add(p.tiers[tier]).UnixMilli()
	return next, tier, park
}

// postpone returns a job that did not fail, to wait in the first tier.
func (p retryPolicy) postpone(job delivery.Job, now time.Time) delivery.Job {
	job.NotBefore = now.Add(p.tiers[0]).UnixMilli()
	return job
}

// maxCauseRunes is how many characters of a cause are kept in a job, because tens of thousands of
// jobs may be in memory.
const maxCauseRunes = 500

// clip shortens a text that a server may have sent.
func clip(s string, maxRunes int) string {
	if r := []rune(s); len(r) > maxRunes {
		return string(r[:maxRunes]) + "…"
	}
	return s
}
