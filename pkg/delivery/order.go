package delivery

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/sealift/sealift/pkg/ledger"
)

// ErrBadOrder is the error of DecodeOrder.
var ErrBadOrder = errors.New("malformed replay order")

// Bytes says where a replay takes the bytes of a file from.
type Bytes string

// Where bytes come from.
const (
	FromStaging Bytes = "staging" // the staged object, or not at all
	FromKafka   Bytes = "kafka"   // the events topic, read again
	FromAuto    Bytes = "auto"    // the staged object, or if it is gone the events topic
)

// Order is an operator's order to deliver files of the ledger again. It is the
// authority of a replay's jobs, as `owed` is of all others, and never changes.
type Order struct {
	Version     int    `json:"version"`
	ID          string `json:"id"`
	Topic       string `json:"topic"`
	Incarnation string `json:"incarnation"`
	// Heads are the newest entries by partition when the order was given:
	// later ones are not covered, nor partitions that are not named.
	Heads   map[int]int64 `json:"heads"`
	Sources []string      `json:"sources,omitempty"` // empty: all
	// Since and Until bound the hours of receipt, unix ms, [since, until); 0:
	// unbounded.
	Since int64 `json:"since,omitempty"`
	Until int64 `json:"until,omitempty"`
	// Offsets are ranges of which a file holds a record, or may; empty: all.
	Offsets []Range `json:"offsets,omitempty"`
	// Destinations are "workspace/name"; empty: those that each file is owed to.
	Destinations []string `json:"destinations,omitempty"`
	Force        bool     `json:"force,omitempty"` // overwrite objects that are there, with the same content
	View         string   `json:"view,omitempty"`  // deliver below this folder of the destination's prefix
	From         Bytes    `json:"from"`
	// FilesPerSecond and BytesPerSecond bound how fast jobs are enqueued; 0:
	// unbounded.
	FilesPerSecond float64 `json:"files_per_second,omitempty"`
	BytesPerSecond int64   `json:"bytes_per_second,omitempty"`
	// Copies are the pairs of a file and a destination that it came to when it was
	// given; 0: nobody counted.
	Copies    int64  `json:"copies,omitempty"`
	CreatedAt int64  `json:"created_at"` // unix ms
	CreatedBy string `json:"created_by"` // for people
}

// Range is a range of offsets of one partition, both ends included.
type Range struct {
	Partition int   `json:"partition"`
	First     int64 `json:"first"`
	Last      int64 `json:"last"`
}

