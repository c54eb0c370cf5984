// Package meter counts what deliveries use of AWS: requests to S3, STS and KMS per destination,
// what they cost, and how its last attempts ended. Nothing else records that: the ledger and the
// receipts say what was delivered, but not after how many refusals.
//
// It is for copiers, which keep a Book and write its pages into the staging bucket; for the
// auditor, which folds pages into one sum; and for whoever shows the numbers. A page is counted
// once, however often it is written or folded. A copier that is killed loses what it noted after
// its last page, about a minute at most; so counts may be too low by that much, and never too high.
// Nothing is decided by these numbers, and no delivery depends on them.
package meter

import (
	"cmp"
	"math"
)

// Counts are numbers of requests as they went over the wire: refused and repeated ones are
// included.
type Counts struct {
	// Puts are PutObject requests to the destination's bucket.
	Puts int64 `json:"puts"`
	// DataKeys are the GenerateDataKey requests to KMS that S3 made for them: one for each object
	// encrypted with a KMS key, unless the bucket has a bucket key, with which they are too few to
	// determine.
	DataKeys int64 `json:"data_keys"`
	// AssumeRoles are AssumeRole requests to STS.
	AssumeRoles int64 `json:"assume_roles"`
	// StagingReads (GET, HEAD) and StagingWrites (PUT, LIST) are requests to the operator's own
	// bucket.
	StagingReads  int64 `json:"staging_reads"`
	StagingWrites int64 `json:"staging_writes"`
}

// Plus returns the sum.
func (c Counts) Plus(o Counts) Counts {
	return Counts{c.Puts + o.Puts, c.DataKeys + o.DataKeys, c.AssumeRoles + o.AssumeRoles, c.StagingReads + o.StagingReads, c.StagingWrites + o.StagingWrites}
}

// List prices of AWS in us-east-1, in US dollars per request, from
// https://aws.amazon.com/s3/pricing/ (S3 Standard) and https://aws.amazon.com/kms/pricing/, as of
// November 2026. STS is free.
const (
	PutPrice     = 0.005 / 1000  // PUT, COPY, POST, LIST
	GetPrice     = 0.0004 / 1000 // GET, HEAD
	DataKeyPrice = 0.03 / 10_000
)

// Cost is what requests cost at list prices, in US dollars, by who is billed.
type Cost struct {
	// Bucket is billed to the owner of the destination's bucket and key.
	Bucket float64 `json:"bucket_usd"`
	// Operator is billed to the owner of the staging bucket.
	Operator float64 `json:"operator_usd"`
}

// Cost returns what the requests cost, to a millionth of a dollar.
func (c Counts) Cost() Cost {
	round := func(usd float64) float64 { return math.Round(usd*1e6) / 1e6 }
	return Cost{
		Bucket:   round(float64(c.Puts)*PutPrice + float64(c.DataKeys)*DataKeyPrice),
		Operator: round(float64(c.StagingReads)*GetPrice + float64(c.StagingWrites)*PutPrice),
	}
}

// Account is what is known about one destination.
type Account struct {
	Counts
	Delivered int64    `json:"delivered_at,omitempty"` // unix ms of the last attempt that succeeded
	Trouble   *Trouble `json:"trouble,omitempty"`      // the last attempt that failed
}

// Trouble is a failed attempt.
type Trouble struct {
	Reason string `json:"reason"` // a word, as in the metrics
	Cause  string `json:"cause"`
	Fix    string `json:"fix"`
	Since  int64  `json:"since"` // unix ms of the first failure since a success, as seen by its copier
	At     int64  `json:"at"`    // unix ms of this failure
	// Until is when the destination is tried again, in unix ms, if its breaker is open; otherwise
	// 0.
	Until int64 `json:"until,omitempty"`
}

// Failing reports whether the last try failed.
func (a Account) Failing() bool { return a.Trouble != nil && a.Trouble.At > a.Delivered }

// shiftBack returns the account with times that are ms earlier. Since is only limited to At,
// because it may have been noted before the clock went wrong.
func (a Account) shiftBack(ms int64) Account {
	if ms == 0 {
		return a
	}
	if a.Delivered > 0 {
		a.Delivered -= ms
	}
	if a.Trouble != nil {
		t := *a.Trouble
		t.At -= ms
		t.Since = min(t.Since, t.At)
		if t.Until > 0 {
			t.Until -= ms
		}
		a.Trouble = &t
	}
	return a
}

// Plus returns the combination of both.
func (a Account) Plus(o Account) Account {
	sum := Account{Counts: a.Counts.Plus(o.Counts), Delivered: max(a.Delivered, o.Delivered), Trouble: a.Trouble}
	if o.Trouble != nil && (a.Trouble == nil || cmp.Less(a.Trouble.At, o.Trouble.At)) {
		sum.Trouble = o.Trouble
	}
	return sum
}
