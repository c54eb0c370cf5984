// Package ledger is the single linearization point of Sealift. For each partition of the events
// topic it keeps a chain of numbered, immutable entries in the staging bucket. The create-if-absent
// PUT of entry n+1 decides which records are in which file, what is owed to whom, and where reading
// resumes, and it fences every other worker, all at once.
//
// The package promises invariants I1 and I5 of the protocol (schemas/protocol.md). It does not know
// when to seal, nor how records are read.
package ledger

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/strictjson"
)

// EntryVersion is the format version that this code writes.
const EntryVersion = 1

// Log identifies one partition's log of records, and thereby its chain.
type Log struct {
	Topic       string
	Incarnation string // changes when the topic is re-created, see schemas/ledger.md
	Partition   int
}

func (l Log) String() string {
	return fmt.Sprintf("%s/%s/%05d", l.Topic, l.Incarnation, l.Partition)
}

// EntryRef identifies an entry.
type EntryRef struct {
	Log
	Seq int64
}

// Stream says what a file holds records of: one source in one UTC hour of receipt. It is a pure
// function of the record, never of the reader's clock.
type Stream struct {
	Source string
	Hour   int64 // start of the hour, unix ms
}

// StreamOf returns the stream of a record of source received at receivedMs.
func StreamOf(source string, receivedMs int64) Stream {
	const hour = int64(time.Hour / time.Millisecond)
	h := receivedMs - receivedMs%hour
	if receivedMs%hour < 0 {
		h -= hour
	}
	return Stream{Source: source, Hour: h}
}

// Day returns the UTC midnight of the stream in unix milliseconds.
func (s Stream) Day() int64 {
	const day = int64(24 * time.Hour / time.Millisecond)
	d := s.Hour - s.Hour%day
	if s.Hour%day < 0 {
		d -= day
	}
	return d
}

// Compare orders streams by hour, then source.
func (s Stream) Compare(t Stream) int {
	if s.Hour != t.Hour {
		if s.Hour < t.Hour {
			return -1
		}
		return 1
	}
	return strings.Compare(s.Source, t.Source)
}

// File is a sealed file: the records of one stream with offsets in [First, Last], as one gzip
// member.
type File struct {
	Source    string   `json:"source"`
	Hour      int64    `json:"hour"`     // unix ms
	Received  int64    `json:"received"` // unix ms of the first record
	First     int64    `json:"first"`
	Last      int64    `json:"last"`
	Records   int64    `json:"records"`
	RawBytes  int64    `json:"raw_bytes"`
	GzipBytes int64    `json:"gzip_bytes"`
	RawCRC64  string   `json:"raw_crc64"` // CRC-64/NVME of the lines, 16 hex digits
	SHA256    string   `json:"sha256"`    // hex, of the gzip bytes
	StagedKey string   `json:"staged_key"`
	StagedAt  int64    `json:"staged_at,omitempty"`  // offset of its bytes in its pack
	PackBytes int64    `json:"pack_bytes,omitempty"` // size of the whole pack; 0: the object is this file alone
	Reason    string   `json:"reason"`               // why it was sealed
	Owed      []string `json:"owed"`                 // destination ids, "workspace/name"
}

// Stream returns the stream of the file.
func (f *File) Stream() Stream { return Stream{Source: f.Source, Hour: f.Hour} }

// Open returns the file's staged bytes; if the file is in a pack, only its part. The bytes may
// differ from what the ledger says, also in length: the caller has to compare them.
func (f *File) Open(ctx context.Context, staging objstore.Store) (io.ReadCloser, error) {
	if f.PackBytes > 0 {
		return staging.GetRange(ctx, f.StagedKey, f.StagedAt, f.GzipBytes)
	}
	r, _, err := staging.Get(ctx, f.StagedKey)
	return r, err
}

// StagedBytes is the size of the object that StagedKey names.
func (f *File) StagedBytes() int64 { return cmp.Or(f.PackBytes, f.GzipBytes) }

// Kind says why an entry was written.
type Kind string

// Kinds of entries.
const (
	KindInit  Kind = "init"  // the first of a chain
	KindClaim Kind = "claim" // a new owner took the partition over
	KindSeal  Kind = "seal"  // files were sealed, or the watermark moved
)

// SkippedDuplicate is the reason of records that are skipped because a record with a lower offset
// holds the same message. A duplicate is counted by the first entry in which it is below the
// watermark or not above its stream's SealedThrough; any other skipped record by the first entry in
// which it is below the watermark.
const SkippedDuplicate = "duplicate_message"

// SkippedLost is the reason of offsets that Kafka removed before they were in a file, once an
// operator has accepted the loss. The count is an upper bound: files that reach above the previous
// watermark may hold some of them.
const SkippedLost = "lost_in_kafka"

