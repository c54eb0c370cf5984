// Package secret holds texts that must not be shown: passwords, keys, tokens.
//
// It is for whoever keeps one in a struct that somebody may print. It promises
// that no form of printing tells the text, wherever in a struct it is: neither
// package fmt with any verb, nor package log/slog, nor encoders. It does not hide
// the text from who asks for it, nor from who reads the process's memory.
package secret

import (
	"fmt"
	"io"
	"log/slog"
	"unique"
)

// Mask is how a secret prints.
const Mask = "***"

// Text is a secret. The empty one, the zero value, prints as nothing. Package
// fmt asks no method of what is in an unexported field; there it prints a
// pointer. Texts are compared by ==.
type Text struct {
	is unique.Handle[string] // of a pointer, which no verb of fmt follows; zero: ""
}

// New returns the secret with that text.
func New(text string) Text {
	if text == "" {
		return Text{}
	}
	return Text{unique.Make(text)}
}

// Reveal returns the secret itself, for the one place that uses it.
func (t Text) Reveal() string {
	if t == (Text{}) {
		return ""
	}
	return t.is.Value()
}

// String returns the mask.
func (t Text) String() string {
	if t == (Text{}) {
		return ""
	}
	return Mask
}

// GoString returns the mask, for %#v.
func (t Text) GoString() string { return fmt.Sprintf("secret.Text(%q)", t.String()) }

// Format writes the mask for every verb, also for those that do not fit a
// string and would otherwise print it in their complaint.
func (t Text) Format(f fmt.State, verb rune) {
	out := t.String()
	if verb == 'v' && f.Flag('#') {
		out = t.GoString()
	}
	_, _ = io.WriteString(f, out)
}

// LogValue returns the mask, for slog.
func (t Text) LogValue() slog.Value { return slog.StringValue(t.String()) }

// MarshalText returns the mask, for encoders.
func (t Text) MarshalText() ([]byte, error) { return []byte(t.String()), nil }
