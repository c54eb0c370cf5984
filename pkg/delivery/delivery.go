// Package delivery holds the names and formats by which files reach customers: copy jobs, receipts,
// parked jobs, and the pure functions that give every object its key. The byte formats are
// documented in schemas/delivery.md.
//
// It does no I/O. A job is only a pointer, never an authority: what is owed stands in the ledger.
package delivery

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/strictjson"
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

// Ref returns a reference to file i of entry e.
func Ref(e *ledger.Entry, i int) FileRef {
	return FileRef{Topic: e.Topic, Incarnation: e.Incarnation, Partition: e.Partition, Seq: e.Seq, Index: i}
}

// Log returns the chain that the reference points into.
func (r FileRef) Log() ledger.Log {
	return ledger.Log{Topic: r.Topic, Incarnation: r.Incarnation, Partition: r.Partition}
}

// Entry returns the entry that the file is in.
func (r FileRef) Entry() ledger.EntryRef { return ledger.EntryRef{Log: r.Log(), Seq: r.Seq} }

func (r FileRef) String() string { return fmt.Sprintf("%s/%d/%d", r.Log(), r.Seq, r.Index) }

func (r FileRef) valid() bool {
	return isKeyPart(r.Topic) && isKeyPart(r.Incarnation) && r.Partition >= 0 && r.Seq >= 0 && r.Index >= 0
}

// maxName is the longest name of a topic that Kafka allows, in bytes. File names in stores on disks
// can hardly be longer.
const maxName = 249

