package verify

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// Report is what was found. Its counts are of what was looked at: see
// Config for what is left out.
type Report struct {
	StartedAt   time.Time `json:"started_at"`
	TookSeconds float64   `json:"took_seconds"`
	Topic       string    `json:"topic"`
	Incarnation string    `json:"incarnation"`

	Chains  int   `json:"chains"`
	Entries int64 `json:"entries"`
	Files   int64 `json:"files"`
	Records int64 `json:"records"`
	Bytes   int64 `json:"bytes"` // of the files, compressed
	// Skipped are records in no file, by reason.
	Skipped map[string]int64 `json:"skipped"`
	// Gaps are offsets below the watermarks that are in no file and were not
	// skipped. Only counted, and no problem, with Config.AllowGaps.
	Gaps int64 `json:"gaps"`

	Staged   Staged   `json:"staged"`
	Receipts Receipts `json:"receipts"`
	counts            // of all destinations

	Destinations []Destination `json:"destinations"`

	Problems int64          `json:"problems"`
	ByKind   map[Kind]int64 `json:"problems_by_kind"`
	Examples []Problem      `json:"examples"` // the first of them
	Unread   []string       `json:"unread"`   // what could not be read, and so says nothing

	limit int
	mu    sync.Mutex // guards all of it while Verify runs
	dests map[string]*Destination
}

// Staged counts staged objects.
type Staged struct {
	Present   int64 `json:"present"`   // of the ledger's files
	Collected int64 `json:"collected"` // of files whose time is over; rightly gone
	Rebuilt   int64 `json:"rebuilt"`   // lost, and built again from Kafka by a replay
	Read      int64 `json:"read"`      // to their ends, with Config.Deep
	ReadBytes int64 `json:"read_bytes"`
	// Orphans are in no entry, and never will be: the auditor deletes them.
	// Unsettled are in no entry that was read: on their way, or left over.
	Orphans   int64 `json:"orphans"`
	Unsettled int64 `json:"unsettled"`
}

// Receipts counts receipts by outcome.
type Receipts struct {
	Delivered int64 `json:"delivered"`
	Skipped   int64 `json:"skipped"`
	Expired   int64 `json:"expired"`
	// Replayed are of replays; they count for themselves.
	Replayed int64 `json:"replayed"`
}

// counts are of owed pairs of a file and a destination. Owed is the sum of
// Closed, Pending and Parked.
type counts struct {
	Owed    int64 `json:"owed"`
	Closed  int64 `json:"closed"`  // they have a receipt
	Pending int64 `json:"pending"` // a job for them is queued or will be
	Parked  int64 `json:"parked"`  // waiting for a person
	// OldestSeconds is how long ago the oldest debt was sealed.
	OldestSeconds float64 `json:"oldest_debt_seconds"`
}

// Destination is the part of a report about one of them.
type Destination struct {
	ID string `json:"id"`
	counts
	// Bucket is what became of it: "read", "not looked at" or "not readable".
	// Why says why.
	Bucket string `json:"bucket"`
	Why    string `json:"why,omitempty"`
	// Objects were found as their receipts say, Unseen receipts could not be
	// compared with an object.
	Objects int64 `json:"objects"`
	Unseen  int64 `json:"unseen"`
	Listed  int64 `json:"listed"` // objects below segment-logs/ of the sources
	// Former are the Unseen whose receipts name another bucket than the
	// destination's of now.
	Former []Former `json:"former,omitempty"`
	// Elsewhere are objects that another topic or incarnation of this staging
	// bucket delivered.
	Elsewhere int64 `json:"elsewhere"`
	// Past are objects that a replay may have put whose order was forgotten
	// after Config.Retain, and that nothing else accounts for; without those
	// whose lines were read, and are a file's that is owed.
	Past int64 `json:"past"`
}

// Former is a bucket that a destination had before.
type Former struct {
	Bucket  string `json:"bucket"`
	Objects int64  `json:"objects"` // that were not looked at
	Why     string `json:"why"`
}

// former counts an object that was put into a former bucket.
func (d *Destination) former(bucket string) {
	i, found := slices.BinarySearchFunc(d.Former, bucket, func(f Former, name string) int { return cmp.Compare(f.Bucket, name) })
	if !found {
		d.Former = slices.Insert(d.Former, i, Former{Bucket: bucket, Why: "the destination had this bucket then, and has another now"})
	}
	d.Former[i].Objects++
	d.Unseen++
}

// States of Destination.Bucket.
const (
	bucketRead     = "read"
	bucketUnread   = "not readable"
	bucketUnlooked = "not looked at"
)

// OK tells whether nothing is wrong with what was looked at.
func (r *Report) OK() bool { return r.Problems == 0 }

// Took is how long it took.
func (r *Report) Took() time.Duration { return time.Duration(r.TookSeconds * float64(time.Second)) }

func newReport(now time.Time, cfg Config) *Report {
	return &Report{
		StartedAt: now, Topic: cfg.Topic, Incarnation: cfg.Incarnation, limit: cfg.Examples,
		Skipped: map[string]int64{}, ByKind: map[Kind]int64{}, Examples: []Problem{}, Unread: []string{},
		dests: map[string]*Destination{},
	}
}

// edit changes the report under its lock.
func (r *Report) edit(f func(*Report)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(r)
}

// destination changes the part about one of them under the lock.
func (r *Report) destination(id string, f func(*Destination)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := r.dests[id]
	if d == nil {
		d = &Destination{ID: id, Bucket: bucketUnlooked}
		r.dests[id] = d
	}
	f(d)
}

func (r *Report) problem(kind Kind, where, format string, args ...any) {
	r.curable(kind, "", where, format, args...)
}

// curable is a problem that a command may put right.
func (r *Report) curable(kind Kind, command, where, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Problems++
	r.ByKind[kind]++
	if len(r.Examples) < r.limit {
		a := about[kind]
		r.Examples = append(r.Examples, Problem{Kind: kind, Invariant: a.invariant, Where: where, What: fmt.Sprintf(format, args...), Fix: a.fix + command})
	}
}

func (r *Report) unread(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.Unread) < r.limit {
		r.Unread = append(r.Unread, what)
	}
}

func (r *Report) finish(now time.Time) {
	r.TookSeconds = now.Sub(r.StartedAt).Seconds()
	r.Destinations = []Destination{}
	for _, id := range slices.Sorted(maps.Keys(r.dests)) {
		d := *r.dests[id]
		r.Destinations = append(r.Destinations, d)
		r.Owed, r.Closed, r.Pending, r.Parked = r.Owed+d.Owed, r.Closed+d.Closed, r.Pending+d.Pending, r.Parked+d.Parked
		r.OldestSeconds = max(r.OldestSeconds, d.OldestSeconds)
	}
	// Requests were answered in any order.
	slices.SortStableFunc(r.Examples, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Where, b.Where), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.What, b.What))
	})
	slices.Sort(r.Unread)
}