// RouterRule names the rule that assigns records to streams: where in a record its source and its
// time of receipt are (kafka.source_from, kafka.received_from). The default rule, headers, is the
// empty string.
//
// Invariant: I2. The rule must not change from the moment at which a stream is sealed past the
// watermark until none of those records can be read again. By another rule they would be looked up
// in the filter under another stream.
func RouterRule(sourceFrom, receivedFrom string) string {
	if sourceFrom == "header" && receivedFrom == "header" {
		return ""
	}
	return sourceFrom + ";" + receivedFrom
}

// ParseRouterRule is the inverse of RouterRule; ok is false for any string that RouterRule does not
// return.
func ParseRouterRule(rule string) (sourceFrom, receivedFrom string, ok bool) {
	if rule == "" {
		return "header", "header", true
	}
	sourceFrom, receivedFrom, _ = strings.Cut(rule, ";")
	ok = sourceFrom != "" && receivedFrom != "" && !strings.Contains(receivedFrom, ";") && RouterRule(sourceFrom, receivedFrom) == rule
	return sourceFrom, receivedFrom, ok
}

// SealedStream says that every record of the stream up to and including Offset is in a file of this
// or an earlier entry.
type SealedStream struct {
	Source string `json:"source"`
	Hour   int64  `json:"hour"`
	Offset int64  `json:"offset"`
}

// Stream returns the stream of t.
func (t SealedStream) Stream() Stream { return Stream{Source: t.Source, Hour: t.Hour} }

// Entry is one link of a chain. The head entry carries the whole state that
// recovery needs.
type Entry struct {
	Version     int    `json:"version"`
	Seq         int64  `json:"seq"`
	Kind        Kind   `json:"kind"`
	Attempt     string `json:"attempt"` // uuid of the author's attempt to write this entry
	Owner       string `json:"owner"`
	Generation  int32  `json:"generation"`
	WrittenAt   int64  `json:"written_at"` // unix ms, for people only
	Cluster     string `json:"cluster"`
	Topic       string `json:"topic"`
	Incarnation string `json:"incarnation"`
	Partition   int    `json:"partition"`
	// Router is the rule, in RouterRule's form, that assigned records to streams: those named in
	// SealedThrough, and those read from LowWatermark on under this entry.
	Router string `json:"router,omitempty"`
	// RouterFrom is the first offset from which Router applies and nothing was lost: the watermark
	// at which the rule last changed, or up to which a loss was accepted; 0 if neither happened.
	// Records below it may be in no file, or filed by another rule, so their messages must not be
	// remembered.
	RouterFrom int64 `json:"router_from,omitempty"`

	Files   []File           `json:"files"`
	Skipped map[string]int64 `json:"skipped,omitempty"` // reason -> records
	// LowWatermark is where reading resumes: every record below it is in a file or counted in
	// Skipped.
	LowWatermark int64 `json:"low_watermark"`
	// SealedThrough is the filter for recovery, sorted. It lists only streams whose offset is not
	// below LowWatermark.
	SealedThrough []SealedStream `json:"sealed_through,omitempty"`
	// CompleteThrough is a time in unix ms. Every record received before it is in a file of this or
	// an earlier entry, or skipped, except stragglers that reached the log after the grace period.
	// It goes back only if it was later than WrittenAt, because a clock had been ahead. 0 means
	// unknown. It is for reports only; nothing depends on it.
	CompleteThrough int64 `json:"complete_through,omitempty"`
	// DispatchedThrough is the outbox position: the copy jobs of all entries up to and including
	// this number have been enqueued.
	DispatchedThrough int64 `json:"dispatched_through"`
}

// Debts returns the number of deliveries that the entry owes: one for each file and destination.
func (e *Entry) Debts() (n int) {
	for i := range e.Files {
		n += len(e.Files[i].Owed)
	}
	return n
}

// Owes reports whether the entry owes at least so many deliveries. It counts no further.
func (e *Entry) Owes(atLeast int) bool {
	n := 0
	for i := 0; i < len(e.Files) && n < atLeast; i++ {
		n += len(e.Files[i].Owed)
	}
	return n >= atLeast
}

// Log returns the log that the entry belongs to.
func (e *Entry) Log() Log {
	return Log{Topic: e.Topic, Incarnation: e.Incarnation, Partition: e.Partition}
}

// Filter returns SealedThrough as a map, which belongs to the caller.
func (e *Entry) Filter() map[Stream]int64 {
	through := make(map[Stream]int64, len(e.SealedThrough))
	for _, t := range e.SealedThrough {
		through[t.Stream()] = t.Offset
	}
	return through
}

