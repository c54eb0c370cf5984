package event

import (
	"net/netip"
	"strconv"
	"time"

	"github.com/google/uuid"
)

// version is the version that the Tracking API adds, as Segment writes it.
const version = `"version":2`

// unknownLibrary is what the API adds if nothing says which library sent an event.
const unknownLibrary = `"library":{"name":"unknown","version":"unknown"},`

// Stamp is what the API knows about a request and adds to each of its events:
//
//   - receivedAt and projectId, replacing those of the event;
//   - sentAt, of the event or else of the batch, in UTC, or as written if it is not a time;
//   - originalTimestamp: the event's timestamp, or else its originalTimestamp, or else this
//     sentAt if it is a time, as written. sentAt and originalTimestamp are absent if the client sent
//     neither;
//   - timestamp: receivedAt - (sentAt - originalTimestamp), as far as these are known;
//   - type, from the path if that says it, else the event's own;
//   - messageId, if the event has none;
//   - channel, if the event has none or one other than these two: "client" if a page sent it,
//     "server" if a server or an app did, as in Segment's documentation;
//   - version, 2;
//   - context.ip and context.userAgent, see IP and UserAgent;
//   - the members of the batch's context and integrations that the event's own lack. If there are
//     none at all, empty integrations and a context.library whose name and version are "unknown",
//     as Segment does.
type Stamp struct {
	ReceivedAt time.Time // with millisecond precision
	ProjectID  string    // the source's id
	// Browser says that the request came directly from a web page.
	Browser bool
	// IP becomes context.ip if the event has none, IP is an IPv4 address, and the event comes from
	// a page or an app or asks for it with context.direct.
	IP netip.Addr
	// UserAgent becomes context.userAgent if it is not empty and the event has none.
	UserAgent string
	// NewID returns a new messageId, which must not need escapes; nil stands for random UUIDs.
	NewID func() string
}

// Line describes a line: values of low cardinality, for metrics, and its messageId.
type Line struct {
	Type   string // one of the six calls, or "other"
	Client bool   // its channel is "client", not "server"
	// MessageID is the line's messageId, unescaped; if it is a number, its text. It may alias dst.
	MessageID []byte
}

// AppendLine appends the stored line of event i to dst, without a newline. The event must not have
// the fault ErrNotObject.
func (r *Request) AppendLine(dst []byte, i int, stamp *Stamp) ([]byte, Line) {
	c := &r.calls[i]
	facts := r.readContext(c)
	line := Line{Type: r.typeOf(c), Client: stamp.Browser || facts.page}
	device := stamp.Browser || facts.device
	own := false // the channel is the event's own
	switch channel, _ := unquote(r.field(c, fChannel)); string(channel) {
	case "":
	case "client", "server":
		own = true
		line.Client = string(channel) == "client"
		device = line.Client
	default: // for example analytics-android's "mobile"
		device = true
	}
	ip := stamp.IP.Unmap()
	w := writer{dst: append(dst, '{'), request: r, call: c, stamp: stamp}
	w.ip = ip.Is4() && !facts.ip && (device || facts.direct)
	w.userAgent = stamp.UserAgent != "" && !facts.userAgent
	w.library = !facts.library

	var context, integrations, kind, id bool
	for n := c.lo; n < c.hi; n++ {
		m := &r.members[n]
		if m.field != fOther && m.field <= fProjectID && int(c.last[m.field]) != n+1 {
			continue // a later occurrence counts
		}
		switch value := r.body[m.value:m.end]; m.field {
		case fWriteKey, fReceivedAt, fTimestamp, fOriginalTimestamp, fSentAt, fVersion, fProjectID:
			continue
		case fContext:
			context = true
			w.context(value)
		case fIntegrations:
			integrations = true
			w.integrations(value)
		case fType:
			if r.kind != Batch {
				continue
			}
			kind = true
			w.raw(r.body[m.key:m.end])
		case fMessageID:
			if !identifies(value) {
				continue
			}
			id = true
			w.raw(r.body[m.key:m.end])
			line.MessageID = messageID(w.dst[len(w.dst)-1-len(value) : len(w.dst)-1])
		case fChannel:
			if own {
				w.raw(r.body[m.key:m.end])
			}
		default:
			w.raw(r.body[m.key:m.end])
		}
	}
	if !context {
		w.context(nil)
	}
	if !integrations {
		w.integrations(nil)
	}
	if !kind && r.kind != Batch {
		w.text(`"type":"`, r.kind.String())
	}
	if !id {
		line.MessageID = []byte(stamp.newID())
		w.text(`"messageId":"`, string(line.MessageID))
	}
	if !own {
		w.text(`"channel":"`, line.channel())
	}
	w.times()
	w.text(`"projectId":"`, stamp.ProjectID)
	w.dst = append(w.dst, version...)
	return append(w.dst, '}'), line
}

func (s *Stamp) newID() string {
	if s.NewID != nil {
		return s.NewID()
	}
	return uuid.NewString()
}

func (l Line) channel() string {
	if l.Client {
		return "client"
	}
	return "server"
}

// identifies reports whether a raw id or name identifies anything: a non-empty string, or a number.
func identifies(raw []byte) bool {
	if len(raw) == 0 {
		return false
	}
	if raw[0] == '"' {
		return len(raw) > 2
	}
	return raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9'
}

// messageID returns the value of a raw messageId that identifies.
func messageID(raw []byte) []byte {
	if text, ok := unquote(raw); ok {
		return text
	}
	return raw
}

