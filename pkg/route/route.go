// Package route decides which stream a record of the events topic belongs to, and which line it is.
// All readers of the topic have to agree on this: the appender that files records, and a replay
// that reads them again.
//
// It promises that both are pure functions of the record (rule 1 of schemas/protocol.md), given
// settings that are the same for all readers. It reads nothing itself, and knows nothing about
// files.
package route

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/sealift/sealift/pkg/event"
	"github.com/sealift/sealift/pkg/stream"
)

// Headers of the events topic.
const (
	HeaderSource   = "sealift-source"
	HeaderReceived = "sealift-received" // unix milliseconds, decimal
	// HeaderLine is set, to any value, by a producer that vouches for the record's value: it is one
	// valid JSON object without a newline. The collector sets it. Values of other producers are
	// validated here.
	HeaderLine = "sealift-line"
	// HeaderMessage is the message's id as in the line, unescaped. The collector sets it; without
	// it, the line is searched for the id. In a compressed batch it takes hardly any room.
	HeaderMessage = "sealift-message"
)

// Reasons why a record is not a line of any file. They are metric labels, and appear in dead
// letters and in the ledger's counts.
const (
	ReasonSource   = "invalid_source"
	ReasonReceived = "invalid_received"
	ReasonJSON     = "not_a_json_object"
)

// Router finds a record's source and time of receipt. It is safe for
// concurrent use.
//
// Invariant: both are pure functions of the record.
type Router struct {
	source   func(r *stream.Record) []byte
	received func(r *stream.Record) (int64, bool)
	names    map[string]string // of sources; nil: names are not kept
}

// maxNames limits how many names a reader's router keeps: some 10 MB.
const maxNames = 100_000

// WithNameCache returns a router for a single goroutine. It returns the same string for all records
// of a source, so that routing a record does not allocate.
func (r *Router) WithNameCache() *Router {
	return &Router{source: r.source, received: r.received, names: map[string]string{}}
}

// sourceName returns the source's id as a string.
func (r *Router) sourceName(id []byte) string {
	if r.names == nil {
		return string(id)
	}
	name, ok := r.names[string(id)]
	if !ok {
		if len(r.names) >= maxNames {
			clear(r.names)
		}
		name = string(id)
		r.names[name] = name
	}
	return name
}

// New returns the router for the settings kafka.source_from (header, key, json:PATH) and
// kafka.received_from (header, record, json:PATH).
func New(sourceFrom, receivedFrom string) (*Router, error) {
	r := &Router{}
	switch path, isJSON := strings.CutPrefix(sourceFrom, "json:"); {
	case sourceFrom == "header":
		r.source = func(rec *stream.Record) []byte {
			v, _ := rec.Header(HeaderSource)
			return v
		}
	case sourceFrom == "key":
		r.source = func(rec *stream.Record) []byte { return rec.Key }
	case isJSON && path != "":
		r.source = func(rec *stream.Record) []byte { return []byte(gjson.GetBytes(rec.Value, path).String()) }
	default:
		return nil, fmt.Errorf("kafka.source_from %q: use header, key or json:PATH", sourceFrom)
	}
	switch path, isJSON := strings.CutPrefix(receivedFrom, "json:"); {
	case receivedFrom == "header":
		r.received = func(rec *stream.Record) (int64, bool) {
			v, _ := rec.Header(HeaderReceived)
			ms, err := strconv.ParseInt(string(v), 10, 64)
			return ms, err == nil
		}
	case receivedFrom == "record":
		r.received = func(rec *stream.Record) (int64, bool) { return rec.Time.UnixMilli(), true }
	case isJSON && path != "":
		r.received = func(rec *stream.Record) (int64, bool) { return receivedFromJSON(gjson.GetBytes(rec.Value, path)) }
	default:
		return nil, fmt.Errorf("kafka.received_from %q: use header, record or json:PATH", receivedFrom)
	}
	return r, nil
}

// receivedFromJSON reads unix milliseconds or an RFC 3339 time.
func receivedFromJSON(v gjson.Result) (int64, bool) {
	switch v.Type {
	case gjson.Number:
		return v.Int(), true
	case gjson.String:
		t, err := time.Parse(time.RFC3339Nano, v.Str)
		return t.UnixMilli(), err == nil
	}
	return 0, false
}

// Times of receipt outside of this range are a producer's mistake, such as seconds or microseconds
// instead of milliseconds. The range starts with the first day whose folder has thirteen digits:
// keys of earlier days sort differently, and readers would miss them.
const (
	earliestReceived = 1_000_080_000_000 // 2001-09-10
	latestReceived   = 4_102_444_800_000 // 2100-01-01
)

// Routed says where a record belongs. Its slices may point into the record.
type Routed struct {
	Source   string
	Received int64  // unix milliseconds
	Line     []byte // without a newline
	Message  []byte // as returned by MessageID
}

// Route returns where the record belongs, or the reason why it belongs nowhere.
func (r *Router) Route(rec *stream.Record) (to Routed, reason string) {
	id := r.source(rec)
	if !validSource(id) {
		return Routed{}, ReasonSource
	}
	received, ok := r.received(rec)
	if !ok || received < earliestReceived || received >= latestReceived {
		return Routed{}, ReasonReceived
	}
	line, message, ok := lineOf(rec)
	if !ok {
		return Routed{}, ReasonJSON
	}
	return Routed{r.sourceName(id), received, line, message}, ""
}

// lineOf returns the record's value as one JSON object without a newline, and the id of its
// message.
func lineOf(rec *stream.Record) (line, message []byte, ok bool) {
	b := rec.Value
	if _, vouched := rec.Header(HeaderLine); vouched {
		if len(b) < 2 || b[0] != '{' || b[len(b)-1] != '}' {
			return nil, nil, false
		}
		return b, MessageID(rec, b), true
	}
	b = bytes.TrimSpace(b)
	object, ok := event.Inspect(b)
	if !ok {
		return nil, nil, false
	}
	if object.LineBreaks {
		var line bytes.Buffer
		if err := json.Compact(&line, b); err != nil {
			return nil, nil, false
		}
		b = line.Bytes()
	}
	if id, ok := rec.Header(HeaderMessage); ok {
		return b, id, true
	}
	return b, object.MessageID, true
}

// ValidSource reports whether id matches ^[A-Za-z0-9_-]{1,64}$. Ids become parts of keys.
func ValidSource(id string) bool { return validSource(id) }

func validSource[T string | []byte](id T) bool {
	if len(id) < 1 || len(id) > 64 {
		return false
	}
	for i := range len(id) {
		c := id[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-') {
			return false
		}
	}
	return true
}

// MessageID returns the id that the sender gave to the message of a record with that line, or nil
// if there is none. It is that of the header, or else the messageId at the top level of the line.
// It may point into the record. It is a pure function of the record.
func MessageID(rec *stream.Record, line []byte) []byte {
	if id, ok := rec.Header(HeaderMessage); ok {
		return id
	}
	object, _ := event.Inspect(line)
	return object.MessageID
}
