package spool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// cursor is where the reader is.
type cursor struct {
	seg  *segment
	salt salt
	off  int64  // all before it was delivered, or reported
	buf  []byte // of seg, from base on
	base int64
	// What the last Read returned.
	end     int64
	entries []Entry
	failed  int // tries of reading seg, in a row
}

const (
	tries = 10   // of reading a segment, before what the disk does not give is left out
	page  = 4096 // what is left out at least; disks fail in sectors of at most that

	holed = "damaged, or of a write that a crash cut short and that was never acknowledged"
)

// Read returns the oldest entries that are not delivered: at least one, and
// about max bytes of payloads. It waits for one, until ctx ends. Payloads hold
// until the next Read. Before Delivered, it returns the same ones again. An
// error other than ctx's is one of reading a file: call it again after some
// seconds. What the disk still fails to give the tenth time is left out.
func (s *Spool) Read(ctx context.Context, max int64) ([]Entry, error) {
	for {
		s.settle()
		seg, limit := s.oldest()
		if seg == nil || s.at.seg == seg && s.at.off >= limit {
			select {
			case <-s.more:
				continue
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		if err := s.load(seg, limit); err != nil {
			return nil, fmt.Errorf("read the spool: %w", err)
		}
		if s.collect(limit, max); len(s.at.entries) > 0 {
			s.mu.Lock()
			s.head = s.at.entries[0].Time
			s.mu.Unlock()
			return s.at.entries, nil
		}
	}
}

// Delivered takes what the last Read returned out of the spool. bad says that
// some of it made no sense to the caller: its segment is reported and put
// aside, as one that is damaged; nil: none.
func (s *Spool) Delivered(bad error) {
	at := &s.at
	if bad != nil {
		s.report(at.off, at.end, bad.Error())
	}
	s.mu.Lock()
	for _, e := range at.entries {
		at.seg.entries--
		at.seg.records = max(0, at.seg.records-int64(e.Records)) // Open may have seen less of it
	}
	s.waiting.Add(-int64(len(at.entries)))
	s.mu.Unlock()
	at.off, at.entries = at.end, nil
	s.settle()
}

func (s *Spool) oldest() (seg *segment, limit int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.segments) == 0 {
		return nil, 0
	}
	return s.segments[0], s.segments[0].size
}

// load makes the cursor's buffer reach from its offset to the limit.
func (s *Spool) load(seg *segment, limit int64) error {
	at := &s.at
	if at.seg != seg {
		*at = cursor{seg: seg}
	}
	if at.off >= at.base && at.base+int64(len(at.buf)) >= limit && at.buf != nil {
		return nil
	}
	buf, err := s.contents(seg.path, at.off, limit)
	if err == nil {
		at.failed = 0
	} else if at.failed++; buf == nil || at.failed < tries {
		return err
	}
	at.base, at.buf = at.off, buf
	if at.off == 0 {
		var ok bool
		if at.salt, ok = parseHeader(buf); ok {
			at.off = int64(headerBytes)
			return nil
		}
		s.report(0, limit, "no header: "+holed)
		_, at.salt = newHeader() // senders know zeros: in what it may grow by, none may pass as a frame
		at.off = limit
	}
	return nil
}

// contents returns what a file holds from one offset up to another. There are
// zeros where it is shorter, and with an error where the disk does not give
// what it holds; nil if the file is there and cannot be opened.
func (s *Spool) contents(path string, from, to int64) ([]byte, error) {
	b := make([]byte, to-from)
	file, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return b, err
	case err != nil:
		return nil, err
	}
	defer file.Close()
	for at := from; at < to; {
		n, failed := s.cfg.readAt(file, b[at-from:], at)
		switch at += int64(n); {
		case errors.Is(failed, io.EOF):
			return b, err
		case failed != nil:
			err = failed
			at += page - at%page
		}
	}
	return b, err
}

// collect finds the next entries in the buffer, and steps over what is
// damaged before them.
func (s *Spool) collect(limit, max int64) {
	at := &s.at
	at.entries = at.entries[:0]
	at.end = at.off
	for bytes := int64(0); at.end < limit && (len(at.entries) == 0 || bytes < max); {
		e, begin, end, ok := nextFrame(at.salt, at.buf[:limit-at.base], int(at.end-at.base))
		if !ok {
			begin, end = int(limit-at.base), int(limit-at.base)
		}
		if from, to := at.end, at.base+int64(begin); from < to {
			if len(at.entries) > 0 {
				return // with the next Read
			}
			s.report(from, to, "no whole frame: "+holed)
			at.off = to
		}
		if at.end = at.base + int64(end); ok {
			e.Found = at.seg.found
			at.entries = append(at.entries, e)
			bytes += int64(len(e.Payload))
		}
	}
}

// report says what is left out, and marks its segment.
func (s *Spool) report(from, to int64, what string) {
	s.at.seg.damaged = true
	s.damages.Add(1)
	s.log.Error("part of the spool is left out: reading continues behind it, and the segment is kept in the directory damaged",
		"file", s.at.seg.path, "offset", from, "end", to, "err", what)
}

// settle ends the segment that the cursor is at the end of, unless it may
// still grow.
func (s *Spool) settle() {
	at := &s.at
	s.mu.Lock()
	if at.seg == nil || at.off < at.seg.size || s.active != nil && s.active.segment == at.seg && (s.writing || len(s.queue) > 0) {
		s.mu.Unlock()
		return
	}
	seg := at.seg
	if s.active != nil && s.active.segment == seg {
		_ = s.active.file.Close() // it was fsynced
		s.active = nil
	}
	s.segments = s.segments[1:] // it is the first: reading begins with that
	s.bytes -= seg.size
	s.waiting.Add(-seg.entries) // what is damaged waits no more
	s.head = time.Time{}
	s.mu.Unlock()
	*at = cursor{}
	err := s.dispose(seg)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Error("a segment of the spool cannot be removed: it will be delivered again after a restart", "file", seg.path, "err", err)
	}
}

func (s *Spool) dispose(seg *segment) error {
	if !seg.damaged {
		return os.Remove(seg.path)
	}
	aside := filepath.Join(s.cfg.Dir, "damaged")
	if err := os.MkdirAll(aside, 0o700); err != nil {
		return err
	}
	return os.Rename(seg.path, filepath.Join(aside, filepath.Base(seg.path)))
}
