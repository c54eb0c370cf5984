package check

import (
	"fmt"
	"strings"
	"sync"
)

// Kind is a class of problems.
type Kind string

// Kinds of problems for which there is a line or an object. What is lost has neither.
const (
	Duplicated Kind = "duplicated" // a line that is there more often than it was accepted
	Foreign    Kind = "foreign"    // a line that was never accepted
	Misplaced  Kind = "misplaced"  // a line under another source or day
	Malformed  Kind = "malformed"  // an object or a line that violates the contract
)

// Problem is an example of a problem.
type Problem struct {
	Kind      Kind   `json:"kind"`
	Key       string `json:"key"`
	MessageID string `json:"message_id,omitempty"`
	Detail    string `json:"detail"`
}

// Report is what Check found.
type Report struct {
	Acknowledged int64 `json:"acknowledged"` // calls of Acknowledge
	Records      int64 `json:"records"`      // calls of Record
	Objects      int64 `json:"objects"`      // below segment-logs/
	Ignored      int64 `json:"ignored"`      // objects elsewhere
	Lines        int64 `json:"lines"`
	Bytes        int64 `json:"bytes"` // stored, compressed

	Lost       int64 `json:"lost"`
	Duplicated int64 `json:"duplicated"`
	Foreign    int64 `json:"foreign"`
	Misplaced  int64 `json:"misplaced"`
	Malformed  int64 `json:"malformed"` // number of problems; an object may have several

	Examples []Problem `json:"examples,omitempty"`

	limit int
	mu    sync.Mutex // guards everything while Check runs
	err   error
}

// OK tells whether nothing is wrong.
func (r *Report) OK() bool {
	return r.Lost == 0 && r.Duplicated == 0 && r.Foreign == 0 && r.Misplaced == 0 && r.Malformed == 0
}

// String returns one line of figures, and one line per example.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d lines in %d objects (%d bytes) for %d acknowledged events and %d records: %d lost, %d duplicated, %d foreign, %d misplaced, %d malformed",
		r.Lines, r.Objects, r.Bytes, r.Acknowledged, r.Records, r.Lost, r.Duplicated, r.Foreign, r.Misplaced, r.Malformed)
	for _, p := range r.Examples {
		fmt.Fprintf(&b, "\n  %s: %s %s: %s", p.Kind, p.Key, p.MessageID, p.Detail)
	}
	return b.String()
}

func (r *Report) addProblem(kind Kind, key, message, detail string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch kind {
	case Duplicated:
		r.Duplicated++
	case Foreign:
		r.Foreign++
	case Misplaced:
		r.Misplaced++
	case Malformed:
		r.Malformed++
	}
	if len(r.Examples) < r.limit {
		r.Examples = append(r.Examples, Problem{Kind: kind, Key: key, MessageID: message, Detail: detail})
	}
}

func (r *Report) increment(n *int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*n++
}

func (r *Report) setErr(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
	}
}

func (r *Report) failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err != nil
}