var (
	orderID  = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)
	viewName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`)
)

// Encode returns the order's bytes.
func (o *Order) Encode() []byte {
	v := *o
	v.Version = FormatVersion
	b, err := json.Marshal(v)
	if err != nil { // no field can fail to marshal
		panic(err)
	}
	return append(b, '\n')
}

// DecodeOrder parses an order strictly; the error wraps ErrBadOrder.
func DecodeOrder(b []byte) (*Order, error) {
	o := new(Order)
	if err := decodeStrict(b, o); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadOrder, err)
	}
	if o.Version != FormatVersion {
		return nil, fmt.Errorf("%w: version %d is not %d", ErrBadOrder, o.Version, FormatVersion)
	}
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadOrder, err)
	}
	return o, nil
}

// Validate returns what is wrong with the order, the field and the fix, or nil.
func (o *Order) Validate() error {
	switch {
	case !orderID.MatchString(o.ID):
		return fmt.Errorf("id %q: use up to 64 of a-z, 0-9 and -", o.ID)
	case o.Topic == "" || o.Incarnation == "":
		return errors.New("topic and incarnation must be set")
	case o.View != "" && (!viewName.MatchString(o.View) || o.View == "segment-logs"):
		return fmt.Errorf("view %q: use up to 64 of A-Z, a-z, 0-9, _ and -, and not segment-logs", o.View)
	case o.From != FromStaging && o.From != FromKafka && o.From != FromAuto:
		return fmt.Errorf("from %q: use staging, kafka or auto", o.From)
	case o.Since < 0 || o.Until < 0 || o.Until > 0 && o.Until <= o.Since:
		return errors.New("until must be after since")
	case o.FilesPerSecond < 0 || o.BytesPerSecond < 0:
		return errors.New("files_per_second and bytes_per_second must not be negative")
	}
	for _, r := range o.Offsets {
		if r.Partition < 0 || r.First < 0 || r.Last < r.First {
			return fmt.Errorf("offsets %d:%d-%d: use PARTITION:FIRST-LAST, the last not below the first", r.Partition, r.First, r.Last)
		}
	}
	for _, d := range o.Destinations {
		if !IsDestination(d) {
			return fmt.Errorf("destination %q: use WORKSPACE/NAME", d)
		}
	}
	return nil
}

// Selects reports whether f, a file of entry e, is one of those that the order
// is about.
func (o *Order) Selects(e *ledger.Entry, f *ledger.File) bool {
	head, ok := o.Heads[e.Partition]
	if !ok || e.Topic != o.Topic || e.Incarnation != o.Incarnation || e.Seq > head {
		return false
	}
	if len(o.Sources) > 0 && !slices.Contains(o.Sources, f.Source) || f.Hour < o.Since || o.Until > 0 && f.Hour >= o.Until {
		return false
	}
	return len(o.Offsets) == 0 || slices.ContainsFunc(o.Offsets, func(r Range) bool {
		return r.Partition == e.Partition && f.First <= r.Last && r.First <= f.Last
	})
}

// Covers reports whether the order is to deliver a file, which it selects, to
// a destination.
//
// Invariant: I7, a delivery is for what the ledger owes, or for an order.
func (o *Order) Covers(e *ledger.Entry, f *ledger.File, destination string) bool {
	if !o.Selects(e, f) {
		return false
	}
	if len(o.Destinations) > 0 {
		return slices.Contains(o.Destinations, destination)
	}
	return slices.Contains(f.Owed, destination)
}

// Prefix is the destination's key prefix as the order delivers below it.
func (o *Order) Prefix(prefix string) string {
	switch {
	case o.View == "":
		return prefix
	case prefix == "":
		return o.View
	}
	return prefix + "/" + o.View
}

// Plan is what an order came to: what its jobs ask for, once all are enqueued.
type Plan struct {
	Version int   `json:"version"`
	Files   int64 `json:"files"`
	Records int64 `json:"records"`
	Bytes   int64 `json:"bytes"`  // compressed, over all deliveries
	Copies  int64 `json:"copies"` // deliveries: pairs of a file and a destination
	At      int64 `json:"at"`     // unix ms
}

// Encode returns the plan's bytes.
func (p Plan) Encode() []byte {
	p.Version = FormatVersion
	b, err := json.Marshal(p)
	if err != nil {
		panic(err)
	}
	return append(b, '\n')
}

// DecodePlan parses a plan strictly; the error wraps ErrBadOrder.
func DecodePlan(b []byte) (Plan, error) {
	var p Plan
	if err := decodeStrict(b, &p); err != nil {
		return Plan{}, fmt.Errorf("%w: plan: %w", ErrBadOrder, err)
	}
	if p.Version != FormatVersion || p.Copies < 0 {
		return Plan{}, fmt.Errorf("%w: plan: version must be %d", ErrBadOrder, FormatVersion)
	}
	return p, nil
}

// ReplaysPrefix lists all that belongs to replays.
const ReplaysPrefix = "replays/"

// ReplayPrefix lists all that belongs to one replay.
func ReplayPrefix(id string) string { return ReplaysPrefix + id + "/" }

// OrderKey is where the order lies in staging.
func OrderKey(id string) string { return ReplayPrefix(id) + "order.json" }

// PlanKey is where the plan lies.
func PlanKey(id string) string { return ReplayPrefix(id) + "plan.json" }

// ReplayReceiptsPrefix lists all receipts of a replay.
func ReplayReceiptsPrefix(id string) string { return ReplayPrefix(id) + "receipts/" }

// ReplayReceiptKey is where the receipt of a file at a destination lies that
// the replay delivered; the tail is that of ReceiptKey.
func ReplayReceiptKey(id string, r FileRef, destination string) string {
	return ReplayPrefix(id) + ReceiptKey(r, destination)
}

// ReplayFailuresPrefix lists all notes of what a replay could not deliver.
func ReplayFailuresPrefix(id string) string { return ReplayPrefix(id) + "failed/" }

// ReplayFailedKey is where a note (Parked) lies of a file that the replay
// could not deliver to a destination; the tail is that of ReceiptKey.
func ReplayFailedKey(id string, r FileRef, destination string) string {
	return ReplayFailuresPrefix(id) + strings.TrimPrefix(ReceiptKey(r, destination), "receipts/")
}

// RebuiltKey is where the object lies that was built again from Kafka. It does
// not name its content: whoever reads it holds it against the ledger's count,
// length and CRC of the lines.
func RebuiltKey(id string, r FileRef) string {
	return ReplayPrefix(id) + fmt.Sprintf("data/%s/%019d-%05d.gz", r.Log(), r.Seq, r.Index)
}

// ParseReplayKey returns the id of the replay that a key below ReplaysPrefix
// belongs to; ok is false for keys of another form.
func ParseReplayKey(key string) (id string, ok bool) {
	rest, ok := strings.CutPrefix(key, ReplaysPrefix)
	id, tail, cut := strings.Cut(rest, "/")
	return id, ok && cut && tail != "" && orderID.MatchString(id)
}

// ParseReplayCopyKey is the inverse of ReplayReceiptKey and of ReplayFailedKey:
// it returns the job, untried, whose copy was made or failed. ok is false for
// any key that neither gives.
func ParseReplayCopyKey(key string) (job Job, failed, ok bool) {
	id, ok := ParseReplayKey(key)
	if !ok {
		return Job{}, false, false
	}
	tail, failed := strings.CutPrefix(key, ReplayFailuresPrefix(id))
	part := strings.SplitN(strings.TrimPrefix(tail, ReplayReceiptsPrefix(id)), "/", 6) // topic, incarnation, partition, seq, index, destination
	if len(part) < 6 {
		return Job{}, false, false
	}
	partition, err1 := strconv.Atoi(part[2])
	seq, err2 := strconv.ParseInt(part[3], 10, 64)
	index, err3 := strconv.Atoi(part[4])
	job = Job{
		File:        FileRef{Topic: part[0], Incarnation: part[1], Partition: partition, Seq: seq, Index: index},
		Destination: strings.TrimSuffix(part[5], ".json"), Replay: id,
	}
	if errors.Join(err1, err2, err3) != nil || !job.File.valid() || !IsDestination(job.Destination) {
		return Job{}, false, false
	}
	if failed {
		return job, true, key == ReplayFailedKey(id, job.File, job.Destination)
	}
	return job, false, key == ReplayReceiptKey(id, job.File, job.Destination)
}

// ReplayLeaseName is what a copier holds while it copies a file for a replay:
// another name than the debt's, so that no delivery waits for a replay.
func ReplayLeaseName(id string, r FileRef, destination string) string {
	return "replay/" + id + "/" + debt(r, destination)
}

// String is the range as people write it.
func (r Range) String() string {
	return strconv.Itoa(r.Partition) + ":" + strconv.FormatInt(r.First, 10) + "-" + strconv.FormatInt(r.Last, 10)
}
