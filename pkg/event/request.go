package event

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"
)

// lineOverhead is the most that a Stamp adds to a line, not counting its own strings.
const lineOverhead = 512

// Request is a parsed request body. The zero value is ready to use, and should be reused for its
// buffers. It is not safe for concurrent use.
type Request struct {
	kind    Kind
	body    []byte // compact
	members []member
	top     call
	calls   []call
	// What a batch passes on to its events.
	context      inherited
	integrations inherited
	sentAt       []byte // nil unless it is a time
	lineBytes    int
}

// call is one object of the body: the whole body, or an event of a batch.
type call struct {
	start, end int // in the compact body
	lo, hi     int // range of its members in Request.members
	// last has, for each known field, one more than the index in Request.members of its last
	// occurrence. As in most parsers, the last one counts.
	last  [fieldCount]int32
	fault *Error // why it will never be accepted; nil: it will be
}

// Parse parses a request body of the given kind. It compacts the body in place and keeps it until
// the next Parse. An error is an *Error; the Request is then unusable until it parses another body.
// A faulty event is not an error, see Fault.
func (r *Request) Parse(kind Kind, body []byte) error {
	r.kind, r.members, r.calls, r.sentAt = kind, r.members[:0], r.calls[:0], nil
	if len(body) > MaxBody {
		return TooLarge()
	}
	body = bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))
	if !utf8.Valid(body) {
		body = bytes.ToValidUTF8(body, []byte("\uFFFD"))
	}
	s := scanner{b: body}
	if s.peek() != '{' {
		return s.fail("a JSON object")
	}
	if err := r.object(&s, &r.top, kind == Batch); err != nil {
		return err
	}
	compact, err := s.finish()
	if err != nil {
		return err
	}
	r.body = compact
	if kind == Batch {
		return r.prepareBatch()
	}
	r.context.reset(nil)
	r.integrations.reset(nil)
	r.lineBytes = len(compact) + lineOverhead
	r.calls = append(r.calls, r.top)
	r.setFault(&r.calls[0], -1)
	return nil
}

// object reads an object and its members, including the events if it is a batch.
func (r *Request) object(s *scanner, c *call, batch bool) error {
	*c = call{start: s.outPos(), lo: len(r.members)}
	if err := s.enter(); err != nil {
		return err
	}
	if s.peek() == '}' {
		c.hi = c.lo
		err := s.leave()
		c.end = s.outPos()
		return err
	}
	for {
		m, err := r.member(s, c, batch)
		if err != nil {
			return err
		}
		r.members = append(r.members, m)
		if m.field != fOther {
			c.last[m.field] = int32(len(r.members))
		}
		end, err := s.comma('}')
		if err != nil {
			return err
		}
		if end {
			c.end, c.hi = s.outPos(), len(r.members)
			return nil
		}
	}
}

// member reads one member of an object. The members of a batch's events are interleaved with the
// batch's own in r.members; those of the batch are found only through last.
func (r *Request) member(s *scanner, c *call, batch bool) (member, error) {
	s.peek()
	m, from := member{key: s.outPos()}, s.r
	if err := s.name(); err != nil {
		return m, err
	}
	// Do this before white space is skipped, which moves what was read.
	m.field = fieldOfName(s.b[from:s.r])
	if err := s.colon(); err != nil {
		return m, err
	}
	first := s.peek()
	m.value = s.outPos()
	if !batch || m.field != fBatch {
		err := s.value()
		m.end = s.outPos()
		return m, err
	}
	if c.last[fBatch] > 0 {
		return m, &Error{Reason: ErrMalformed, Event: -1, Detail: `"batch" is there twice: send one array of events`}
	}
	if first != '[' {
		return m, &Error{Reason: ErrMalformed, Event: -1, Detail: `"batch" is not an array: send {"batch":[{"type":"track",…},…]}`}
	}
	err := r.events(s)
	m.end = s.outPos()
	return m, err
}

// events reads a batch's array of events.
func (r *Request) events(s *scanner) error {
	if err := s.enter(); err != nil {
		return err
	}
	if s.peek() == ']' {
		return s.leave()
	}
	for i := 0; ; i++ {
		if i == MaxEvents {
			return &Error{Reason: ErrTooManyEvents, Event: -1, Detail: fmt.Sprintf("the batch holds more than %d events: send fewer at once", MaxEvents)}
		}
		var c call
		if err := r.event(s, &c, i); err != nil {
			var at *Error
			if errors.As(err, &at) {
				at.Event = i
			}
			return err
		}
		r.calls = append(r.calls, c)
		if end, err := s.comma(']'); end || err != nil {
			return err
		}
	}
}

func (r *Request) event(s *scanner, c *call, i int) error {
	if s.peek() == '{' {
		return r.object(s, c, false)
	}
	*c = call{start: s.outPos(), lo: len(r.members), hi: len(r.members), fault: &Error{Reason: ErrNotObject, Event: i, Detail: "an event is a JSON object"}}
	err := s.value()
	c.end = s.outPos()
	return err
}

