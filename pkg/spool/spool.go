// Package spool is a queue on a local disk: entries that were appended are
// read in their order and go when they were delivered. The collector puts
// events into it while Kafka is away.
//
// # What it promises
//
// When Append returns nil, the entry is on the disk: written, and fsynced with
// its file and, if that is new, the directory. Callers that append at the same
// time share one fsync. From then on Read gives the entry out at least once,
// through kill -9, a crash of the machine and restarts, in the order in which
// the Appends returned, for as long as the disk keeps what it acknowledged. A
// disk that is lost takes all entries with it: there is one copy. Delivered
// entries go with their file, when all of it was delivered; entries of a file
// that was delivered in part are given out again after a restart, at most
// twice SegmentBytes and one entry of them; after a crash of the machine so are
// those of files that went in the seconds before, whose removal is not fsynced.
//
// It is bounded: Append returns ErrFull before more than MaxBytes are held.
// One process has a directory; a second one is refused.
//
// # Files
//
// A segment, NUMBER.spool, begins with a header of 20 bytes: "SLSPOOL1", a
// random salt of 8 bytes, and the CRC of these. Then frames follow, all
// numbers in little endian, all CRCs Castagnoli's:
//
//	magic            4 bytes, f5 53 50 ff
//	payload's length 4
//	records          4, as the caller counts them
//	time             8, unix milliseconds
//	payload's CRC    4
//	header's CRC     4, of the salt and the 24 bytes before
//	payload
//
// A segment is written by one process, and never appended to after a restart.
// Numbers grow; they are made of the clock, so that none comes twice.
//
// # What is damaged
//
// After a crash the last segment may end in frames that are torn: they were
// never acknowledged, and are cut off. Whatever else is not a whole frame is
// damage: it is reported with path and offset, reading goes on at the next
// whole frame, and when the segment ends, it is moved to the directory
// "damaged" below, which nothing here empties or counts. The salt, which no
// sender knows, keeps bytes inside of a payload from passing as a frame then.
// A last frame that rotted on the disk looks like a torn one; the report of
// what was cut is all there is of it. And what a crash left of a write before
// a whole frame, for disks write pages in any order, looks like damage: it is
// reported, though it was never acknowledged.
//
// What the disk fails to give is tried again, some times, and then is damage
// too: zeros take the place of its pages, so that neither what is behind it
// nor the next start waits for it. A segment that is gone is all damage. One
// that is there and cannot be opened is tried for ever, and Open refuses it:
// that may be the process's own trouble.
//
// # Why not a library
//
// tidwall/wal has no checksums and no shared fsync; Prometheus' wlog drops
// all that follows a corruption and comes with all of Prometheus; raft-wal
// wants consecutive indexes of one writer; go-diskqueue has no checksums and
// syncs by count or time, not before it answers. What is left of them
// when these are added is a file.
package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealift/sealift/pkg/flock"
)

// Config says where and how large. Dir and MaxBytes are needed.
type Config struct {
	Dir      string // created if missing
	MaxBytes int64  // of segments; not of damaged ones
	// SegmentBytes is the size at which the next segment is begun. Default:
	// 8 MiB, or an eighth of MaxBytes if that is less.
	SegmentBytes int64

	readAt func(*os.File, []byte, int64) (int, error) // a test's fault
}

// Errors of Append.
var (
	ErrFull   = errors.New("the spool is full")
	ErrClosed = errors.New("the spool is closed")
)

// Entry is what one Append puts in and Read gives out.
type Entry struct {
	Time    time.Time // to the millisecond; for Stats
	Records int       // what it counts as in Stats
	Payload []byte    // at most MaxPayload
	Found   bool      // set by Read: it was there at Open
}

// segment is one file.
type segment struct {
	path    string
	size    int64 // fsynced; what lies behind is no part of it
	entries int64 // not delivered
	records int64 // not delivered
	first   time.Time
	damaged bool // used by the reader alone
	found   bool // by Open
}

// Spool is an open directory. Append, Empty and Stats are for any number of
// callers, Read and Delivered for one.
type Spool struct {
	cfg    Config
	log    *slog.Logger
	lock   *os.File
	sync   func(*os.File) error // a test's fault
	writer sync.WaitGroup
	close  sync.Once

	waiting atomic.Int64  // entries that are being appended, or were and are not delivered
	damages atomic.Int64  // reports of damage
	more    chan struct{} // holds one when the reader may find more

	mu       sync.Mutex
	wake     sync.Cond   // of mu: queue or closed changed
	queue    []*pending  // guarded by mu; not taken by the writer yet
	writing  bool        // guarded by mu; the writer has taken some and owns active
	closed   bool        // guarded by mu
	bytes    int64       // guarded by mu; of segments, and of what is to be written
	segments []*segment  // guarded by mu; oldest first
	active   *activeFile // guarded by mu unless writing; nil: the next frame begins a segment
	head     time.Time   // guarded by mu; of the entry that is being delivered; zero: the first segment's first
	number   int64       // used by the writer; the last segment's

	at cursor // of the reader
}