// isKeyPart reports whether s can be a part of a key. Anybody may write a job, and a key that the
// store refuses can neither be looked up nor written, so its job could not be closed, set aside or
// parked. Everything else that the catalog or Kafka would refuse is accepted: what is owed or
// parked under such a name must come to an end as well.
func isKeyPart(s string) bool {
	switch strings.TrimSpace(s) { // as MinIO sees it; it takes a backslash for a slash
	case "", ".", "..":
		return false
	}
	return len(s) <= maxName && utf8.ValidString(s) && !strings.ContainsAny(s, `/\`) && !strings.ContainsFunc(s, unicode.IsControl)
}

// IsDestination reports whether s is "workspace/name" and can be used in keys.
func IsDestination(s string) bool {
	workspace, dest, ok := strings.Cut(s, "/")
	return ok && len(s) <= maxName && isKeyPart(workspace) && isKeyPart(dest)
}

// WorkspaceOf returns the workspace of a destination.
func WorkspaceOf(destination string) string {
	workspace, _, _ := strings.Cut(destination, "/")
	return workspace
}

// maxJob bounds a job, so that any job that was read can be enqueued again.
const maxJob = 16 << 10

// Job asks for one file to be put into one destination.
type Job struct {
	Version     int     `json:"version"`
	File        FileRef `json:"file"`
	Destination string  `json:"destination"`          // "workspace/name"
	Attempt     int     `json:"attempt"`              // failed attempts so far
	Spared      int     `json:"spared,omitempty"`     // how often there was no attempt because a breaker was open
	Refused     int     `json:"refused,omitempty"`    // how many of those failures looked permanent
	NotBefore   int64   `json:"not_before,omitempty"` // unix ms
	FirstTry    int64   `json:"first_try,omitempty"`  // unix ms of when it first failed or was spared
	LastError   string  `json:"last_error,omitempty"`
	// Replay is the id of the order that the job belongs to, or "" if the ledger itself owes the
	// file. Jobs of replays have their own topics.
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

// RecordKey returns the key of the job's record. It spreads jobs over partitions and keeps the jobs
// of one file and destination together. Nothing depends on it.
func (j Job) RecordKey() []byte { return fmt.Appendf(nil, "%s %s", j.File, j.Destination) }

func (j Job) valid() bool {
	return j.Version == FormatVersion && j.File.valid() && IsDestination(j.Destination) && j.Attempt >= 0 && j.Spared >= 0 && j.Refused >= 0 &&
		(j.Replay == "" || orderID.MatchString(j.Replay))
}

// DecodeJob parses a job strictly; the error wraps ErrBadJob.
func DecodeJob(b []byte) (Job, error) {
	if len(b) > maxJob {
		return Job{}, fmt.Errorf("%w: %d bytes", ErrBadJob, len(b))
	}
	var j Job
	if err := strictjson.Decode(b, &j); err != nil {
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
	Delivered Outcome = "delivered" // after a 200, or a 412 on our content-named key
	Skipped   Outcome = "skipped"   // an operator gave it up
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
	Replay      string  `json:"replay,omitempty"` // the order that it was delivered for, if any
	// Role is the ARN of the role that put the object, or "" if the operator's own principal did.
	Role string `json:"role,omitempty"`
}

// MinDeliveredSize returns the smallest possible size in bytes of a receipt that says that file f
// was delivered, wherever and by whomever. A receipt with another outcome names no object and is
// shorter (see MaxWorker), so a listing of receipts shows which of them have to be read.
func MinDeliveredSize(r FileRef, destination string, f *ledger.File) int64 {
	return int64(len(Receipt{
		File: r, Destination: destination, Outcome: Delivered, Bucket: "aws", Key: ObjectKey("", r.Log(), f), SHA256: f.SHA256,
		Bytes: 1, Records: f.Records, At: 1e12,
	}.Encode()))
}

// MaxWorker is the longest name of a worker in a receipt that names no object, in bytes.
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
	if err := strictjson.Decode(b, &r); err != nil {
		return Receipt{}, fmt.Errorf("%w: %w", ErrBadReceipt, err)
	}
	if r.Version != FormatVersion || !r.File.valid() || r.Destination == "" {
		return Receipt{}, fmt.Errorf("%w: version, file and destination must be set", ErrBadReceipt)
	}
	switch r.Outcome {
	case Delivered, Skipped:
		return r, nil
	}
	return Receipt{}, fmt.Errorf("%w: outcome %q", ErrBadReceipt, r.Outcome)
}

// Receipts of one entry that are written at the same time are one object, a batch, if the entry
// owes at least BatchFrom deliveries. A batch holds at most MaxBatch receipts, all of which say
// that the file was delivered. It costs one request, where a receipt that is written by itself
// costs one for each delivery; the price is that a listing does not tell what is in a batch.
const (
	BatchFrom = 16
	MaxBatch  = 256
)

// EncodeBatch returns the bytes of a batch: its receipts, one after the other.
func EncodeBatch(rs []Receipt) []byte {
	var b []byte
	for _, r := range rs {
		b = append(b, r.Encode()...)
	}
	return b
}

// DecodeBatch parses the batch of an entry. It returns the receipts that it understands, and an
// error that wraps ErrBadReceipt if there is anything else in it.
func DecodeBatch(l ledger.Log, seq int64, b []byte) ([]Receipt, error) {
	var rs []Receipt
	var errs []error
	n := 0
	for line := range bytes.Lines(b) {
		n++
		r, err := DecodeReceipt(line)
		switch {
		case err != nil:
		case r.File.Log() != l || r.File.Seq != seq:
			err = fmt.Errorf("%w: it is of %s", ErrBadReceipt, r.File)
		case r.Outcome != Delivered:
			err = fmt.Errorf("%w: outcome %q in a batch", ErrBadReceipt, r.Outcome)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("line %d: %w", n, err))
			continue
		}
		rs = append(rs, r)
	}
	if n == 0 {
		errs = append(errs, fmt.Errorf("%w: empty", ErrBadReceipt))
	}
	return rs, errors.Join(errs...)
}

// Parked is a job that was set aside because its destination needs a person. It stays owed and
// visible, and redrive enqueues it again.
type Parked struct {
	Version int    `json:"version"`
	Job     Job    `json:"job"`
	Reason  string `json:"reason,omitempty"` // a word for what failed; "" if not recorded
	Cause   string `json:"cause"`            // what failed
	Fix     string `json:"fix"`              // what to change
	Since   int64  `json:"since"`            // unix ms of the first failed attempt
	At      int64  `json:"at"`               // unix ms
}

// Reasons, from the catalog, for sending nothing to a destination.
const (
	ReasonDisabled = "disabled"        // it is disabled
	ReasonGone     = "gone"            // it is not in the catalog
	ReasonRefused  = "catalog_refused" // its record breaks a rule of the catalog
)

// ByCatalog reports whether the job was set aside only because of the catalog: it can be tried
// again as soon as the catalog allows it. All other jobs wait until a person says that the cause is
// fixed.
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
	if err := strictjson.Decode(b, &p); err != nil {
		return Parked{}, fmt.Errorf("%w: %w", ErrBadJob, err)
	}
	if p.Version != FormatVersion || !p.Job.valid() {
		return Parked{}, fmt.Errorf("%w: version, file and destination must be set", ErrBadJob)
	}
	return p, nil
}

// StagedKey is the file's key in the staging bucket, below staging.prefix. It names the content, so
// its object is written once and never changes. It also names the range of offsets, which is needed
// to judge objects that no entry names (see ParseStagedKey).
//
//	data/{topic}/{incarnation}/{partition}/{hour-ms}/{source}/{first}-{last}-{sha256[:16]}.gz
func StagedKey(l ledger.Log, f *ledger.File) string {
	return StagedPrefix(l) + fmt.Sprintf("%d/%s/%d-%d-%s.gz", f.Hour, f.Source, f.First, f.Last, f.SHA256[:16])
}

// Files smaller than PackedBelow that are sealed together are staged together, in packs of at most
// PackBytes: their gzip members one after the other. workers/rotator/DESIGN.md explains why.
const (
	PackedBelow = 1 << 20 // 1 MiB, compressed
	PackBytes   = 8 << 20 // 8 MiB
)

// PackKey is the key in the staging bucket of a pack with files of entry seq. The files hold
// offsets from first to last; sum is the SHA-256 (hex) of the whole pack. Like StagedKey, it names
// the content, and in addition the only entry that may name the pack.
//
//	data/{topic}/{incarnation}/{partition}/packs/{seq, 19 digits}/{first}-{last}-{sha256[:16]}.gz
func PackKey(l ledger.Log, seq, first, last int64, sum string) string {
	return StagedPrefix(l) + fmt.Sprintf("packs/%019d/%d-%d-%s.gz", seq, first, last, sum[:16])
}

// nameSpace is the uuid v5 name space of file names.
var nameSpace = uuid.MustParse("5ea11f7d-0b1e-5c7a-9d3f-6b1f2a3c4d5e")

// FileName is the base name of the file in customers' buckets, {received-ms}.{12 hex}.{7
// hex}.{uuid}.gz: the time of its first record, the partition, the content, and a uuid v5 of
// partition, content and offsets. It is unique across days, sources and partitions.
func FileName(l ledger.Log, f *ledger.File) string {
	from := sha256.Sum256([]byte(l.String()))
	id := uuid.NewSHA1(nameSpace, fmt.Appendf(nil, "%s/%d-%d/%s", l, f.First, f.Last, f.SHA256))
	return fmt.Sprintf("%d.%s.%s.%s.gz", f.Received, hex.EncodeToString(from[:6]), f.SHA256[:7], id)
}

// ObjectKey is the file's key in a customer's bucket:
// [prefix/]segment-logs/{source}/{received-day-ms}/{name}.
//
// Invariant: I8, one key, one content: the key is a pure function of the ledger's file and the
// prefix.
func ObjectKey(prefix string, l ledger.Log, f *ledger.File) string {
	key := "segment-logs/" + f.Source + "/" + strconv.FormatInt(f.Stream().Day(), 10) + "/" + FileName(l, f)
	if prefix != "" {
		return prefix + "/" + key
	}
	return key
}

// TopicReceiptsPrefix is the prefix of all receipts for a topic, of every incarnation.
func TopicReceiptsPrefix(topic string) string { return "receipts/" + topic + "/" }

// ReceiptPrefix is the prefix of all receipts of one entry.
func ReceiptPrefix(l ledger.Log, seq int64) string {
	return fmt.Sprintf("receipts/%s/%019d/", l, seq)
}

// ReceiptKey is the key in staging of the receipt of a file at a destination.
func ReceiptKey(r FileRef, destination string) string {
	return ReceiptPrefix(r.Log(), r.Seq) + fmt.Sprintf("%05d/%s.json", r.Index, destination)
}

// ParseReceiptKey returns the index and destination of a key below a ReceiptPrefix; ok is false for
// any key that ReceiptKey does not return.
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

// BatchPrefix is the prefix of all batches of receipts of one entry. They are listed after the
// receipts that were written by themselves.
func BatchPrefix(l ledger.Log, seq int64) string { return ReceiptPrefix(l, seq) + "batch/" }

// BatchKey is the key in staging of a batch of receipts. It names the content, so a batch whose
// request is repeated is stored once.
func BatchKey(l ledger.Log, seq int64, batch []byte) string {
	sum := sha256.Sum256(batch)
	return BatchPrefix(l, seq) + hex.EncodeToString(sum[:16]) + ".json"
}

// IsBatchKey reports whether a key below a ReceiptPrefix is that of a batch.
func IsBatchKey(prefix, key string) bool {
	name, found := strings.CutPrefix(key, prefix+"batch/")
	name, isJSON := strings.CutSuffix(name, ".json")
	sum, err := hex.DecodeString(name)
	return found && isJSON && err == nil && len(sum) == 16 && hex.EncodeToString(sum) == name
}

// ParkedPrefix is the prefix of the parked jobs of a destination, or of all destinations for "".
func ParkedPrefix(destination string) string {
	if destination == "" {
		return "parked/"
	}
	return "parked/" + destination + "/"
}

// ParkedKey is the key of a parked job in staging.
func ParkedKey(r FileRef, destination string) string {
	return ParkedPrefix(destination) + fmt.Sprintf("%s/%019d-%05d.json", r.Log(), r.Seq, r.Index)
}

// ObjectMetadata is the user metadata of the file's object in a customer's bucket.
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