// prepareBatch prepares what a batch passes on, and sets the faults of its events.
func (r *Request) prepareBatch() error {
	if r.top.last[fBatch] == 0 {
		return &Error{Reason: ErrMalformed, Event: -1, Detail: `"batch" is missing: send {"batch":[{"type":"track",…},…]}, or a single event to /v1/track and the like`}
	}
	context, integrations := r.field(&r.top, fContext), r.field(&r.top, fIntegrations)
	passed := len(context) + len(integrations)
	if passed > MaxEvent {
		return &Error{Reason: ErrEventTooLarge, Event: -1, Detail: fmt.Sprintf("the batch's context and integrations, which belong to each event, hold more than %d KiB", MaxEvent>>10)}
	}
	r.context.reset(context)
	r.integrations.reset(integrations)
	if raw := r.field(&r.top, fSentAt); len(raw) > 0 {
		if _, ok := parseTime(raw); ok {
			r.sentAt = raw
		}
	}
	r.lineBytes = 0
	for i := range r.calls {
		c := &r.calls[i]
		r.setFault(c, i)
		r.lineBytes += c.end - c.start + passed + lineOverhead
	}
	if r.lineBytes > MaxLines {
		return &Error{Reason: ErrBatchTooLarge, Event: -1, Detail: fmt.Sprintf("the batch's context, repeated in its %d events, makes more than %d MiB: send fewer events at once", len(r.calls), MaxLines>>20)}
	}
	return nil
}

// setFault records what is wrong with event i; -1 stands for the body.
func (r *Request) setFault(c *call, i int) {
	if c.fault != nil {
		return
	}
	if n := c.end - c.start; n > MaxEvent {
		c.fault = &Error{Reason: ErrEventTooLarge, Event: i, Detail: fmt.Sprintf("the event holds %d bytes, more than %d KiB: send less in its properties or traits", n, MaxEvent>>10)}
	} else if raw := r.field(c, fMessageID); len(raw) > MaxMessageID && identifies(raw) {
		if n := utf8.RuneCount(messageID(raw)); n > MaxMessageID {
			c.fault = &Error{Reason: ErrMessageID, Event: i, Detail: fmt.Sprintf("messageId holds %d characters, more than %d", n, MaxMessageID)}
		}
	}
}

// Fault returns why event i will never be accepted, or nil if it will be.
func (r *Request) Fault(i int) *Error { return r.calls[i].fault }

// AllFaulty returns the first fault if there are events and all of them are faulty: nothing of the
// request will ever be accepted.
func (r *Request) AllFaulty() error {
	for i := range r.calls {
		if r.calls[i].fault == nil {
			return nil
		}
	}
	if len(r.calls) == 0 {
		return nil
	}
	return r.calls[0].fault
}

// MissingField returns what event i, which must not be faulty, lacks of what Segment demands beyond
// the limits: a userId or an anonymousId, and for a track call its event. Segment answers 200 to
// such a call and delivers it nowhere. nil means that nothing is missing.
func (r *Request) MissingField(i int) *Error {
	c := &r.calls[i]
	at := i
	if r.kind != Batch {
		at = -1
	}
	if !identifies(r.field(c, fUserID)) && !identifies(r.field(c, fAnonymousID)) {
		return &Error{Reason: ErrNoUser, Event: at, Detail: "the call has neither userId nor anonymousId"}
	}
	if r.typeOf(c) == Track.String() && !identifies(r.field(c, fEvent)) {
		return &Error{Reason: ErrNoName, Event: at, Detail: `the track call has no "event", the name of what was done`}
	}
	return nil
}

// Raw returns event i as it was sent, but compact. It is valid until the next Parse.
func (r *Request) Raw(i int) []byte { return r.body[r.calls[i].start:r.calls[i].end] }

// field returns the raw value of the occurrence that counts, or nil if there is none.
func (r *Request) field(c *call, f field) []byte {
	if c.last[f] == 0 {
		return nil
	}
	m := &r.members[c.last[f]-1]
	return r.body[m.value:m.end]
}

// Len returns the number of events.
func (r *Request) Len() int { return len(r.calls) }

// LineBytes is an upper bound for the bytes of all lines of the request together, not counting what
// a Stamp's strings add to each.
func (r *Request) LineBytes() int { return r.lineBytes }

// WriteKey returns the write key at the top level of the body, or "" if there is none.
func (r *Request) WriteKey() string {
	key, _ := unquote(r.field(&r.top, fWriteKey))
	return string(key)
}

// EventWriteKey returns the write key of event i itself, or "" if it has none.
func (r *Request) EventWriteKey(i int) string {
	key, _ := unquote(r.field(&r.calls[i], fWriteKey))
	return string(key)
}
