package auditor

import (
	"cmp"
	"log/slog"
	"slices"
	"time"

	"github.com/sealift/sealift/pkg/catalog"
)

// Report is what an audit found. Its counts cover the files in entries written since the last audit
// and those that were open then, or all files if Config.Full.
type Report struct {
	StartedAt   time.Time `json:"started_at"`
	TookSeconds float64   `json:"took_seconds"`
	Chains      int       `json:"chains"`
	Skipped     int       `json:"chains_skipped"` // another auditor is auditing them, or just has
	Failed      int       `json:"chains_failed"`
	Behind      int       `json:"chains_behind"` // with garbage that there was no time for; the next audit continues
	Entries     int64     `json:"entries"`       // visited: written since the last audit, or not closed then
	counts
	TooNew    int64 `json:"too_new"`           // owed pairs that were left alone
	Enqueued  int64 `json:"enqueued"`          // jobs enqueued for missing pairs
	Redriven  int64 `json:"redriven"`          // parked jobs enqueued because their destinations are back; also counted as parked
	Collected int64 `json:"files_collected"`   // staged files deleted because they were kept for long enough
	Orphans   int64 `json:"orphans_collected"` // staged objects deleted that no entry names

	Destinations []Destination `json:"destinations"` // those to which files are owed, sorted
}

// Destination is the part of a report about one destination.
type Destination struct {
	ID string `json:"id"`
	// State is "enabled", "disabled", "refused" (by the catalog) or "gone" (from the catalog); ""
	// if the auditor has no catalog.
	State string `json:"state,omitempty"`
	counts
}

// counts are numbers of owed pairs of a file and a destination. Owed is the sum of Delivered,
// GivenUp, Missing, Queued and Parked.
type counts struct {
	Owed      int64 `json:"owed"`
	Delivered int64 `json:"delivered"`
	GivenUp   int64 `json:"given_up"` // they have a receipt, and will never be delivered
	Missing   int64 `json:"missing"`  // neither receipt nor job: enqueued now
	Queued    int64 `json:"queued"`   // known to be waiting in a retry tier or in the job topic
	Parked    int64 `json:"parked"`   // waiting for a person
	// OldestUndeliveredSeconds is the age of the oldest record in a file
	// without a receipt.
	OldestUndeliveredSeconds float64 `json:"oldest_undelivered_seconds"`
}

// raiseOldest counts a file without a receipt whose first record was received at that time, unix
// ms.
func (c *counts) raiseOldest(now time.Time, received int64) {
	c.OldestUndeliveredSeconds = max(c.OldestUndeliveredSeconds, now.Sub(time.UnixMilli(received)).Seconds())
}

func (c *counts) add(o *counts) {
	c.Owed += o.Owed
	c.Delivered += o.Delivered
	c.GivenUp += o.GivenUp
	c.Missing += o.Missing
	c.Queued += o.Queued
	c.Parked += o.Parked
	c.OldestUndeliveredSeconds = max(c.OldestUndeliveredSeconds, o.OldestUndeliveredSeconds)
}

// Undelivered is the number of owed pairs without a receipt.
func (c counts) Undelivered() int64 { return c.Owed - c.Delivered - c.GivenUp }

// chainReport is the part of a report about one chain.
type chainReport struct {
	Behind                                        int // 1: there is garbage left
	Entries, TooNew, Enqueued, Collected, Orphans int64
	destinations                                  map[string]*counts
}

func newChainReport() chainReport { return chainReport{destinations: map[string]*counts{}} }

func (c *chainReport) total() counts {
	var sum counts
	for _, d := range c.destinations {
		sum.add(d)
	}
	return sum
}

func newReport(now time.Time) *Report { return &Report{StartedAt: now} }

// Took is how long the audit took.
func (r *Report) Took() time.Duration { return time.Duration(r.TookSeconds * float64(time.Second)) }

func (r *Report) add(c *chainReport) {
	r.Chains++
	r.Behind += c.Behind
	r.Entries += c.Entries
	r.TooNew += c.TooNew
	r.Enqueued += c.Enqueued
	r.Collected += c.Collected
	r.Orphans += c.Orphans
	sum := c.total()
	r.counts.add(&sum)
	for id, d := range c.destinations {
		i, found := slices.BinarySearchFunc(r.Destinations, id, func(d Destination, id string) int { return cmp.Compare(d.ID, id) })
		if !found {
			r.Destinations = slices.Insert(r.Destinations, i, Destination{ID: id})
		}
		r.Destinations[i].counts.add(d)
	}
}

func (r *Report) finish(now time.Time, live *catalog.Live) {
	r.TookSeconds = now.Sub(r.StartedAt).Seconds()
	if live == nil {
		return
	}
	s := live.Snapshot()
	for i := range r.Destinations {
		r.Destinations[i].State = stateOf(s, r.Destinations[i].ID)
	}
}

// stateOf returns a destination's state in the catalog.
func stateOf(s *catalog.Snapshot, id string) string {
	t, ok := s.Destination(id)
	switch {
	case !ok:
		return "gone"
	case t.RefusalReason != "":
		return "refused"
	case !t.IsEnabled:
		return "disabled"
	}
	return enabled
}

// enabled is the state of a destination that files are sent to.
const enabled = "enabled"

// LogValue implements slog.LogValuer.
func (r Report) LogValue() slog.Value {
	return slog.GroupValue(
		slog.Int("chains", r.Chains), slog.Int("skipped", r.Skipped), slog.Int("failed", r.Failed), slog.Int("behind", r.Behind), slog.Int64("entries", r.Entries),
		slog.Int64("owed", r.Owed), slog.Int64("delivered", r.Delivered), slog.Int64("given_up", r.GivenUp), slog.Int64("missing", r.Missing),
		slog.Int64("enqueued", r.Enqueued), slog.Int64("redriven", r.Redriven), slog.Int64("queued", r.Queued), slog.Int64("parked", r.Parked), slog.Int64("too_new", r.TooNew),
		slog.Float64("oldest_undelivered_seconds", r.OldestUndeliveredSeconds),
		slog.Int64("collected", r.Collected), slog.Int64("orphans", r.Orphans),
	)
}
