// Package segment is the file format of the appender. It keeps the open files of one partition, as
// blocks in a shared spool. Sealing turns each of them into one gzip object with a single member.
//
// A stream's lines gather in memory. A full block is compressed by a pooled compressor and appended
// to the spool, a sequence of chunk files that all streams of the partition share. Cost follows
// bytes, not streams: a stream without data costs nothing, and an open file holds no compressor and
// no file handle. Sealing reads no data and compresses nothing twice: the object is the gzip
// header, the stream's blocks as they lie in the spool, and a trailer. DESIGN.md describes the
// format, with reasons and measurements.
//
// After a checkpoint, the open files survive the process: Recover restores the last whole
// checkpoint, whatever was cut off or flipped after it.
//
// The package promises that a sealed file holds exactly the appended lines, in order, and that a
// recovered state was once a checkpoint. It does not decide when to seal, nor whether a recovered
// state is still of use, and it is not the source of truth: the ledger is. A spool can be lost at
// any time, at the cost of reading again, as long as the log still holds what was read. Nothing is
// synced, so do not rely on what a power failure leaves of a spool.
package segment

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/sealift/sealift/pkg/ledger"
)

// Errors of a spool.
var (
	// ErrFull says that the stream's file would exceed Config.MaxBytes: seal it, then append again.
	ErrFull = errors.New("file is full")
	// ErrOrder says that an offset is not higher than the stream's last one.
	ErrOrder = errors.New("offset is not above the last one")
	// ErrLine says that a record cannot be a line: it is empty, contains a newline, or might not
	// fit into an object of its own, whatever Config.MaxBytes is.
	ErrLine = errors.New("record cannot be a line")
)

// Config sizes a spool.
type Config struct {
	// Dir holds the spool's files; New creates and empties it, Recover reads it.
	Dir string
	// Level is the gzip level, 1 to 9; default 6. Levels 2 to 6 are the same.
	Level int
	// MaxBytes is the size of a full file, in compressed bytes; default 100,000,000. A file exceeds
	// it only if it is a single line that might be too large by itself, or if a recovery restored
	// what was gathered under a larger limit.
	MaxBytes   int64
	blockBytes int   // bytes of lines in a block; 128 KiB except in tests
	chunkBytes int64 // after which the next chunk file begins; 64 MiB except in tests
	// Budget is shared by all spools of a process; nil means unbounded.
	Budget *Budget
}

func (c Config) withDefaults() Config {
	c.Level = cmp.Or(c.Level, 6)
	c.MaxBytes = cmp.Or(c.MaxBytes, 100_000_000)
	c.blockBytes = cmp.Or(c.blockBytes, 128<<10)
	c.chunkBytes = cmp.Or(c.chunkBytes, 64<<20)
	if c.Budget == nil {
		c.Budget = NewBudget(1 << 62)
	}
	return c
}

// maxObjectBytes bounds any object. It is independent of a lower MaxBytes, so that whether a record
// can be a line depends on the record, not on the configuration: the verdict stays the same when
// the record is read again.
func (c Config) maxObjectBytes() int64 { return max(c.MaxBytes, 100_000_000) }

// MinMaxBytes is the smallest sensible Config.MaxBytes. A smaller value probably lacks its unit,
// and would make an object of every few lines.
const MinMaxBytes = 2 << 20 // 2 MiB

func (c Config) validate() error {
	switch {
	case c.Dir == "":
		return errors.New("segment: no directory")
	case c.Level < 1 || c.Level > 9:
		return fmt.Errorf("segment: gzip level %d is not 1 to 9", c.Level)
	}
	return nil
}

// emptyDir makes dir an empty directory that only its owner may read.
func emptyDir(dir string) error {
	if err := os.RemoveAll(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.MkdirAll(dir, 0o700)
}

// Meta describes a file's content so far.
type Meta struct {
	Stream   ledger.Stream
	Received int64 // unix ms of the first record
	First    int64 // offset of the first record
	Last     int64 // offset of the last record
	Records  int64
	RawBytes int64
	Note     int64 // set by the owner, see Spool.Note
}
