package check

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strconv"
	"time"
)

// maxLine bounds a line: an event is at most 32 KB, a record of another
// producer at most Kafka's limit.
const maxLine = 16 << 20 // 16 MiB

// object judges one object below segment-logs/.
func (e *Expected) object(r *Report, o Object, rest string, rules Rules) {
	malformed := func(format string, args ...any) {
		r.problem(Malformed, o.Key, "", fmt.Sprintf(format, args...))
	}
	r.add(&r.Objects)
	at, err := parseKey(rest)
	if err != nil {
		malformed("%v", err)
		return
	}
	if o.ContentType != "text/plain" || o.ContentEncoding != "gzip" {
		malformed("content type %q and encoding %q, not text/plain and gzip", o.ContentType, o.ContentEncoding)
	}
	body, err := o.Open()
	if err != nil {
		r.fail(fmt.Errorf("open object %q: %w", o.Key, err))
		return
	}
	defer body.Close()
	in := &counter{r: body, sum: sha256.New()}
	stored := bufio.NewReaderSize(in, 64<<10)

	raw, err := gzip.NewReader(stored)
	if err != nil {
		if in.failed(err) {
			r.fail(fmt.Errorf("read object %q: %w", o.Key, in.err))
			return
		}
		malformed("not gzip: %v", err)
		return
	}
	// As many consumers do: read the first member and nothing after it.
	raw.Multistream(false)
	lines, whole, err := e.lines(r, o.Key, at, raw)
	switch {
	case in.failed(err):
		r.fail(fmt.Errorf("read object %q: %w", o.Key, in.err))
		return
	case err != nil:
		malformed("after %d lines: %v", lines, err)
	case !whole:
		malformed("the last line has no newline")
	case lines == 0:
		malformed("no lines")
	}
	if err == nil {
		if rest, err := io.Copy(io.Discard, stored); err != nil {
			r.fail(fmt.Errorf("read object %q: %w", o.Key, err))
		} else if rest > 0 {
			malformed("%d bytes after the first gzip member", rest)
		}
	}
	if in.n > rules.MaxBytes {
		malformed("more than %d bytes", rules.MaxBytes)
	}
	if says := o.Metadata["records"]; o.Metadata != nil && says != strconv.FormatInt(lines, 10) {
		malformed("%d lines, but its metadata says %q", lines, says)
	}
	if says, is := o.Metadata["sha256"], hex.EncodeToString(in.sum.Sum(nil)); o.Metadata != nil && says != is {
		malformed("its sha256 is %s, but its metadata says %q", is, says)
	}
	r.mu.Lock()
	r.Bytes += in.n
	r.mu.Unlock()
}

// lines judges every line; whole says that the last one ended in a newline.
func (e *Expected) lines(r *Report, key string, at place, raw io.Reader) (n int64, whole bool, err error) {
	in, whole := bufio.NewReaderSize(raw, 256<<10), true
	var long []byte
	for {
		part, err := in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			if long = append(long, part...); len(long) > maxLine {
				return n, true, fmt.Errorf("a line of more than %d bytes", maxLine)
			}
			continue
		}
		line := part
		if len(long) > 0 {
			long = append(long, part...)
			line = long
		}
		if len(line) > 0 {
			body, ended := bytes.CutSuffix(line, []byte{'\n'})
			whole = ended
			e.line(r, key, at, n == 0, body)
			n++
		}
		long = long[:0]
		if errors.Is(err, io.EOF) {
			return n, whole, nil
		}
		if err != nil {
			return n, true, err
		}
	}
}

// line judges one line.
func (e *Expected) line(r *Report, key string, at place, first bool, line []byte) {
	r.add(&r.Lines)
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(line, &fields); err != nil || fields == nil {
		r.problem(Malformed, key, "", fmt.Sprintf("a line of %d bytes that is not one JSON object", len(line)))
		if err != nil { // no event can be recognized in it
			return
		}
	}
	message, ok := stringField(fields, "messageId")
	if !ok && e.dumped == 0 {
		r.problem(Malformed, key, "", "a line without a messageId")
	}
	switch e.see(at.source, at.day, message, line) {
	case duplicated:
		r.problem(Duplicated, key, message, "more often than it was accepted")
	case foreign:
		r.problem(Foreign, key, message, "never accepted")
	case misplaced:
		r.problem(Misplaced, key, message, "belongs to another source or day")
	case fine:
		e.times(r, key, at, first, message, fields)
	}
}

// times compares the line's own time of receipt with what the key says.
func (e *Expected) times(r *Report, key string, at place, first bool, message string, fields map[string]json.RawMessage) {
	text, ok := stringField(fields, "receivedAt")
	if !ok && e.dumped > 0 {
		return // a record from another producer; its day was compared with the dump
	}
	received, err := time.Parse(time.RFC3339Nano, text)
	switch {
	case err != nil:
		r.problem(Malformed, key, message, "a line without a valid receivedAt")
	case dayOf(received.UnixMilli()) != at.day:
		r.problem(Misplaced, key, message, "received on another day: "+text)
	case first && received.UnixMilli() != at.received:
		r.problem(Malformed, key, message, "the file name's time is not that of the first line: "+text)
	}
}

func stringField(fields map[string]json.RawMessage, name string) (string, bool) {
	var s string
	raw, ok := fields[name]
	return s, ok && json.Unmarshal(raw, &s) == nil && s != ""
}

// counter counts and hashes what was read, and keeps a read error, to distinguish a broken
// connection from a broken object.
type counter struct {
	r   io.Reader
	n   int64
	sum hash.Hash
	err error
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	c.sum.Write(p[:n])
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = err
	}
	return n, err
}

func (c *counter) failed(err error) bool { return err != nil && c.err != nil }
