// Package secret holds texts that must not be shown: passwords, keys, tokens.
//
// It is for values in structs that may get printed. It promises that the text is not shown however
// it is printed, and wherever in a struct it is: neither by package fmt with any verb, nor by
// package log/slog, nor by encoders. It does not protect the text from code that calls Reveal, nor
// from anyone who can read the process's memory.
package secret

import (
	"fmt"
	"io"
	"log/slog"
	"unique"
)

// Mask is how a secret prints.
const Mask = "***"

// Text is a secret. The zero value is the empty secret, which prints as nothing. In an unexported
// field, where package fmt calls no methods, it prints as a pointer. Texts can be compared with ==.
type Text struct {
	handle unique.Handle[string] // holds a pointer, which no verb of fmt follows; zero: ""
}

// New returns the secret with this text.
func New(text string) Text {
	if text == "" {
		return Text{}
	}
	return Text{unique.Make(text)}
}

// Reveal returns the secret itself; call it only where the secret is used.
func (t Text) Reveal() string {
	if t == (Text{}) {
		return ""
	}
	return t.handle.Value()
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

// Format writes the mask for every verb, including those that do not fit a string, for which fmt
// would otherwise print the value in its error text.
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
