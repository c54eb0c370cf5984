// Package event turns Tracking API request bodies into stored lines: the form
// in which an event travels through Kafka and lies in a customer's bucket. It
// is for the collector and for tools that speak its dialect.
//
// It promises that what a caller sent is stored as it was sent: unknown
// fields, the order of keys, every digit of a number and every character of
// a string, byte for byte; only white space outside strings goes, so that a
// line holds no newline, and bytes that are not UTF-8 become U+FFFD. What the
// API adds or owns is listed at Stamp. A write key at the top level of a body
// or of an event never reaches a line.
//
// It is lenient on purpose: an archive that refuses what Segment's own API
// takes loses events. So a call needs no known type; it must be a JSON object
// within the limits, and what else Segment demands of it is told apart
// (Incomplete). An event of a batch that is at fault leaves the others as they
// are.
//
// It does no I/O and knows no HTTP and no sources.
package event

import "fmt"

// Limits of the Tracking API. Its KB are 1024 bytes, as Segment's SDKs count.
const (
	// MaxBody bounds the bytes of a request body, inflated. What is promised is 500 KiB. But
	// some SDKs fill these with events alone, without the commas and the object around them
	// (analytics-react-native up to 2.21.4, the crate segment 0.2.6, by a few bytes
	// analytics-ruby), and the first two send what is refused again for ever.
	MaxBody   = 520 << 10
	MaxEvent  = 32 << 10 // bytes of one event, without white space
	MaxEvents = 2500     // events of a batch
	// MaxDepth bounds the nesting of arrays and objects in a body. Python and
	// Jackson, with which the files are read, give up at 1000.
	MaxDepth = 500
	// MaxMessageID bounds a messageId, in characters.
	MaxMessageID = 100
	// MaxLines bounds the bytes of all lines of a request. Only a batch whose
	// own context is large can reach it: the context is repeated in each line.
	MaxLines = 16 << 20
)

// Kind is what a request path says about its body.
type Kind uint8

// The kinds of request.
const (
	Batch Kind = iota // many calls, each with a type of its own
	Identify
	Track
	Page
	Screen
	Group
	Alias
	kinds
)

var kindNames = [kinds]string{"batch", "identify", "track", "page", "screen", "group", "alias"}

// KindOf returns the kind that the last element of a request path stands for:
// a long name, "import", or an SDK's short form such as "t".
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
	if k < kinds {
		return kindNames[k]
	}
	return "unknown"
}

// Reason classes why a body or an event is refused. There are few of them: they serve as
// a metric's label.
type Reason string

// The reasons. ErrBatchTooLarge and ErrTooManyEvents concern the request
// only: the same events in smaller requests are taken. ErrMalformed and
// ErrTooDeep concern a body, the others an event, that will never be taken.
const (
	ErrMalformed     Reason = "malformed"
	ErrTooDeep       Reason = "too_deep"
	ErrEventTooLarge Reason = "event_too_large"
	ErrMessageID     Reason = "message_id_too_long"
	ErrBatchTooLarge Reason = "batch_too_large"
	ErrTooManyEvents Reason = "too_many_events"
	// ErrNotObject is of an event of a batch.
	ErrNotObject Reason = "not_a_json_object"
	// Of events of a batch, which tell their sources; who knows sources tells.
	ErrNoKey      Reason = "no_write_key"
	ErrUnknownKey Reason = "unknown_write_key"
	// Of events that Incomplete tells.
	ErrNoUser Reason = "no_user"
	ErrNoName Reason = "no_event_name"
)

// Error is why a body or an event was refused, in words for the person who sent it. It
// holds no part of the body.
type Error struct {
	Reason Reason
	// Event is the index in the batch of the event that is at fault; -1 when
	// it is the body as a whole.
	Event  int
	Detail string // what is wrong and what to do
}

// TooLarge is why a body of more than MaxBody is refused. Its words are of what is promised.
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
