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

// cursor is the reader's position.
type cursor struct {
	seg  *segment
	salt salt
	off  int64  // everything before it was delivered or reported
	buf  []byte // of seg, from base on
	base int64
	// Result of the last Read.
	end     int64
	entries []Entry
	failed  int // consecutive failures to read seg
}

const (
	maxReadTries = 10   // to read a segment, before the unreadable parts are left out
	pageBytes    = 4096 // least that is left out; disks fail in sectors of at most this size

	damageCause = "damaged, or of a write that a crash cut short and that was never acknowledged"
)

// Read returns the oldest undelivered entries: at least one, and about maxBytes of payloads. It
// blocks until there is one or ctx ends. Payloads are valid until the next Read. Until
// MarkDelivered is called, it returns the same entries again. An error other than ctx's means that
// a file could not be read: call Read again after some seconds. What the disk cannot return at the
// tenth attempt is left out.
func (s *Spool) Read(ctx context.Context, maxBytes int64) ([]Entry, error) {
	for {
		s.disposeIfRead()
		seg, limit := s.oldestSegment()
		if seg == nil || s.cursor.seg == seg && s.cursor.off >= limit {
			select {
			case <-s.readable:
				continue
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		if err := s.fillBuffer(seg, limit); err != nil {
			return nil, fmt.Errorf("read the spool: %w", err)
		}
		if s.collectEntries(limit, maxBytes); len(s.cursor.entries) > 0 {
			s.mu.Lock()
			s.headTime = s.cursor.entries[0].Time
			s.mu.Unlock()
			return s.cursor.entries, nil
		}
	}
}

// MarkDelivered removes what the last Read returned. A non-nil bad says that some of it made no
// sense to the caller; it is reported, and the segment is then put aside as if it were damaged.
func (s *Spool) MarkDelivered(bad error) {
	at := &s.cursor
	if bad != nil {
		s.reportDamage(at.off, at.end, bad.Error())
	}
	s.mu.Lock()
	for _, e := range at.entries {
		at.seg.entries--
		at.seg.records = max(0, at.seg.records-int64(e.Records)) // Open may have counted only part of it
	}
	s.undelivered.Add(-int64(len(at.entries)))
	s.mu.Unlock()
	at.off, at.entries = at.end, nil
	s.disposeIfRead()
}

func (s *Spool) oldestSegment() (seg *segment, limit int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.segments) == 0 {
		return nil, 0
	}
	return s.segments[0], s.segments[0].size
}

// fillBuffer fills the cursor's buffer from its offset up to limit.
func (s *Spool) fillBuffer(seg *segment, limit int64) error {
	at := &s.cursor
	if at.seg != seg {
		*at = cursor{seg: seg}
	}
	if at.off >= at.base && at.base+int64(len(at.buf)) >= limit && at.buf != nil {
		return nil
	}
	buf, err := s.readRange(seg.path, at.off, limit)
	if err == nil {
		at.failed = 0
	} else if at.failed++; buf == nil || at.failed < maxReadTries {
		return err
	}
	at.base, at.buf = at.off, buf
	if at.off == 0 {
		var ok bool
		if at.salt, ok = parseHeader(buf); ok {
			at.off = int64(headerBytes)
			return nil
		}
		s.reportDamage(0, limit, "no header: "+damageCause)
		_, at.salt = newHeader() // a random salt, so that senders cannot forge frames if the segment still grows
		at.off = limit
	}
	return nil
}

// readRange returns the bytes of a file from one offset to another. Where the file is shorter, they
// are zeros; where the disk fails to return them, they are zeros and there is an error. It returns
// nil if the file exists but cannot be opened.
func (s *Spool) readRange(path string, from, end int64) ([]byte, error) {
	b := make([]byte, end-from)
	file, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return b, err
	case err != nil:
		return nil, err
	}
	defer file.Close()
	for at := from; at < end; {
		n, failed := s.cfg.readAt(file, b[at-from:], at)
		switch at += int64(n); {
		case errors.Is(failed, io.EOF):
			return b, err
		case failed != nil:
			err = failed
			at += pageBytes - at%pageBytes
		}
	}
	return b, err
}

// collectEntries finds the next entries in the buffer, and skips damage before them.
func (s *Spool) collectEntries(limit, maxBytes int64) {
	at := &s.cursor
	at.entries = at.entries[:0]
	at.end = at.off
	for bytes := int64(0); at.end < limit && (len(at.entries) == 0 || bytes < maxBytes); {
		e, begin, end, ok := nextFrame(at.salt, at.buf[:limit-at.base], int(at.end-at.base))
		if !ok {
			begin, end = int(limit-at.base), int(limit-at.base)
		}
		if from, to := at.end, at.base+int64(begin); from < to {
			if len(at.entries) > 0 {
				return // report this with the next Read
			}
			s.reportDamage(from, to, "no whole frame: "+damageCause)
			at.off = to
		}
		if at.end = at.base + int64(end); ok {
			e.Recovered = at.seg.recovered
			at.entries = append(at.entries, e)
			bytes += int64(len(e.Payload))
		}
	}
}

// reportDamage logs what is left out, and marks the segment as damaged.
func (s *Spool) reportDamage(from, to int64, what string) {
	s.cursor.seg.damaged = true
	s.damages.Add(1)
	s.log.Error("part of the spool is left out: reading continues behind it, and the segment is kept in the directory damaged",
		"file", s.cursor.seg.path, "offset", from, "end", to, "err", what)
}

// disposeIfRead disposes of the cursor's segment if the cursor is at its end, unless it may still
// grow.
func (s *Spool) disposeIfRead() {
	at := &s.cursor
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
	s.segments = s.segments[1:] // seg is the first one: reading begins with it
	s.bytes -= seg.size
	s.undelivered.Add(-seg.entries) // entries lost to damage do not wait any more
	s.headTime = time.Time{}
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