// Open takes a directory, and what lies there.
func Open(cfg Config, log *slog.Logger) (*Spool, error) {
	if cfg.SegmentBytes == 0 {
		cfg.SegmentBytes = min(8<<20, cfg.MaxBytes/8) // 8 MiB
	}
	if cfg.readAt == nil {
		cfg.readAt = (*os.File).ReadAt
	}
	s := &Spool{cfg: cfg, log: log, sync: (*os.File).Sync, more: make(chan struct{}, 1)}
	s.wake.L = &s.mu
	if err := s.makeDir(cfg.Dir); err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	lock, err := flock.Open(filepath.Join(cfg.Dir, "lock"))
	if err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	s.lock = lock
	if err := s.recover(); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("open spool %q: %w", cfg.Dir, err)
	}
	s.writer.Go(s.write)
	return s, nil
}

// recover finds the segments that are there and counts what is in them.
func (s *Spool) recover() error {
	files, err := os.ReadDir(s.cfg.Dir) // sorted, and numbers have as many digits
	if err != nil {
		return err
	}
	files = slices.DeleteFunc(files, func(f fs.DirEntry) bool { return !strings.HasSuffix(f.Name(), suffix) })
	for i, f := range files {
		path, last := filepath.Join(s.cfg.Dir, f.Name()), i == len(files)-1
		if s.number, err = strconv.ParseInt(strings.TrimSuffix(f.Name(), suffix), 10, 64); err != nil {
			return fmt.Errorf("%q is no segment of a spool: move it away", path)
		}
		info, err := f.Info()
		if err != nil {
			return err
		}
		content, err := s.contents(path, 0, info.Size())
		if content == nil {
			return err
		}
		seg := &segment{path: path, size: info.Size(), found: true}
		end := 0 // of the last whole frame
		if salt, ok := parseHeader(content); ok {
			end = headerBytes
			for {
				e, _, to, ok := nextFrame(salt, content, end)
				if !ok {
					break
				}
				seg.add(e)
				end = to
			}
		}
		if err != nil {
			s.log.Error("a segment of the spool cannot be read: it is tried again in its turn", "file", path, "err", err)
			seg.entries += seg.size / frameHeader // as many as there may be: nothing overtakes them
			last = false                          // nothing is cut off that was not seen
		}
		if last && end < len(content) && (end > 0 || len(content) <= headerBytes) {
			s.log.Warn("the spool's last segment ends in frames that were not finished: cut off", "file", path, "offset", end, "bytes", len(content)-end)
			if err := cut(path, int64(end)); err != nil {
				return err
			}
			seg.size = int64(end)
		}
		if last && seg.size <= int64(headerBytes) {
			if err := os.Remove(path); err != nil {
				return err
			}
			break
		}
		s.segments = append(s.segments, seg)
		s.bytes += seg.size
		s.waiting.Add(seg.entries)
	}
	return nil
}

func (seg *segment) add(e Entry) {
	if seg.entries == 0 {
		seg.first = e.Time
	}
	seg.entries++
	seg.records += int64(e.Records)
}

// makeDir makes a directory and what is missing above it, for good.
func (s *Spool) makeDir(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(dir)
	if err := s.makeDir(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return s.syncDir(parent)
}

// cut makes a file end at size, for good.
func cut(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Sync(), f.Close())
}

// Empty tells whether nothing waits, and nobody is appending: what is
// delivered elsewhere now overtakes no entry.
func (s *Spool) Empty() bool { return s.waiting.Load() == 0 }

// Stats is what a spool holds.
type Stats struct {
	Bytes    int64     // on the disk, what was delivered of a segment included
	MaxBytes int64     // what that may be
	Records  int64     // not delivered
	Oldest   time.Time // time of the oldest entry that is not delivered; zero: there is none
	Damages  int64     // reports of damage since Open
	Full     bool      // so full that a middling entry may not fit
}

// Stats returns what is held now.
func (s *Spool) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Stats{Bytes: s.bytes, MaxBytes: s.cfg.MaxBytes, Damages: s.damages.Load(), Full: s.bytes > s.cfg.MaxBytes-s.cfg.SegmentBytes/8}
	for _, seg := range s.segments {
		st.Records += seg.records
	}
	if st.Records > 0 {
		if st.Oldest = s.head; st.Oldest.IsZero() {
			st.Oldest = s.segments[0].first
		}
	}
	return st
}

// Close finishes Appends that wait, and gives the directory free. There must
// be no Read under way. What is not delivered stays.
func (s *Spool) Close() error {
	var err error
	s.close.Do(func() {
		s.mu.Lock()
		s.closed = true
		s.wake.Signal()
		s.mu.Unlock()
		s.writer.Wait()
		s.settle()
		if s.active != nil {
			err = s.active.file.Close()
		}
		err = errors.Join(err, s.lock.Close())
	})
	return err
}
