// Package delivery holds the names and formats by which files reach
// customers: copy jobs, receipts, parked jobs, and the pure functions that
// give every object its key. The byte formats are documented in
// schemas/delivery.md.
//
// It does no I/O. A job is a pointer, never an authority: what is owed stands
// in the ledger.
package delivery

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/sealift/sealift/pkg/ledger"
)

// Errors of the decoders.
var (
	ErrBadJob     = errors.New("malformed copy job")
	ErrBadReceipt = errors.New("malformed receipt")
)

// FormatVersion is written into jobs, receipts and parked jobs.
const FormatVersion = 1

// FileRef points at file Index of entry Seq of a chain.
type FileRef struct {
	Topic       string `json:"topic"`
	Incarnation string `json:"incarnation"`
	Partition   int    `json:"partition"`
	Seq         int64  `json:"seq"`
	Index       int    `json:"index"`
}

// Ref returns the pointer at file i of entry e.
func Ref(e *ledger.Entry, i int) FileRef {
	return FileRef{Topic: e.Topic, Incarnation: e.Incarnation, Partition: e.Partition, Seq: e.Seq, Index: i}
}

// Log returns the chain that the reference points into.
func (r FileRef) Log() ledger.Log {
	return ledger.Log{Topic: r.Topic, Incarnation: r.Incarnation, Partition: r.Partition}
}

func (r FileRef) String() string { return fmt.Sprintf("%s/%d/%d", r.Log(), r.Seq, r.Index) }

func (r FileRef) valid() bool {
	return name(r.Topic) && name(r.Incarnation) && r.Partition >= 0 && r.Seq >= 0 && r.Index >= 0
}

// maxName is the most bytes that a topic's name may have, in Kafka; no file name
// of a store on disks is much longer.
const maxName = 249