// SetFilter sets SealedThrough to those of the streams whose offset is not below LowWatermark,
// which must be set first. Records of the others are not read again.
func (e *Entry) SetFilter(through map[Stream]int64) {
	e.SealedThrough = nil
	for s, offset := range through {
		if offset >= e.LowWatermark {
			e.SealedThrough = append(e.SealedThrough, SealedStream{Source: s.Source, Hour: s.Hour, Offset: offset})
		}
	}
	slices.SortFunc(e.SealedThrough, compareThrough)
}

// ErrCorrupt says that stored bytes are not an entry.
var ErrCorrupt = errors.New("corrupt ledger entry")

// ErrTooNew says that a later release wrote the entry. Whatever cannot be done with a corrupt entry
// cannot be done with this one either, so it is an ErrCorrupt as well.
var ErrTooNew error = tooNewError(0)

// tooNewError is the version of an entry that is too new.
type tooNewError int

func (e tooNewError) Error() string {
	return fmt.Sprintf("a later release wrote this ledger entry, in version %d of its format, and this one reads up to %d: upgrade this process", int(e), EntryVersion)
}

// Is implements the interface of errors.Is.
func (e tooNewError) Is(target error) bool { return target == ErrTooNew || target == ErrCorrupt }

// Covers reports whether the stream's record at the offset is in a file of e or of an earlier
// entry, or skipped. Once true, it is true for all later entries.
func (e *Entry) Covers(s Stream, offset int64) bool {
	i, found := slices.BinarySearchFunc(e.SealedThrough, s, func(t SealedStream, s Stream) int {
		return t.Stream().Compare(s)
	})
	return offset < e.LowWatermark || found && offset <= e.SealedThrough[i].Offset
}

// Encode returns the entry's bytes: one JSON object and a newline.
func (e *Entry) Encode() ([]byte, error) {
	if err := e.validate(); err != nil {
		return nil, err
	}
	b, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encode ledger entry %d: %w", e.Seq, err)
	}
	return append(b, '\n'), nil
}

// Decode parses an entry strictly: a later version is ErrTooNew, unknown fields are ErrCorrupt.
func Decode(b []byte) (*Entry, error) {
	e := new(Entry)
	if err := strictjson.Decode(b, e); err != nil {
		var stored struct{ Version int } // of an entry that may have fields unknown to us
		if json.Unmarshal(b, &stored) == nil && stored.Version > EntryVersion {
			return nil, tooNewError(stored.Version)
		}
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if e.Version > EntryVersion {
		return nil, tooNewError(e.Version)
	}
	if err := e.validate(); err != nil {
		return nil, err
	}
	return e, nil
}

// validate checks what a single entry can show of the invariants.
func (e *Entry) validate() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: entry %d: %s", ErrCorrupt, e.Seq, fmt.Sprintf(format, args...))
	}
	switch {
	case e.Version != EntryVersion:
		return bad("version %d is not %d", e.Version, EntryVersion)
	case e.Seq < 0 || e.LowWatermark < 0 || e.Partition < 0 || e.CompleteThrough < 0:
		return bad("negative number")
	case e.RouterFrom < 0 || e.RouterFrom > e.LowWatermark:
		return bad("router from %d, watermark %d", e.RouterFrom, e.LowWatermark)
	case e.Attempt == "" || e.Topic == "" || e.Incarnation == "":
		return bad("attempt, topic and incarnation must be set")
	case e.DispatchedThrough >= e.Seq && e.Seq > 0:
		return bad("dispatched through %d, itself or later", e.DispatchedThrough)
	case (e.Kind == KindInit) != (e.Seq == 0):
		return bad("kind %q", e.Kind)
	case e.Kind != KindSeal && len(e.Files) > 0:
		return bad("kind %q has files", e.Kind)
	}
	if _, _, ok := ParseRouterRule(e.Router); !ok {
		return bad("router %q", e.Router)
	}
	for i := range e.Files {
		f := &e.Files[i]
		if f.First < 0 || f.Last < f.First || f.Records < 1 || f.Records > f.Last-f.First+1 || f.GzipBytes < 1 || f.StagedKey == "" || len(f.SHA256) != 64 || len(f.RawCRC64) != 16 {
			return bad("file %d is not whole", i)
		}
		if f.StagedAt < 0 || f.PackBytes == 0 && f.StagedAt > 0 || f.PackBytes != 0 && f.StagedAt > f.PackBytes-f.GzipBytes {
			return bad("file %d is not within its pack", i)
		}
	}
	if !slices.IsSortedFunc(e.SealedThrough, compareThrough) {
		return bad("sealed_through is not sorted")
	}
	return nil
}

func compareThrough(a, b SealedStream) int { return a.Stream().Compare(b.Stream()) }
