// Package spool is a queue on a local disk. Entries are read in the order in which they were
// appended, and are removed once delivered. The collector puts events into it while Kafka is
// unavailable.
//
// # What it promises
//
// When Append returns nil, the entry is on disk: written and fsynced, as is its directory if the
// file is new. Concurrent callers share one fsync. From then on Read returns the entry at least
// once, through kill -9, crashes of the machine and restarts, in the order in which the Appends
// returned, as long as the disk keeps what it acknowledged. There is only one copy: if the disk is
// lost, so are all entries.
//
// Delivered entries are removed with their file, once everything in it was delivered. Entries of a
// partly delivered file are returned again after a restart: at most twice SegmentBytes plus one
// entry. After a crash of the machine, so are those of files that were removed in the seconds
// before it, because removals are not fsynced.
//
// The spool is bounded: Append returns ErrFull before more than MaxBytes are held. A directory
// belongs to one process; a second one is refused.
//
// # Files
//
// A segment, NUMBER.spool, begins with a header of 20 bytes: "SLSPOOL1", a random salt of 8 bytes,
// and their CRC. Then follow frames. All numbers are little-endian, all CRCs are CRC-32C
// (Castagnoli):
//
//	magic            4 bytes, f5 53 50 ff
//	payload's length 4
//	records          4, as counted by the caller
//	time             8, unix milliseconds
//	payload's CRC    4
//	header's CRC     4, of the salt and the 24 bytes before
//	payload
//
// A later release that changes this raises the number in "SLSPOOL1", and leaves the 20 bytes what
// they are otherwise. By them older releases recognize its segments, and Open refuses them: nobody
// would deliver what is put aside as damaged.
//
// A segment is written by one process, and never appended to after a restart. Numbers increase;
// they are derived from the clock, so that none is used twice.
//
// # Damage
//
// After a crash the last segment may end in torn frames. They were never acknowledged, and are cut
// off. Anything else that is not a whole frame is damage. It is reported with path and offset, and
// reading continues at the next whole frame. When the whole segment has been read, it is moved to
// the subdirectory "damaged", which this package neither empties nor counts. Senders do not know
// the salt, so bytes inside of a payload cannot pass as a frame when reading continues after
// damage.
//
// Two cases cannot be told apart. A last frame that rotted on disk looks like a torn one; the
// report of what was cut off is its only trace. And disks write pages in any order, so a crash may
// leave part of a write in front of a whole frame. That looks like damage and is reported, although
// it was never acknowledged.
//
// What the disk fails to return is tried several more times, and is then damage too: its pages are
// replaced by zeros, so that neither what comes after it nor the next start waits for it. A segment
// that is missing is damage as a whole. A segment that exists but cannot be opened is retried
// forever, and Open refuses it, because the cause may be in the process itself.
//
// # Why not a library
//
// tidwall/wal has no checksums and no shared fsync. Prometheus' wlog drops everything after a
// corruption, and depends on all of Prometheus. raft-wal expects consecutive indexes from one
// writer. go-diskqueue has no checksums, and syncs by count or time instead of before it answers.
// With these added, little of any of them would be left but a file.
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

// Config says where the spool is and how large it may get. Dir and MaxBytes are required.
type Config struct {
	Dir      string // created if missing
	MaxBytes int64  // of segments, without damaged ones
	// SegmentBytes is the size at which the next segment begins. Default: 8 MiB, or an eighth of
	// MaxBytes if that is less.
	SegmentBytes int64
	// IsLater, if set, tells whether a later release has written a payload, in a format that the
	// caller cannot read. Open then refuses the directory.
	IsLater func(payload []byte) bool

	readAt func(*os.File, []byte, int64) (int, error) // tests inject faults here
}

// Errors returned by Append.
var (
	ErrFull   = errors.New("the spool is full")
	ErrClosed = errors.New("the spool is closed")
)

// Entry is what one Append stores and Read returns.
type Entry struct {
	Time      time.Time // in milliseconds; for Stats
	Records   int       // how many records Stats counts for it
	Payload   []byte    // at most MaxPayload bytes
	Recovered bool      // set by Read: the entry was already there at Open
}

// segment is one file.
type segment struct {
	path      string
	size      int64 // fsynced; bytes after it do not belong to the segment
	entries   int64 // not delivered
	records   int64 // not delivered
	first     time.Time
	damaged   bool // used only by the reader
	recovered bool // by Open
}

// Spool is an open directory. Append, Empty and Stats may be called concurrently; Read and
// MarkDelivered by only one goroutine.
type Spool struct {
	cfg       Config
	log       *slog.Logger
	lock      *flock.File
	fsync     func(*os.File) error // tests inject faults here
	writer    sync.WaitGroup
	closeOnce sync.Once

	undelivered atomic.Int64  // entries that are being appended, or are not delivered yet
	damages     atomic.Int64  // reports of damage
	readable    chan struct{} // holds a value when the reader may find more

	mu         sync.Mutex
	wake       sync.Cond   // on mu: queue or closed changed
	queue      []*pending  // guarded by mu; not yet taken by the writer
	writing    bool        // guarded by mu; the writer has taken entries and owns active
	closed     bool        // guarded by mu
	bytes      int64       // guarded by mu; of segments, and of what is about to be written
	segments   []*segment  // guarded by mu; oldest first
	active     *activeFile // guarded by mu, except while writing; nil: the next frame begins a segment
	headTime   time.Time   // guarded by mu; time of the entry that is being delivered; zero: the first segment's first entry
	lastNumber int64       // of the last segment; used by the writer

	cursor cursor // used by the reader
}

