package catalog

import (
	"errors"
	"fmt"
	"strings"
)

// ErrInvalid is wrapped by every error about the content of a catalog.
var ErrInvalid = errors.New("invalid catalog")

// Problem is one thing that is wrong, described for the person who can fix it. It never contains a
// write key.
type Problem struct {
	File      string // that holds the workspace, for whoever reads several; otherwise empty
	Line      int    // in the YAML; 0 if it did not come from YAML
	Workspace string // the workspace's id
	Object    string // `source "x"` or `destination "x"`; empty: the workspace itself
	Field     string // like bucket; empty: the object as a whole
	What      string // what is wrong
	Fix       string // what to do

	doc  int    // index of the workspace
	path string // like destinations/0/bucket
}

func (p Problem) String() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File + ": ")
	}
	if p.Line > 0 {
		fmt.Fprintf(&b, "line %d: ", p.Line)
	}
	if p.Workspace != "" {
		fmt.Fprintf(&b, "workspace %s: ", p.Workspace)
	}
	if p.Object != "" {
		b.WriteString(p.Object + ": ")
	}
	if p.Field != "" {
		b.WriteString(p.Field + ": ")
	}
	b.WriteString(p.What)
	if p.Fix != "" {
		b.WriteString("; " + p.Fix)
	}
	return b.String()
}

// Error holds all problems of a catalog. It wraps ErrInvalid. Its text shows the first twenty.
type Error struct{ Problems []Problem }

// maxShown is how many problems are shown: nobody reads more, and one mistake may cause ten
// thousand.
const maxShown = 20

func (e *Error) Error() string {
	if len(e.Problems) == 1 {
		return ErrInvalid.Error() + ": " + e.Problems[0].String()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d problems", ErrInvalid, len(e.Problems))
	for _, p := range e.Problems[:min(maxShown, len(e.Problems))] {
		b.WriteString("\n  " + p.String())
	}
	if more := len(e.Problems) - maxShown; more > 0 {
		fmt.Fprintf(&b, "\n  … and %d more", more)
	}
	return b.String()
}

// Unwrap returns ErrInvalid.
func (e *Error) Unwrap() error { return ErrInvalid }

// asError returns the problems as an error, or nil if there are none.
func asError(problems []Problem) error {
	if len(problems) == 0 {
		return nil
	}
	return &Error{Problems: problems}
}
