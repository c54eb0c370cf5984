package ledger

import (
	"context"
	"fmt"
	"strings"
)

// Tenure is a worker's assignment of a partition in one generation of its consumer group. It is
// only a hint and a name: the chain is what fences workers.
type Tenure struct {
	Owner      string // the worker's stable name
	Generation int32
	// Committed is the group's committed offset when the generation began, or -1, and Note is what
	// was stored with it. They serve as a cross-check; reading never starts there.
	Committed int64
	Note      string
	// LocalEnd is called when the log no longer holds the watermark of the head. It returns the
	// offset up to which this worker's disk holds what was read since, so that the log need not; -1
	// if the disk holds nothing of use. It is passed the claim that would be written after the head
	// (without Attempt and WrittenAt) and the log's end. segment.ErrDamaged says that what the disk
	// held is damaged; after any other error a later try may succeed. nil means that the disk holds
	// nothing.
	LocalEnd func(ctx context.Context, claim *Entry, end int64) (int64, error)
	// CheckRouter returns an error if this worker cannot route records by a rule; then it does not
	// take the partition over. nil means that it can use any rule.
	CheckRouter func(rule string) error
	// OnStaged is called, in any goroutine, for each object staged for an entry. It shows that an
	// entry that takes long still makes progress. nil if not needed.
	OnStaged func()
	// Done is closed when the generation has ended. If it is nil, which means unknown, nothing is
	// taken over: the partition may belong to another worker by now.
	Done <-chan struct{}
	// Commit commits the low watermark, for lag tools, with a note. If it is nil, nothing is
	// committed.
	Commit func(ctx context.Context, offset int64, note string) error
}

// Note is what a worker stores beside the offset that it commits: which entry was the head at that
// time. With a note, a committed offset is evidence about the ledger. Without one, as after a reset
// by Kafka's own tools, it says nothing.
type Note struct {
	Incarnation  string
	Seq          int64
	Attempt      string
	LowWatermark int64
}

// noteMark begins every note; a new format of notes gets a new number.
const noteMark = "sealift/1"

// NoteOf returns the note that names the entry.
func NoteOf(e *Entry) Note {
	return Note{Incarnation: e.Incarnation, Seq: e.Seq, Attempt: e.Attempt, LowWatermark: e.LowWatermark}
}

// String returns the note as text: one line of words separated by single spaces.
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
	// A text that String would write differently was not written by us.
	if err1 != nil || err2 != nil || n.Seq < 0 || n.LowWatermark < 0 || n.Attempt == "" || n.String() != s {
		return Note{}, false
	}
	return n, true
}