// typeOf returns a call's type as used in Line.
func (r *Request) typeOf(c *call) string {
	if r.kind != Batch {
		return r.kind.String()
	}
	name, _ := unquote(r.field(c, fType))
	if k, ok := KindOf(string(name)); ok && k != Batch && k.String() == string(name) {
		return k.String()
	}
	return "other"
}

// readContext reads a call's context, and marks which of the batch's members the call has itself.
func (r *Request) readContext(c *call) contextFacts {
	var f contextFacts
	r.context.nextEvent()
	eachMember(r.field(c, fContext), func(key, value []byte) bool {
		f.add(key, value)
		r.context.markOwn(key)
		return true
	})
	return f.inherit(r.context.facts)
}

// writer writes one line, each member followed by a comma.
type writer struct {
	dst       []byte
	request   *Request
	call      *call
	stamp     *Stamp
	ip        bool // add context.ip
	userAgent bool // add context.userAgent
	library   bool // add unknownLibrary
}

func (w *writer) raw(member []byte) {
	w.dst = append(w.dst, member...)
	w.dst = append(w.dst, ',')
}

// text writes a member with a string value that needs no escapes. name includes everything up to
// the value's opening quote.
func (w *writer) text(name, value string) {
	w.dst = append(w.dst, name...)
	w.dst = append(w.dst, value...)
	w.dst = append(w.dst, `",`...)
}

// context writes the event's context, own (which may be nil), with what is added to it.
func (w *writer) context(own []byte) {
	batch := &w.request.context
	inner, isObject := innerOf(own)
	if !isObject || !w.ip && !w.userAgent && !w.library && !batch.anyMissing() {
		if own != nil {
			w.dst = append(w.dst, `"context":`...)
			w.raw(own)
		}
		return
	}
	// Inherited members come before the event's own: if a name occurs twice with different escapes,
	// the last one counts.
	w.dst = append(w.dst, `"context":{`...)
	if w.library {
		w.dst = append(w.dst, unknownLibrary...)
	}
	w.dst = batch.appendMissing(w.dst)
	if len(inner) > 0 {
		w.raw(inner)
	}
	if w.ip {
		w.dst = w.stamp.IP.Unmap().AppendTo(append(w.dst, `"ip":"`...))
		w.dst = append(w.dst, `",`...)
	}
	if w.userAgent {
		w.dst = appendQuoted(append(w.dst, `"userAgent":`...), w.stamp.UserAgent)
		w.dst = append(w.dst, ',')
	}
	w.close()
}

// integrations writes the event's integrations, own (which may be nil), with those of the batch.
func (w *writer) integrations(own []byte) {
	batch := &w.request.integrations
	batch.nextEvent()
	if len(batch.members) > 0 {
		eachMember(own, func(key, _ []byte) bool {
			batch.markOwn(key)
			return true
		})
	}
	inner, isObject := innerOf(own)
	if !isObject || !batch.anyMissing() {
		if own == nil {
			own = []byte(`{}`)
		}
		w.dst = append(w.dst, `"integrations":`...)
		w.raw(own)
		return
	}
	w.dst = batch.appendMissing(append(w.dst, `"integrations":{`...))
	if len(inner) > 0 {
		w.raw(inner)
	}
	w.close()
}

// close ends an object that has at least one member.
func (w *writer) close() {
	w.dst[len(w.dst)-1] = '}'
	w.dst = append(w.dst, ',')
}

// times writes originalTimestamp and sentAt, if the client sent them, receivedAt and timestamp.
func (w *writer) times() {
	r, received := w.request, w.stamp.ReceivedAt.UTC()
	sentRaw := r.field(w.call, fSentAt)
	if isNull(sentRaw) {
		sentRaw = r.sentAt
	}
	originalRaw := r.field(w.call, fTimestamp)
	if isNull(originalRaw) {
		originalRaw = r.field(w.call, fOriginalTimestamp)
	}
	sent, sentOK := parseTime(sentRaw)
	timestamp := received
	if isNull(originalRaw) {
		originalRaw = nil
		if sentOK {
			originalRaw = sentRaw
		}
	} else if original, ok := parseTime(originalRaw); ok && sentOK {
		timestamp = correctSkew(received, sent, original)
	} else if ok {
		timestamp = correctSkew(received, received, original)
	}
	if len(originalRaw) > 0 {
		w.dst = append(w.dst, `"originalTimestamp":`...)
		w.raw(originalRaw)
	}
	switch {
	case sentOK:
		w.time(`"sentAt":`, sent)
	case len(sentRaw) > 0:
		w.dst = append(w.dst, `"sentAt":`...)
		w.raw(sentRaw)
	}
	w.time(`"receivedAt":`, received)
	w.time(`"timestamp":`, timestamp)
}

func (w *writer) time(name string, t time.Time) {
	w.dst = append(w.dst, name...)
	w.dst = append(w.dst, '"')
	w.dst = appendTime(w.dst, t)
	w.dst = append(w.dst, `",`...)
}

// innerOf returns what is between an object's braces, and nothing for null or an absent value. ok
// is false for any other value.
func innerOf(raw []byte) (inner []byte, ok bool) {
	if isNull(raw) {
		return nil, true
	}
	if raw[0] != '{' {
		return nil, false
	}
	return raw[1 : len(raw)-1], true
}

// appendQuoted appends s as a JSON string.
func appendQuoted(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', byte(c))
		case c < 0x20:
			dst = append(dst, `\u00`...)
			if c < 0x10 {
				dst = append(dst, '0')
			}
			dst = strconv.AppendInt(dst, int64(c), 16)
		default:
			dst = append(dst, string(c)...)
		}
	}
	return append(dst, '"')
}
