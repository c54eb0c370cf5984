package send

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/tidwall/gjson"
)

const (
	// maxEventBytes is the API's limit for an event, without white space.
	maxEventBytes = 32 << 10
	// maxLineBytes is how much of a line is read.
	maxLineBytes = 1 << 20
)

// ErrGzip is returned for compressed input.
var ErrGzip = errors.New("it is gzip; unpack it first, with gunzip")

// BadLine is a line that is not sent, with the reason.
type BadLine struct {
	Line   int64
	Reason string
}

func (b *BadLine) Error() string { return fmt.Sprintf("line %d: %s", b.Line, b.Reason) }

// NDJSON reads events, one JSON object per line. A call of the Tracking API (which has a "type") is
// sent as it is. An object without a type, but with an event and a userId or anonymousId, becomes a
// track call. Any other object becomes a track call named Line with the object as its properties,
// and is marked as Wrapped. A line's messageId is kept; a line without one gets an id that starts
// with run. A call that has been received before (it has a receivedAt) is sent without its sentAt:
// that was long ago, and as the time of this sending it would move the timestamp to now. Blank
// lines are skipped. A line that cannot be sent is yielded as a *BadLine, gzip as
// ErrGzip, and a read error as it is. Memory is bounded, however long the lines are.
func NDJSON(r io.Reader, run string) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		in := bufio.NewReaderSize(r, 256<<10)
		if magic, err := in.Peek(2); err == nil && string(magic) == "\x1f\x8b" {
			yield(Event{}, ErrGzip)
			return
		}
		for n := int64(1); ; n++ {
			line, size, err := readLine(in)
			if err != nil && !errors.Is(err, io.EOF) {
				yield(Event{}, fmt.Errorf("read line %d: %w", n, err))
				return
			}
			if n == 1 {
				line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
			}
			last := errors.Is(err, io.EOF)
			if line = bytes.TrimSpace(line); len(line) > 0 {
				e, err := parseLine(line, size, n, run)
				if !yield(e, err) {
					return
				}
			}
			if last {
				return
			}
		}
	}
}

// readLine returns the next line, or at least the first maxLineBytes bytes of a longer one, and its
// whole size.
func readLine(in *bufio.Reader) (line []byte, size int64, err error) {
	for {
		part, err := in.ReadSlice('\n')
		size += int64(len(part))
		if len(line) < maxLineBytes {
			line = append(line, part...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, size, err
		}
	}
}

func parseLine(line []byte, size, n int64, run string) (Event, error) {
	bad := func(format string, args ...any) (Event, error) {
		return Event{}, &BadLine{Line: n, Reason: fmt.Sprintf(format, args...)}
	}
	// As the collector stores it: the messageId must be recognisable in what is delivered.
	line = bytes.ToValidUTF8(line, []byte("\uFFFD"))
	switch {
	case size > maxLineBytes:
		return bad("it holds %d bytes, an event at most %d", size, maxEventBytes)
	case line[0] != '{' || !gjson.ValidBytes(line):
		return bad("it is not a JSON object")
	}
	e := Event{Line: n, Body: line}
	kind := ""
	hasID, hasEvent, hasUser, hasAnonymous := false, false, false, false
	gjson.ParseBytes(line).ForEach(func(key, value gjson.Result) bool {
		switch key.String() { // of equal keys the last one counts, as in other parsers
		case "messageId":
			e.MessageID = ""
			if hasID = value.Type == gjson.String && value.String() != ""; hasID {
				e.MessageID = value.String()
			}
		case "type":
			kind = value.String()
		case "receivedAt":
			e.Received = true
		case "event":
			hasEvent = value.Type == gjson.String && value.String() != ""
		case "userId":
			hasUser = identifies(value)
		case "anonymousId":
			hasAnonymous = identifies(value)
		}
		return true
	})
	if !hasID {
		e.MessageID = fmt.Sprintf("%s-%d", run, n)
	}
	id, err := json.Marshal(e.MessageID)
	if err != nil {
		return bad("its messageId: %v", err)
	}
	// What is appended counts, because of equal keys the last one does.
	suffix := ""
	if !hasID {
		suffix = `,"messageId":` + string(id)
	}
	if kind == "" && hasEvent && (hasUser || hasAnonymous) {
		suffix += `,"type":"track"`
		kind = "track"
	}
	if e.Received {
		suffix += `,"sentAt":null`
	}
	switch {
	case !callTypes[kind]:
		e.Wrapped = true
		e.Body = fmt.Appendf(nil, `{"type":"track","event":"Line","anonymousId":%q,"messageId":%s,"properties":%s}`, run, id, line)
	case suffix != "":
		e.Body = fmt.Appendf(nil, `%s%s}`, line[:len(line)-1], suffix)
	}
	if len(e.Body) > maxEventBytes {
		var b bytes.Buffer
		if err := json.Compact(&b, e.Body); err != nil {
			return bad("it is not a JSON object")
		}
		if e.Body = b.Bytes(); len(e.Body) > maxEventBytes {
			return bad("it makes an event of %d bytes, more than %d", len(e.Body), maxEventBytes)
		}
	}
	return e, nil
}

// identifies reports whether a userId or anonymousId names somebody, as the collector judges it.
func identifies(id gjson.Result) bool {
	return id.Type == gjson.Number || id.Type == gjson.String && id.String() != ""
}

var callTypes = map[string]bool{"identify": true, "track": true, "page": true, "screen": true, "group": true, "alias": true}
