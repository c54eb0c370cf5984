// Package segment is the file format of the appender: the open files of one
// partition, kept block-wise in a shared spool, each of which becomes one
// single-member gzip object when it is sealed.
//
// A stream's lines gather in memory; a full block is compressed by a pooled
// compressor and appended to the spool, a sequence of chunk files that all
// streams of the partition share. Cost follows bytes, not streams: a stream
// without data costs nothing, and an open one holds no compressor and no file
// handle. Sealing reads no byte and compresses nothing twice: the object is
// the gzip header, the stream's blocks as they lie in the spool, and a
// trailer. DESIGN.md has the format, its reasons and measurements.
//
// A checkpoint makes what is open survive the process: Recover finds the state
// of the last whole one, whatever was cut off or flipped behind it.
//
// It promises that a sealed file holds exactly the appended lines, in order,
// and that a recovered state is one that was a checkpoint. It does not decide
// when to seal, nor whether a recovered state is still of use, and it is not
// the truth about anything: the ledger is. A spool can be lost at any time and costs
// reading again, as long as the log holds what was read. Nothing is synced, so that what
// a power failure leaves of a spool is not to be counted on.
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
	// ErrFull says that the stream's file would exceed Config.MaxBytes: seal
	// it, then append again.
	ErrFull = errors.New("file is full")
	// ErrOrder says that an offset is not above the stream's last one.
	ErrOrder = errors.New("offset is not above the last one")
	// ErrLine says that a record cannot be a line: it is empty, holds a
	// newline, or might not fit into an object of its own, whatever Config.MaxBytes.
	ErrLine = errors.New("record cannot be a line")
)

// Config sizes a spool.
type Config struct {
	// Dir holds the spool's files; New creates and empties it, Recover reads it.
	Dir string
	// Level is the gzip level, 1 to 9, of which 2 to 6 are the same; default 6.
	Level int
	// MaxBytes is when a file is full, in compressed bytes; default 100,000,000.
	// It is exceeded only by one line that might exceed it alone, and by what was
	// gathered under a larger one before a recovery.
	MaxBytes   int64
	blockBytes int   // of lines make a block; other than 128 KiB in tests
	chunkBytes int64 // after which the next chunk file is begun; other than 64 MiB in tests
	// Budget is shared by all spools of a process; nil: unbounded.
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

// mostBytes bounds any object, so that whether a record can be a line is a
// matter of the record, not of the configuration: what was judged once is judged
// the same again.
func (c Config) mostBytes() int64 { return max(c.MaxBytes, 100_000_000) }

// MinMaxBytes is the smallest Config.MaxBytes: one below it is a unit left out,
// and would make an object of a few lines each.
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
	Note     int64 // the owner's, see Spool.Note
}