// name is what a part of a key may be. Anybody may write a job, and a key that
// the store refuses can neither be looked for nor written: its job could be
// closed, set aside and parked in no way. What else the catalog or Kafka would
// refuse is let pass: what is owed or parked under such a name has to end.
func name(s string) bool {
	switch strings.TrimSpace(s) { // as MinIO looks at it, to which a backslash is a slash
	case "", ".", "..":
		return false
	}
	return len(s) <= maxName && utf8.ValidString(s) && !strings.ContainsAny(s, `/\`) && !strings.ContainsFunc(s, unicode.IsControl)
}

// IsDestination reports whether s is "workspace/name", of which keys can be made.
func IsDestination(s string) bool {
	workspace, of, ok := strings.Cut(s, "/")
	return ok && len(s) <= maxName && name(workspace) && name(of)
}

// maxJob bounds a job: what is enqueued anew must fit, whatever was read.
const maxJob = 16 << 10

// Job asks for one file to be put into one destination.
type Job struct {
	Version     int     `json:"version"`
	File        FileRef `json:"file"`
	Destination string  `json:"destination"`          // "workspace/name"
	Attempt     int     `json:"attempt"`              // failed tries so far, and those that a breaker spared
	Refused     int     `json:"refused,omitempty"`    // of those, failures that looked permanent
	NotBefore   int64   `json:"not_before,omitempty"` // unix ms
	FirstTry    int64   `json:"first_try,omitempty"`  // unix ms of the first failed try
	LastError   string  `json:"last_error,omitempty"`
	// Replay is the id of the order that the job belongs to, "" if the ledger
	// itself owes the file. Such jobs have topics of their own.
	Replay string `json:"replay,omitempty"`
}

// Encode returns the job's bytes.
func (j Job) Encode() []byte {
	j.Version = FormatVersion
	b, err := json.Marshal(j)
	if err != nil { // no field can fail to marshal
		panic(err)
	}
	return b
}

// RecordKey is the key of the job's record: it spreads jobs over partitions and
// keeps those of one file and destination together. Nothing depends on it.
func (j Job) RecordKey() []byte { return fmt.Appendf(nil, "%s %s", j.File, j.Destination) }

func (j Job) valid() bool {
	return j.Version == FormatVersion && j.File.valid() && IsDestination(j.Destination) && j.Attempt >= 0 && j.Refused >= 0 &&
		(j.Replay == "" || orderID.MatchString(j.Replay))
}

// DecodeJob parses a job strictly; the error wraps ErrBadJob.
func DecodeJob(b []byte) (Job, error) {
	if len(b) > maxJob {
		return Job{}, fmt.Errorf("%w: %d bytes", ErrBadJob, len(b))
	}
	var j Job
	if err := decodeStrict(b, &j); err != nil {
		return Job{}, fmt.Errorf("%w: %w", ErrBadJob, err)
	}
	if !j.valid() {
		return Job{}, fmt.Errorf("%w: version, file and destination must be set, to what a key may hold", ErrBadJob)
	}
	return j, nil
}

// Outcome is how a debt was closed.
type Outcome string

// Outcomes.
const (
	Delivered Outcome = "delivered" // follows a 200, or a 412 on our content-named key
	Skipped   Outcome = "skipped"   // an operator gave it up
	Expired   Outcome = "expired"   // staging retention ended first
)

// Receipt closes one debt: one file at one destination.
type Receipt struct {
	Version     int     `json:"version"`
	File        FileRef `json:"file"`
	Destination string  `json:"destination"`
	Outcome     Outcome `json:"outcome"`
	Bucket      string  `json:"bucket"`
	Key         string  `json:"key"`
	ETag        string  `json:"etag,omitempty"`
	SHA256      string  `json:"sha256"`
	Bytes       int64   `json:"bytes"`
	Records     int64   `json:"records"`
	Existed     bool    `json:"existed,omitempty"` // the PUT was answered 412
	Worker      string  `json:"worker"`
	Fence       int64   `json:"fence,omitempty"`
	At          int64   `json:"at"`               // unix ms
	Replay      string  `json:"replay,omitempty"` // the order that it was delivered for
	// Role is the ARN of the role that the object was put by, "" if it was the
	// operator's own principal.
	Role string `json:"role,omitempty"`
}

// LeastDelivered is the least number of bytes of a receipt that says that file f
// was delivered, wherever and by whomever. One that says that it was not names
// no object and is shorter (MaxWorker): so a listing of receipts tells which of
// them have to be read.
func LeastDelivered(r FileRef, destination string, f *ledger.File) int64 {
	return int64(len(Receipt{
		File: r, Destination: destination, Outcome: Delivered, Bucket: "aws", Key: ObjectKey("", r.Log(), f), SHA256: f.SHA256,
		Bytes: 1, Records: f.Records, At: 1e12,
	}.Encode()))
}

// MaxWorker is the longest name of a worker in a receipt that names no object.
const MaxWorker = 100

// Encode returns the receipt's bytes.
func (r Receipt) Encode() []byte {
	r.Version = FormatVersion
	b, err := json.Marshal(r)
	if err != nil {
		panic(err)
	}
	return append(b, '\n')
}

// DecodeReceipt parses a receipt strictly; the error wraps ErrBadReceipt.
func DecodeReceipt(b []byte) (Receipt, error) {
	var r Receipt
	if err := decodeStrict(b, &r); err != nil {
		return Receipt{}, fmt.Errorf("%w: %w", ErrBadReceipt, err)
	}
	if r.Version != FormatVersion || !r.File.valid() || r.Destination == "" {
		return Receipt{}, fmt.Errorf("%w: version, file and destination must be set", ErrBadReceipt)
	}
	switch r.Outcome {
	case Delivered, Skipped, Expired:
		return r, nil
	}
	return Receipt{}, fmt.Errorf("%w: outcome %q", ErrBadReceipt, r.Outcome)
}

// Parked is a job that was set aside because its destination needs a person.
// It stays owed, visible, and is enqueued again by redrive.
type Parked struct {
	Version int    `json:"version"`
	Job     Job    `json:"job"`
	Reason  string `json:"reason,omitempty"` // a word for what failed; "": not noted
	Cause   string `json:"cause"`            // what failed
	Fix     string `json:"fix"`              // what to change
	Since   int64  `json:"since"`            // unix ms of the first failed try
	At      int64  `json:"at"`               // unix ms
}

// Reasons for which nothing is sent to a destination that the catalog knows
// of, or should.
const (
	ReasonDisabled = "disabled"        // it is disabled
	ReasonGone     = "gone"            // it is not in the catalog
	ReasonRefused  = "catalog_refused" // its record breaks a rule of the catalog
)

// ByCatalog reports whether the job was set aside only for what the catalog
// said: it can be tried again as soon as that is no longer so. All else needs
// a person who says that it was mended.
func (p Parked) ByCatalog() bool {
	return p.Reason == ReasonDisabled || p.Reason == ReasonGone || p.Reason == ReasonRefused
}

// Encode returns the parked job's bytes.
func (p Parked) Encode() []byte {
	p.Version = FormatVersion
	p.Job.Version = FormatVersion
	b, err := json.Marshal(p)
	if err != nil {
		panic(err)
	}
	return append(b, '\n')
}

// DecodeParked parses a parked job strictly; the error wraps ErrBadJob.
func DecodeParked(b []byte) (Parked, error) {
	var p Parked
	if err := decodeStrict(b, &p); err != nil {
		return Parked{}, fmt.Errorf("%w: %w", ErrBadJob, err)
	}
	if p.Version != FormatVersion || !p.Job.valid() {
		return Parked{}, fmt.Errorf("%w: version, file and destination must be set", ErrBadJob)
	}
	return p, nil
}

func decodeStrict(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("bytes after the object")
	}
	return nil
}

// StagedKey is where the file's bytes lie in the staging bucket, below its
// prefix. It names the content, so it is written once and never changes; and
// its range, so that what no entry names can be judged (ParseStagedKey).
//
//	data/{topic}/{incarnation}/{partition}/{hour-ms}/{source}/{first}-{last}-{sha256[:16]}.gz
func StagedKey(l ledger.Log, f *ledger.File) string {
	return StagedPrefix(l) + fmt.Sprintf("%d/%s/%d-%d-%s.gz", f.Hour, f.Source, f.First, f.Last, f.SHA256[:16])
}

// Files smaller than PackedBelow that are sealed together are staged together,
// in packs of at most PackBytes: their gzip members one after the other.
// workers/rotator/DESIGN.md tells why so.
const (
	PackedBelow = 1 << 20 // 1 MiB, compressed
	PackBytes   = 8 << 20 // 8 MiB
)

// PackKey is where a pack lies in the staging bucket, of files of entry seq
// that hold offsets from first to last; sum is the SHA-256 (hex) of all of it.
// Like StagedKey it names the content; and the only entry that may name it.
//
//	data/{topic}/{incarnation}/{partition}/packs/{seq, 19 digits}/{first}-{last}-{sha256[:16]}.gz
func PackKey(l ledger.Log, seq, first, last int64, sum string) string {
	return StagedPrefix(l) + fmt.Sprintf("packs/%019d/%d-%d-%s.gz", seq, first, last, sum[:16])
}

// nameSpace is the uuid v5 name space of file names.
var nameSpace = uuid.MustParse("5ea11f7d-0b1e-5c7a-9d3f-6b1f2a3c4d5e")

// FileName is the base name of the file in customers' buckets,
// {received-ms}.{12 hex}.{7 hex}.{uuid}.gz: the time of its first record, the
// partition it came from, its content, and a uuid v5 of both with its offsets.
// It is unique across days, sources and partitions.
func FileName(l ledger.Log, f *ledger.File) string {
	from := sha256.Sum256([]byte(l.String()))
	id := uuid.NewSHA1(nameSpace, fmt.Appendf(nil, "%s/%d-%d/%s", l, f.First, f.Last, f.SHA256))
	return fmt.Sprintf("%d.%s.%s.%s.gz", f.Received, hex.EncodeToString(from[:6]), f.SHA256[:7], id)
}

// ObjectKey is the file's key in a customer's bucket:
// [prefix/]segment-logs/{source}/{received-day-ms}/{name}.
//
// Invariant: I8, one key, one content: it is a pure function of the ledger's
// file and the prefix.
func ObjectKey(prefix string, l ledger.Log, f *ledger.File) string {
	key := "segment-logs/" + f.Source + "/" + strconv.FormatInt(f.Stream().Day(), 10) + "/" + FileName(l, f)
	if prefix != "" {
		return prefix + "/" + key
	}
	return key
}

// ReceiptsOf lists the receipts of all that a topic held, of every incarnation.
func ReceiptsOf(topic string) string { return "receipts/" + topic + "/" }

// ReceiptPrefix lists all receipts of one entry.
func ReceiptPrefix(l ledger.Log, seq int64) string {
	return fmt.Sprintf("receipts/%s/%019d/", l, seq)
}

// ReceiptKey is where the receipt of a file at a destination lies in staging.
func ReceiptKey(r FileRef, destination string) string {
	return ReceiptPrefix(r.Log(), r.Seq) + fmt.Sprintf("%05d/%s.json", r.Index, destination)
}

// ParseReceiptKey returns the index and destination of a key below a
// ReceiptPrefix; ok is false for any key that ReceiptKey does not give.
func ParseReceiptKey(prefix, key string) (index int, destination string, ok bool) {
	rest, found := strings.CutPrefix(key, prefix)
	if !found {
		return 0, "", false
	}
	idx, dest, found := strings.Cut(rest, "/")
	dest, isJSON := strings.CutSuffix(dest, ".json")
	n, err := strconv.Atoi(idx)
	return n, dest, found && isJSON && err == nil && n >= 0 && dest != "" && fmt.Sprintf("%05d", n) == idx
}

// ParkedPrefix lists the parked jobs of a destination, or of all for "".
func ParkedPrefix(destination string) string {
	if destination == "" {
		return "parked/"
	}
	return "parked/" + destination + "/"
}

// ParkedKey is where a parked job lies in staging.
func ParkedKey(r FileRef, destination string) string {
	return ParkedPrefix(destination) + fmt.Sprintf("%s/%019d-%05d.json", r.Log(), r.Seq, r.Index)
}

// ObjectMetadata is the user metadata of the file's object at a customer.
func ObjectMetadata(l ledger.Log, f *ledger.File) map[string]string {
	return map[string]string{
		"topic":        l.Topic,
		"partition":    strconv.Itoa(l.Partition),
		"first-offset": strconv.FormatInt(f.First, 10),
		"last-offset":  strconv.FormatInt(f.Last, 10),
		"records":      strconv.FormatInt(f.Records, 10),
		"sha256":       f.SHA256,
	}
}
