package config

import (
	"errors"
	"fmt"
	"strings"
)

// ErrInvalid is wrapped by every error about the content of a configuration.
var ErrInvalid = errors.New("invalid configuration")

// Problem is one thing that is wrong, described for the person who can fix it.
type Problem struct {
	Key  string // the configuration key; empty: the file as a whole
	From string // where its value came from: a file and line, a variable, a flag
	What string // what is wrong
	Fix  string // what to do
}

func (p Problem) String() string {
	var b strings.Builder
	switch {
	case p.Key != "" && p.From != "":
		fmt.Fprintf(&b, "%s (%s): ", p.Key, p.From)
	case p.Key != "" || p.From != "":
		b.WriteString(p.Key + p.From + ": ")
	}
	b.WriteString(p.What)
	if p.Fix != "" {
		b.WriteString("; " + p.Fix)
	}
	return b.String()
}

// Error holds all problems of a configuration. It wraps ErrInvalid.
type Error struct{ Problems []Problem }

func (e *Error) Error() string {
	if len(e.Problems) == 1 {
		return ErrInvalid.Error() + ": " + e.Problems[0].String()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d problems", ErrInvalid, len(e.Problems))
	for _, p := range e.Problems {
		b.WriteString("\n  " + p.String())
	}
	return b.String()
}

// Unwrap returns ErrInvalid.
func (e *Error) Unwrap() error { return ErrInvalid }

// orNil returns e as an error, or nil if it has no problems.
func (e *Error) orNil() error {
	if len(e.Problems) == 0 {
		return nil
	}
	return e
}
