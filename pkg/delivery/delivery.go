// Package delivery holds the names and formats by which files reach customers: copy jobs, receipts,
// parked jobs, and the pure functions that give every object its key. The byte formats are
// documented in schemas/delivery.md.
//
// It does no I/O. A job is only a pointer, never an authority: what is owed stands in the ledger.
package delivery

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/sealift/sealift/pkg/ledger"
)

// Errors of the decoders.
var (
	ErrBadJob     = errors.New("malformed copy job")
	ErrBadReceipt = errors.New("malformed receipt")
)

// FormatVersion is written into jobs, receipts and parked jobs.
const FormatVersion = 1

// encode returns v as JSON. No field of this package's formats can fail to marshal.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

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
