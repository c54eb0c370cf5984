package delivery

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/strictjson"
)

// ErrBadOrder is returned by DecodeOrder and DecodePlan.
var ErrBadOrder = errors.New("malformed replay order")

// ByteSource says where a replay gets the bytes of a file from.
type ByteSource string

// Values of ByteSource.
const (
	FromStaging ByteSource = "staging" // the staged object; a file without one is not delivered
	FromKafka   ByteSource = "kafka"   // the events topic, read again
	FromAuto    ByteSource = "auto"    // the staged object, or the events topic if the object is gone
)

// Order is an operator's order to deliver files of the ledger again. It is the authority for a
// replay's jobs, as owed in the ledger is for all other jobs. It never changes.
type Order struct {
	Version     int    `json:"version"`
	ID          string `json:"id"`
	Topic       string `json:"topic"`
	Incarnation string `json:"incarnation"`
	// Heads holds the newest entry of each partition at the time of the order. Later entries and
	// other partitions are not covered.
	Heads   map[int]int64 `json:"heads"`
	Sources []string      `json:"sources,omitempty"` // empty: all
	// Since and Until bound the hours of receipt, unix ms, [since, until); 0 means unbounded.
	Since int64 `json:"since,omitempty"`
	Until int64 `json:"until,omitempty"`
	// Offsets selects files whose range of offsets overlaps one of these; empty: all files.
	Offsets []Range `json:"offsets,omitempty"`
	// Destinations are "workspace/name"; empty: those that each file is owed to.
	Destinations []string   `json:"destinations,omitempty"`
	Force        bool       `json:"force,omitempty"` // overwrite existing objects with the same content
	View         string     `json:"view,omitempty"`  // deliver to this folder below the destination's prefix
	From         ByteSource `json:"from"`
	// FilesPerSecond and BytesPerSecond limit how fast jobs are enqueued; 0 means unlimited.
	FilesPerSecond float64 `json:"files_per_second,omitempty"`
	BytesPerSecond int64   `json:"bytes_per_second,omitempty"`
	// Copies is the number of pairs of a file and a destination that the order covered when it was
	// given; 0 if they were not counted.
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
	return append(encode(v), '\n')
}

// DecodeOrder parses an order strictly; the error wraps ErrBadOrder.
func DecodeOrder(b []byte) (*Order, error) {
	o := new(Order)
	if err := strictjson.Decode(b, o); err != nil {
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

// Validate returns the first problem of the order, with field and fix, or nil.
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

// Selects reports whether the order selects f, a file of entry e.
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

// Covers reports whether the order selects a file and asks for its delivery to a destination.
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

// Prefix returns the key prefix below which the order delivers, given the destination's own prefix.
func (o *Order) Prefix(prefix string) string {
	switch {
	case o.View == "":
		return prefix
	case prefix == "":
		return o.View
	}
	return prefix + "/" + o.View
}

// Plan says how much an order amounts to: what its jobs ask for, once all of them are enqueued.
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
	return append(encode(p), '\n')
}

// DecodePlan parses a plan strictly; the error wraps ErrBadOrder.
func DecodePlan(b []byte) (Plan, error) {
	var p Plan
	if err := strictjson.Decode(b, &p); err != nil {
		return Plan{}, fmt.Errorf("%w: plan: %w", ErrBadOrder, err)
	}
	if p.Version != FormatVersion || p.Copies < 0 {
		return Plan{}, fmt.Errorf("%w: plan: version must be %d", ErrBadOrder, FormatVersion)
	}
	return p, nil
}

// ReplaysPrefix is the prefix of everything that belongs to replays.
const ReplaysPrefix = "replays/"

// ReplayPrefix is the prefix of everything that belongs to one replay.
func ReplayPrefix(id string) string { return ReplaysPrefix + id + "/" }

// OrderKey is the key of the order in staging.
func OrderKey(id string) string { return ReplayPrefix(id) + "order.json" }

// PlanKey is the key of the plan in staging.
func PlanKey(id string) string { return ReplayPrefix(id) + "plan.json" }

// ReplayReceiptsPrefix is the prefix of all receipts of a replay.
func ReplayReceiptsPrefix(id string) string { return ReplayPrefix(id) + "receipts/" }

// ReplayReceiptKey is the key of the receipt of a file that the replay delivered to a destination.
// It ends as ReceiptKey does.
func ReplayReceiptKey(id string, r FileRef, destination string) string {
	return ReplayPrefix(id) + ReceiptKey(r, destination)
}

// ReplayFailuresPrefix is the prefix of all notes about deliveries that a replay could not make.
func ReplayFailuresPrefix(id string) string { return ReplayPrefix(id) + "failed/" }

// ReplayFailedKey is the key of the note (Parked) about a file that the replay could not deliver to
// a destination. It ends as ReceiptKey does.
func ReplayFailedKey(id string, r FileRef, destination string) string {
	return ReplayFailuresPrefix(id) + strings.TrimPrefix(ReceiptKey(r, destination), "receipts/")
}

// RebuiltKey is the key of the object that was rebuilt from Kafka. It does not name the content: a
// reader has to compare count, length and CRC of the lines with the ledger's.
func RebuiltKey(id string, r FileRef) string {
	return ReplayPrefix(id) + fmt.Sprintf("data/%s/%019d-%05d.gz", r.Log(), r.Seq, r.Index)
}

// ParseReplayKey returns the id of the replay that a key below ReplaysPrefix belongs to; ok is
// false for other keys.
func ParseReplayKey(key string) (id string, ok bool) {
	rest, ok := strings.CutPrefix(key, ReplaysPrefix)
	id, tail, cut := strings.Cut(rest, "/")
	return id, ok && cut && tail != "" && orderID.MatchString(id)
}

// ParseReplayCopyKey is the inverse of ReplayReceiptKey and ReplayFailedKey. It returns the job
// whose copy was made or failed, without attempts. ok is false for any key that neither of them
// returns.
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

// ReplayLeaseName is the name of the lease that a copier holds while it copies a file for a replay.
// It differs from that of the debt, so that no delivery waits for a replay.
func ReplayLeaseName(id string, r FileRef, destination string) string {
	return "replay/" + id + "/" + debtName(r, destination)
}

// String returns the range as people write it.
func (r Range) String() string {
	return strconv.Itoa(r.Partition) + ":" + strconv.FormatInt(r.First, 10) + "-" + strconv.FormatInt(r.Last, 10)
}
