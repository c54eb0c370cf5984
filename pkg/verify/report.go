package verify

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// Report is what was found. Its counts cover what was checked: see Config for what can be left out.
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
	// Gaps is the number of offsets below the watermarks that are in no file and were not skipped.
	// With Config.AllowGaps they are only counted, and are no problem.
	Gaps int64 `json:"gaps"`

	// Unowed counts the files to which no destination was subscribed when they were sealed. It is
	// not checked whether a replay has delivered them since.
	Unowed Unowed `json:"owed_to_nobody"`

	Staged   Staged   `json:"staged"`
	Receipts Receipts `json:"receipts"`
	counts            // of all destinations

	Destinations []Destination `json:"destinations"`

	Problems int64          `json:"problems"`
	ByKind   map[Kind]int64 `json:"problems_by_kind"`
	Examples []Problem      `json:"examples"` // the first problems
	Unread   []string       `json:"unread"`   // what could not be read, so that nothing is known about it

	maxExamples int
	mu          sync.Mutex // guards everything while Verify runs
	dests       map[string]*Destination
}

// Staged counts staged objects.
type Staged struct {
	Present   int64 `json:"present"`   // objects of the ledger's files
	Collected int64 `json:"collected"` // rightly deleted: kept for long enough
	Rebuilt   int64 `json:"rebuilt"`   // lost, and rebuilt from Kafka by a replay
	Read      int64 `json:"read"`      // completely, with Config.Deep
	ReadBytes int64 `json:"read_bytes"`
	// Orphans are named by no entry and never will be: the auditor deletes them. Unsettled are
	// named by no entry that was read: they are on their way, or left over.
	Orphans   int64 `json:"orphans"`
	Unsettled int64 `json:"unsettled"`
}

// Unowed counts files that are owed to nobody.
type Unowed struct {
	Files   int64 `json:"files"`
	Records int64 `json:"records"`
}

// Receipts counts receipts by outcome. If a debt has several, it counts the one that decides.
type Receipts struct {
	Delivered int64 `json:"delivered"`
	Skipped   int64 `json:"skipped"`
	// Replayed are the receipts of replays, which are counted separately.
	Replayed int64 `json:"replayed"`
}

// counts are numbers of owed pairs of a file and a destination. Owed is the sum of Closed, Pending
// and Parked.
type counts struct {
	Owed    int64 `json:"owed"`
	Closed  int64 `json:"closed"`  // they have a receipt
	Pending int64 `json:"pending"` // a job for it is queued, or will be
	Parked  int64 `json:"parked"`  // waiting for a person
	// OldestSeconds is how long ago the file of the oldest debt was sealed.
	OldestSeconds float64 `json:"oldest_debt_seconds"`
}

// Destination is the part of a report about one destination.
type Destination struct {
	ID string `json:"id"`
	counts
	// Bucket is "read", "not looked at" or "not readable"; Why says why.
	Bucket string `json:"bucket"`
	Why    string `json:"why,omitempty"`
	// Delivered is the number of receipts that say that an object was put there, and Objects that
	// of receipts whose object is there. Replayed and ReplayedObjects are the same for additional
	// copies by replays, in views or at a destination to which the file is not owed. Unseen is the
	// number of receipts of either kind that could not be compared with an object. For all others
	// the object is missing or the receipt is wrong, and a problem is reported.
	Delivered       int64 `json:"delivered"`
	Objects         int64 `json:"objects"`
	Replayed        int64 `json:"replayed"`
	ReplayedObjects int64 `json:"replayed_objects"`
	Unseen          int64 `json:"unseen"`
	Listed          int64 `json:"listed"` // objects below segment-logs/ of the sources
	// Former counts those of Unseen whose receipts name another bucket than the destination's
	// present one, or another prefix, below which nothing may be read any more.
	Former []Former `json:"former,omitempty"`
	// Elsewhere is the number of objects that another topic or incarnation of this staging bucket
	// delivered.
	Elsewhere int64 `json:"elsewhere"`
	// Past is the number of objects for which nothing else accounts, but which may be from a replay
	// whose order was deleted after Config.Retain. It leaves out those whose lines were read and
	// are those of an owed file.
	Past int64 `json:"past"`
}

// Former is a bucket that a destination had before.
type Former struct {
	Bucket  string `json:"bucket"`  // with the prefix, if only that was another
	Objects int64  `json:"objects"` // objects that were not checked
	Why     string `json:"why"`
}

// countFormer counts an object that was put into a former bucket.
func (d *Destination) countFormer(bucket string) {
	i, found := slices.BinarySearchFunc(d.Former, bucket, func(f Former, name string) int { return cmp.Compare(f.Bucket, name) })
	if !found {
		d.Former = slices.Insert(d.Former, i, Former{Bucket: bucket, Why: "the destination had this bucket then, and has another now"})
	}
	d.Former[i].Objects++
	d.Unseen++
}

// States of Destination.Bucket.
const (
	bucketRead        = "read"
	bucketUnreadable  = "not readable"
	bucketNotLookedAt = "not looked at"
)

// OK tells whether nothing is wrong with what was checked.
func (r *Report) OK() bool { return r.Problems == 0 }

// Unreadable is the number of destinations whose bucket was to be read, and could not be.
func (r *Report) Unreadable() (n int64) {
	for _, d := range r.Destinations {
		if d.Bucket == bucketUnreadable {
			n++
		}
	}
	return n
}

// Took is how long it took.
func (r *Report) Took() time.Duration { return time.Duration(r.TookSeconds * float64(time.Second)) }

func newReport(now time.Time, cfg Config) *Report {
	return &Report{
		StartedAt: now, Topic: cfg.Topic, Incarnation: cfg.Incarnation, maxExamples: cfg.MaxExamples,
		Skipped: map[string]int64{}, ByKind: map[Kind]int64{}, Examples: []Problem{}, Unread: []string{},
		dests: map[string]*Destination{},
	}
}

// update changes the report under its lock.
func (r *Report) update(f func(*Report)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(r)
}

// updateDestination changes the part about one destination under the lock.
func (r *Report) updateDestination(id string, f func(*Destination)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := r.dests[id]
	if d == nil {
		d = &Destination{ID: id, Bucket: bucketNotLookedAt}
		r.dests[id] = d
	}
	f(d)
}

func (r *Report) addProblem(kind Kind, where, format string, args ...any) {
	r.addFixableProblem(kind, "", where, format, args...)
}

// addFixableProblem reports a problem that a command may fix.
func (r *Report) addFixableProblem(kind Kind, command, where, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Problems++
	r.ByKind[kind]++
	if len(r.Examples) < r.maxExamples {
		details := kindDetails[kind]
		r.Examples = append(r.Examples, Problem{Kind: kind, Invariant: details.invariant, Where: where, What: fmt.Sprintf(format, args...), Fix: details.fix + command})
	}
}

func (r *Report) addUnread(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.Unread) < r.maxExamples {
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
	// Requests were answered in arbitrary order.
	slices.SortStableFunc(r.Examples, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Where, b.Where), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.What, b.What))
	})
	slices.Sort(r.Unread)
}
