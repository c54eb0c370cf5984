package ledger

import (
	"context"
	"fmt"
	"strings"
)

// Tenure is a worker's hold on a partition in one generation of its consumer
// group. It is a hint and a name: what fences a worker is the chain.
type Tenure struct {
	Owner      string // the worker's stable name
	Generation int32
	// Committed is the group's committed offset when the generation began, or
	// -1, and Note is what was written beside it. They are a cross-check, never
	// where reading starts.
	Committed int64
	Note      string
	// Local is asked when the log does not hold the watermark of the head. It
	// returns the offset up to which this worker's disk holds what was read since,
	// so that the log need not; -1: it holds nothing of use. It is given the claim
	// that would be written after the head, all of it but Attempt and WrittenAt, and
	// the log's end. nil: the disk holds nothing.
	Local func(ctx context.Context, claim *Entry, end int64) (int64, error)
	// Routes returns why this worker cannot read records by a routing rule; nil: it can
	// by any. Nothing is taken over then.
	Routes func(rule string) error
	// Staged is told of each object that was staged for an entry, by any goroutine: an
	// entry that takes long is none that cannot be written. nil: nobody asks.
	Staged func()
	// Done is closed when the generation has ended; nil: nobody knows. Nothing
	// is taken over then: the partition may be another's by now.
	Done <-chan struct{}
	// Commit records the low watermark for lag tools, with a note; nil: it is
	// not recorded.
	Commit func(ctx context.Context, offset int64, note string) error
}

// Note is what a worker writes beside the offset that it commits: which entry
// was the head then. With it a committed offset bears witness of the ledger;
// without it, as after Kafka's own tools reset it, it says nothing at all.
type Note struct {
	Incarnation  string
	Seq          int64
	Attempt      string
	LowWatermark int64
}

// noteMark begins every note; a new form of it gets a new number.
const noteMark = "sealift/1"

// NoteOf returns the note that names the entry.
func NoteOf(e *Entry) Note {
	return Note{Incarnation: e.Incarnation, Seq: e.Seq, Attempt: e.Attempt, LowWatermark: e.LowWatermark}
}

// String returns the note as text: one line, words apart by one space.
func (n Note) String() string {
	return fmt.Sprintf("%s %s %d %s %d", noteMark, n.Incarnation, n.Seq, n.Attempt, n.LowWatermark)
}

// ParseNote reads what String wrote; ok is false for anything else.
func ParseNote(s string) (n Note, ok bool) {
	words := strings.Split(s, " ")
	if len(words) != 5 || words[0] != noteMark {
		return Note{}, false
	}
	n.Incarnation, n.Attempt = words[1], words[3]
	_, err1 := fmt.Sscanf(words[2], "%d", &n.Seq)
	_, err2 := fmt.Sscanf(words[4], "%d", &n.LowWatermark)
	// What reads as another note than it is was not written by us.
	if err1 != nil || err2 != nil || n.Seq < 0 || n.LowWatermark < 0 || n.Attempt == "" || n.String() != s {
		return Note{}, false
	}
	return n, true
}
