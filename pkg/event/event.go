// Package event turns Tracking API request bodies into stored lines: the form in which an event
// travels through Kafka and is stored in a customer's bucket. It is for the collector and for tools
// that speak its dialect.
//
// It promises to store what a caller sent as it was sent: unknown fields, the order of keys, every
// digit of a number and every character of a string, byte for byte. Only white space outside of
// strings is removed, so that a line contains no newline, and bytes that are not valid UTF-8 become
// U+FFFD. Stamp lists what the API adds or replaces. A write key at the top level of a body or an
// event never reaches a line.
//
// It is lenient on purpose: an archive that refuses what Segment's own API accepts loses events. So
// a call needs no known type. It must be a JSON object within the limits; MissingField reports
// separately what Segment demands beyond that. A faulty event of a batch does not affect the
// others.
//
// The package does no I/O, and knows nothing about HTTP or sources.
package event

import "fmt"

// Limits of the Tracking API. Its KB are 1024 bytes, as Segment's SDKs count.
const (
	// MaxBody limits the bytes of an inflated request body. The promised limit is 500 KiB. But some
	// SDKs fill all of it with events, not counting the commas and the object around them
	// (analytics-react-native up to 2.21.4, the crate segment 0.2.6, and by a few bytes
	// analytics-ruby), and the first two resend what is refused forever.
	MaxBody   = 520 << 10
	MaxEvent  = 32 << 10 // bytes of one event, without insignificant white space
	MaxEvents = 2500     // events in a batch
	// MaxDepth limits the nesting of arrays and objects in a body. Python and Jackson, which read
	// the files, give up at 1000.
	MaxDepth = 500
	// MaxMessageID limits a messageId, in characters.
	MaxMessageID = 100
	// MaxLines limits the bytes of all lines of a request. Only a batch with a large context of its
	// own can reach it, because the context is repeated in each line.
	MaxLines = 16 << 20
)

// Kind is what the request path says about the body.
type Kind uint8

// The kinds of request.
const (
	Batch Kind = iota // many calls, each with its own type
	Identify
	Track
	Page
	Screen
	Group
	Alias
	kindCount
)

var kindNames = [kindCount]string{"batch", "identify", "track", "page", "screen", "group", "alias"}

// KindOf returns the kind for the last element of a request path: a long name, "import", or an
// SDK's short form such as "t".
func KindOf(name string) (Kind, bool) {
	switch name {
	case "batch", "b", "import":
		return Batch, true
	case "identify", "i":
		return Identify, true
	case "track", "t":
		return Track, true
	case "page", "p":
		return Page, true
	case "screen", "s":
		return Screen, true
	case "group", "g":
		return Group, true
	case "alias", "a":
		return Alias, true
	}
	return 0, false
}

// String returns the long name.
func (k Kind) String() string {
	if k < kindCount {
		return kindNames[k]
	}
	return "unknown"
}

// Reason classifies why a body or an event is refused. There are only a few, because they are
// labels of a metric.
type Reason string

// The reasons. ErrBatchTooLarge and ErrTooManyEvents concern only the request: the same events are
// accepted in smaller requests. All others are final; ErrMalformed and ErrTooDeep are about a body,
// the rest about an event.
const (
	ErrMalformed     Reason = "malformed"
	ErrTooDeep       Reason = "too_deep"
	ErrEventTooLarge Reason = "event_too_large"
	ErrMessageID     Reason = "message_id_too_long"
	ErrBatchTooLarge Reason = "batch_too_large"
	ErrTooManyEvents Reason = "too_many_events"
	// ErrNotObject is for an event of a batch.
	ErrNotObject Reason = "not_a_json_object"
	// For events of a batch that name their own sources; set by callers that know the sources.
	ErrNoKey      Reason = "no_write_key"
	ErrUnknownKey Reason = "unknown_write_key"
	// Returned by MissingField.
	ErrNoUser Reason = "no_user"
	ErrNoName Reason = "no_event_name"
)

// Error says why a body or an event was refused, in words for the person who sent it. It contains
// no part of the body.
type Error struct {
	Reason Reason
	// Event is the index in the batch of the faulty event; -1 if the error is about the whole body.
	Event  int
	Detail string // what is wrong and what to do
}

// TooLarge returns the error for a body larger than MaxBody. It names the promised limit.
func TooLarge() *Error {
	return &Error{Reason: ErrBatchTooLarge, Event: -1, Detail: "the body holds more than 500 KiB: send fewer events at once"}
}

// Error implements error.
func (e *Error) Error() string {
	if e.Event >= 0 {
		return fmt.Sprintf("batch[%d]: %s", e.Event, e.Detail)
	}
	return e.Detail
}
