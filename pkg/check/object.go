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
	"iter"
	"strconv"
	"time"
)

// maxLine bounds a line: an event is at most 32 KB, a record of another
// producer at most Kafka's limit.
const maxLine = 16 << 20 // 16 MiB

// checkObject judges one object below segment-logs/.
func (e *Expected) checkObject(r *Report, o Object, rest string, rules Rules) {
	malformed := func(format string, args ...any) {
		r.addProblem(Malformed, o.Key, "", fmt.Sprintf(format, args...))
	}
	r.increment(&r.Objects)
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
		r.setErr(fmt.Errorf("open object %q: %w", o.Key, err))
		return
	}
	defer body.Close()
	in := &hashingReader{r: body, sum: sha256.New()}
	stored := bufio.NewReaderSize(in, 64<<10)

	raw, err := gzip.NewReader(stored)
	if err != nil {
		if in.failed(err) {
			r.setErr(fmt.Errorf("read object %q: %w", o.Key, in.err))
			return
		}
		malformed("not gzip: %v", err)
		return
	}
	// As many consumers do: read the first member and nothing after it.
	raw.Multistream(false)
	lines, whole, err := e.checkLines(r, o.Key, at, raw)
	switch {
	case in.failed(err):
		r.setErr(fmt.Errorf("read object %q: %w", o.Key, in.err))
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
			r.setErr(fmt.Errorf("read object %q: %w", o.Key, err))
		} else if rest > 0 {
			malformed("%d bytes after the first gzip member", rest)
		}
	}
	if in.n > rules.MaxBytes {
		malformed("more than %d bytes", rules.MaxBytes)
	}
	if recorded := o.Metadata["records"]; o.Metadata != nil && recorded != strconv.FormatInt(lines, 10) {
		malformed("%d lines, but its metadata says %q", lines, recorded)
	}
	if recorded, is := o.Metadata["sha256"], hex.EncodeToString(in.sum.Sum(nil)); o.Metadata != nil && recorded != is {
		malformed("its sha256 is %s, but its metadata says %q", is, recorded)
	}
	r.mu.Lock()
	r.Bytes += in.n
	r.mu.Unlock()
}

// checkLines judges every line; whole says that the last one ended in a newline.
func (e *Expected) checkLines(r *Report, key string, at parsedKey, raw io.Reader) (n int64, whole bool, err error) {
	whole = true
	for line, err := range linesOf(raw) {
		if err != nil {
			return n, whole, err
		}
		var body []byte
		body, whole = bytes.CutSuffix(line, []byte{'\n'})
		e.checkLine(r, key, at, n == 0, body)
		n++
	}
	return n, whole, nil
}

// linesOf yields the lines of r, each with its newline; the last may have none. What it yields is
// valid until the next one.
func linesOf(r io.Reader) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		lines := bufio.NewScanner(r)
		lines.Buffer(make([]byte, 256<<10), maxLine)
		lines.Split(func(data []byte, atEOF bool) (int, []byte, error) {
			if i := bytes.IndexByte(data, '\n'); i >= 0 {
				return i + 1, data[:i+1], nil
			}
			if atEOF && len(data) > 0 {
				return len(data), data, nil
			}
			return 0, nil, nil
		})
		for lines.Scan() {
			if !yield(lines.Bytes(), nil) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(nil, err)
		}
	}
}

// checkLine judges one line.
func (e *Expected) checkLine(r *Report, key string, at parsedKey, first bool, line []byte) {
	r.increment(&r.Lines)
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(line, &fields); err != nil || fields == nil {
		r.addProblem(Malformed, key, "", fmt.Sprintf("a line of %d bytes that is not one JSON object", len(line)))
		if err != nil { // no event can be recognized in it
			return
		}
	}
	message, ok := stringField(fields, "messageId")
	if !ok && e.dumped == 0 {
		r.addProblem(Malformed, key, "", "a line without a messageId")
	}
	switch e.countLine(at.source, at.day, message, line) {
	case duplicated:
		r.addProblem(Duplicated, key, message, "more often than it was accepted")
	case foreign:
		r.addProblem(Foreign, key, message, "never accepted")
	case misplaced:
		r.addProblem(Misplaced, key, message, "belongs to another source or day")
	case fine:
		e.checkTimes(r, key, at, first, message, fields)
	}
}

// checkTimes compares the line's own time of receipt with what the key says.
func (e *Expected) checkTimes(r *Report, key string, at parsedKey, first bool, message string, fields map[string]json.RawMessage) {
	text, ok := stringField(fields, "receivedAt")
	if !ok && e.dumped > 0 {
		return // a record from another producer; its day was compared with the dump
	}
	received, err := time.Parse(time.RFC3339Nano, text)
	switch {
	case err != nil:
		r.addProblem(Malformed, key, message, "a line without a valid receivedAt")
	case dayOf(received.UnixMilli()) != at.day:
		r.addProblem(Misplaced, key, message, "received on another day: "+text)
	case first && received.UnixMilli() != at.received:
		r.addProblem(Malformed, key, message, "the file name's time is not that of the first line: "+text)
	}
}

func stringField(fields map[string]json.RawMessage, name string) (string, bool) {
	var s string
	raw, ok := fields[name]
	return s, ok && json.Unmarshal(raw, &s) == nil && s != ""
}

// hashingReader counts and hashes what was read, and keeps a read error, to distinguish a broken
// connection from a broken object.
type hashingReader struct {
	r   io.Reader
	n   int64
	sum hash.Hash
	err error
}

func (c *hashingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	c.sum.Write(p[:n])
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = err
	}
	return n, err
}

func (c *hashingReader) failed(err error) bool { return err != nil && c.err != nil }