// Open opens a directory, with the entries in it. If a later release wrote some of them, in a format
// that this one cannot read, it returns an error that names a file, and changes nothing there.
func Open(cfg Config, log *slog.Logger) (*Spool, error) {
	if cfg.SegmentBytes == 0 {
		cfg.SegmentBytes = min(8<<20, cfg.MaxBytes/8) // 8 MiB
	}
	if cfg.readAt == nil {
		cfg.readAt = (*os.File).ReadAt
	}
	s := &Spool{cfg: cfg, log: log, fsync: (*os.File).Sync, readable: make(chan struct{}, 1)}
	s.wake.L = &s.mu
	if err := s.makeDir(cfg.Dir); err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	lock, err := flock.Open(filepath.Join(cfg.Dir, "lock"))
	if err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	s.lock = lock
	if err := s.loadSegments(); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("open spool %q: %w", cfg.Dir, err)
	}
	s.writer.Go(s.runWriter)
	return s, nil
}

// loadSegments finds the existing segments and counts their entries.
func (s *Spool) loadSegments() error {
	files, err := os.ReadDir(s.cfg.Dir) // sorted by number, since all numbers have the same number of digits
	if err != nil {
		return err
	}
	files = slices.DeleteFunc(files, func(f fs.DirEntry) bool { return !strings.HasSuffix(f.Name(), suffix) })
	for i, f := range files {
		path := filepath.Join(s.cfg.Dir, f.Name())
		if s.lastNumber, err = strconv.ParseInt(strings.TrimSuffix(f.Name(), suffix), 10, 64); err != nil {
			return fmt.Errorf("%q is no segment of a spool: move it away", path)
		}
		info, err := f.Info()
		if err != nil {
			return err
		}
		seg, err := s.loadSegment(path, info.Size(), i == len(files)-1)
		if err != nil {
			return err
		}
		if seg == nil {
			continue
		}
		s.segments = append(s.segments, seg)
		s.bytes += seg.size
		s.undelivered.Add(seg.entries)
	}
	return nil
}

// loadSegment counts the entries of a segment. If it is the last one, it cuts off what a crash left of
// unfinished frames, and returns nil if that leaves nothing.
func (s *Spool) loadSegment(path string, size int64, last bool) (*segment, error) {
	content, err := s.readRange(path, 0, size)
	if content == nil {
		return nil, err
	}
	seg, later := &segment{path: path, size: size, recovered: true}, isLater(content)
	end := 0 // end of the last whole frame
	if salt, ok := parseHeader(content); ok {
		end = headerBytes
		for {
			e, _, to, ok := nextFrame(salt, content, end)
			if !ok {
				break
			}
			later = later || s.cfg.IsLater != nil && s.cfg.IsLater(e.Payload)
			seg.add(e)
			end = to
		}
	}
	if later {
		return nil, fmt.Errorf("a later release wrote %q, in a format that this one cannot read: run that release again until the spool is empty, or move the file away to give up what it holds", path)
	}
	if err != nil {
		s.log.Error("a segment of the spool cannot be read: it is tried again in its turn", "file", path, "err", err)
		seg.entries += seg.size / frameHeader // as many as fit, so that nothing overtakes them
		return seg, nil                       // do not cut off what could not be read
	}
	if !last {
		return seg, nil
	}
	if end < len(content) && (end > 0 || len(content) <= headerBytes) {
		s.log.Warn("the spool's last segment ends in frames that were not finished: cut off", "file", path, "offset", end, "bytes", len(content)-end)
		if err := truncate(path, int64(end)); err != nil {
			return nil, err
		}
		seg.size = int64(end)
	}
	if seg.size <= int64(headerBytes) {
		return nil, os.Remove(path)
	}
	return seg, nil
}

func (seg *segment) add(e Entry) {
	if seg.entries == 0 {
		seg.first = e.Time
	}
	seg.entries++
	seg.records += int64(e.Records)
}

// makeDir creates a directory and its missing parents, and fsyncs them.
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

// truncate truncates a file to size, and fsyncs it.
func truncate(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Sync(), f.Close())
}

// Empty reports whether nothing waits and nobody is appending, so that whatever is delivered
// directly now overtakes no entry.
func (s *Spool) Empty() bool { return s.undelivered.Load() == 0 }

// Stats is what a spool holds.
type Stats struct {
	Bytes    int64     // on disk, including what was delivered of existing segments
	MaxBytes int64     // limit of Bytes
	Records  int64     // not delivered
	Oldest   time.Time // time of the oldest undelivered entry; zero: there is none
	Damages  int64     // reports of damage since Open
	Full     bool      // a medium-sized entry may not fit any more
}

// Stats returns the current state.
func (s *Spool) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Stats{Bytes: s.bytes, MaxBytes: s.cfg.MaxBytes, Damages: s.damages.Load(), Full: s.bytes > s.cfg.MaxBytes-s.cfg.SegmentBytes/8}
	for _, seg := range s.segments {
		st.Records += seg.records
	}
	if st.Records > 0 {
		if st.Oldest = s.headTime; st.Oldest.IsZero() {
			st.Oldest = s.segments[0].first
		}
	}
	return st
}

// Close finishes pending Appends and releases the directory. No Read may be in progress.
// Undelivered entries stay.
func (s *Spool) Close() error {
	var err error
	s.closeOnce.Do(func() {
		s.mu.Lock()
		s.closed = true
		s.wake.Signal()
		s.mu.Unlock()
		s.writer.Wait()
		s.disposeIfRead()
		if s.active != nil {
			err = s.active.file.Close()
		}
		err = errors.Join(err, s.lock.Close())
	})
	return err
}
