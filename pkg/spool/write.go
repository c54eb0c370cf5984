package spool

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// pending is an entry on its way to the disk.
type pending struct {
	Entry
	crc  uint32 // of its payload
	done chan error
}

func (p *pending) frameBytes() int64 { return frameHeader + int64(len(p.Payload)) }

// Fits reports whether Append would now have room for a payload of that size.
func (s *Spool) Fits(bytes int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.frameFits(frameHeader + bytes)
}

// frameFits is Fits for a whole frame. The caller holds mu.
func (s *Spool) frameFits(bytes int64) bool {
	return s.bytes+bytes+int64(headerBytes) <= s.cfg.MaxBytes
}

// activeFile is the segment that is being written.
type activeFile struct {
	*segment
	file       *os.File
	salt       salt
	inSegments bool // it is in segments, because part of it is acknowledged
}

// Append returns nil when e is on disk. After an error it is not, and is never returned by Read,
// unless a crash happens before the failed write was undone. The payload must not change until
// Append returns.
func (s *Spool) Append(e Entry) error {
	if len(e.Payload) > MaxPayload {
		return fmt.Errorf("append %d bytes to the spool: at most %d", len(e.Payload), MaxPayload)
	}
	p := &pending{Entry: e, crc: checksum(e.Payload), done: make(chan error, 1)}
	s.mu.Lock()
	switch {
	case s.closed:
		s.mu.Unlock()
		return ErrClosed
	case !s.frameFits(p.frameBytes()):
		s.mu.Unlock()
		return ErrFull
	}
	s.bytes += p.frameBytes()
	s.undelivered.Add(1)
	s.queue = append(s.queue, p)
	s.wake.Signal()
	s.mu.Unlock()
	return <-p.done
}

// runWriter is the only goroutine that writes. Everything that arrives during one write shares the
// next fsync.
func (s *Spool) runWriter() {
	out := bufio.NewWriterSize(nil, 256<<10) // 256 KiB
	for {
		s.mu.Lock()
		for len(s.queue) == 0 && !s.closed {
			s.wake.Wait()
		}
		batch, bytes := s.takeBatch()
		s.writing = len(batch) > 0
		s.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		err := s.writeBatch(out, batch)
		if err != nil {
			s.undoWrite()
		}
		s.mu.Lock()
		s.writing = false
		if err != nil {
			s.bytes -= bytes
			s.undelivered.Add(-int64(len(batch)))
		} else {
			s.publish(batch, bytes)
		}
		s.mu.Unlock()
		for _, p := range batch {
			p.done <- err
		}
		select {
		case s.readable <- struct{}{}:
		default:
		}
	}
}

// publish makes committed entries available to the reader. The caller holds mu.
func (s *Spool) publish(batch []*pending, bytes int64) {
	if !s.active.inSegments {
		s.active.inSegments = true
		s.segments = append(s.segments, s.active.segment)
		s.bytes += int64(headerBytes)
	}
	for _, p := range batch {
		s.active.add(p.Entry)
	}
	s.active.size += bytes
}

// takeBatch takes from the queue as much as fits a segment, at least one entry. The caller holds
// mu.
func (s *Spool) takeBatch() (batch []*pending, bytes int64) {
	n := 0
	for n < len(s.queue) && (n == 0 || bytes+s.queue[n].frameBytes() <= s.cfg.SegmentBytes) {
		bytes += s.queue[n].frameBytes()
		n++
	}
	batch = s.queue[:n:n]
	if s.queue = s.queue[n:]; len(s.queue) == 0 {
		s.queue = nil
	}
	return batch, bytes
}

// writeBatch writes a batch: 1. frames  2. fsync  3. fsync of the directory if the segment is new.
// Only then do callers get their answer.
func (s *Spool) writeBatch(out *bufio.Writer, batch []*pending) error {
	if s.active != nil && s.active.size >= s.cfg.SegmentBytes {
		if err := s.active.file.Close(); err != nil {
			s.log.Warn("close a segment of the spool", "file", s.active.path, "err", err) // its data was fsynced
		}
		s.setActive(nil)
	}
	if s.active == nil {
		if err := s.createSegment(); err != nil {
			return err
		}
	}
	out.Reset(s.active.file)
	var header []byte
	for _, p := range batch {
		header = appendFrame(header[:0], s.active.salt, p.Entry, p.crc)
		_, _ = out.Write(header) // errors are returned by Flush
		_, _ = out.Write(p.Payload)
	}
	err := out.Flush()
	if err == nil {
		err = s.fsync(s.active.file)
	}
	if err == nil && !s.active.inSegments {
		err = s.syncDir(s.cfg.Dir)
	}
	if err != nil {
		return fmt.Errorf("append to the spool: %w", err)
	}
	return nil
}

// createSegment begins a new segment.
func (s *Spool) createSegment() error {
	s.lastNumber = max(s.lastNumber+1, time.Now().UnixMilli())
	path := filepath.Join(s.cfg.Dir, fmt.Sprintf(nameFormat, s.lastNumber))
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("begin a segment of the spool: %w", err)
	}
	header, salt := newHeader()
	if _, err := file.Write(header); err != nil {
		_ = file.Close()
		_ = os.Remove(path)
		return fmt.Errorf("begin a segment of the spool: %w", err)
	}
	s.setActive(&activeFile{segment: &segment{path: path, size: int64(headerBytes)}, file: file, salt: salt})
	return nil
}

func (s *Spool) setActive(a *activeFile) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active = a
}

// undoWrite truncates the active segment to before the failed write, and stops using it, because
// nobody knows what a disk does after a failed fsync. If this fails too, the next start reports
// these bytes as damage.
func (s *Spool) undoWrite() {
	a := s.active
	if a == nil {
		return
	}
	if !a.inSegments {
		_ = os.Remove(a.path)
	} else if err := a.file.Truncate(a.size); err == nil {
		_ = a.file.Sync()
	}
	_ = a.file.Close()
	s.setActive(nil)
}

func (s *Spool) syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return s.fsync(d)
}
