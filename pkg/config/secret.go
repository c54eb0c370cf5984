package config

import (
	"fmt"
	"io"
	"log/slog"
	"unique"
)

const mask = "***"

// Secret is a text that prints as *** in every form: formatted with any verb,
// logged, or marshalled. The empty secret, the zero value, prints as nothing.
// Package fmt asks no method of what is in an unexported field; there it prints
// a pointer. Secrets are equal if their texts are.
type Secret struct {
	text unique.Handle[string] // of a pointer, which no verb of fmt follows; zero: ""
}

// NewSecret returns the secret with that text.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{unique.Make(text)}
}

// Reveal returns the secret itself, for the one place that uses it.
func (s Secret) Reveal() string {
	if s == (Secret{}) {
		return ""
	}
	return s.text.Value()
}

// String returns the mask.
func (s Secret) String() string {
	if s == (Secret{}) {
		return ""
	}
	return mask
}

// GoString returns the mask, for %#v.
func (s Secret) GoString() string { return fmt.Sprintf("config.Secret(%q)", s.String()) }

// Format writes the mask for every verb, also for those that do not fit a
// string and would otherwise print it in their complaint.
func (s Secret) Format(f fmt.State, verb rune) {
	out := s.String()
	if verb == 'v' && f.Flag('#') {
		out = s.GoString()
	}
	_, _ = io.WriteString(f, out)
}

// LogValue returns the mask, for slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText returns the mask, for encoders of text.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes the text, of decoders.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = NewSecret(string(text))
	return nil
}

// MarshalJSON returns the mask.
func (s Secret) MarshalJSON() ([]byte, error) { return fmt.Appendf(nil, "%q", s.String()), nil }

// MarshalYAML returns the mask.
func (s Secret) MarshalYAML() (any, error) { return s.String(), nil }
