package appender

import (
	"errors"
	"fmt"
	"time"

	"github.com/sealift/sealift/pkg/ablation"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/segment"
)

// core is the state of one partition and the rules that change it: which records go into which
// file, when files are sealed, and what the next ledger entry may say. It does no network I/O and
// reads no clock: times are passed in as unix milliseconds, so that a simulator can drive it. It is
// for use by one goroutine.
type core struct {
	cfg   coreConfig
	spool *segment.Spool

	// base is the head of the ledger on which all of the state builds.
	//
	// Invariant: I5, the state is exactly "base + records read since".
	base     *ledger.Entry
	filter   map[ledger.Stream]int64 // the filter of base
	position int64                   // next offset to be read
	saved    savepoint               // the state that the disk holds

	open             map[ledger.Stream]int64 // open files; a file is sealed when progress reaches the value, its deadline
	earliestDeadline int64                   // lower bound of the deadlines in open
	sealed           []*segment.Sealed       // sealed files that are neither in an entry nor in flight
	writing          bool                    // an entry is being written
	inFlight         []*segment.Sealed       // the files of that entry, perhaps none
	skipped          []skippedRun            // at or above base.LowWatermark, in order of their first offsets
	duplicates       map[ledger.Stream][]duplicateRun
	duplicateRuns    int // number of runs in duplicates
	epoch            int // incremented when an entry is cut and, unless there are many runs, when a file is begun

	// progress is how far the reader has got in time: every record received up to then, except
	// stragglers, has been read.
	progress int64
	// quietUntil is the progress before which no entry without files is written: a deadline, like
	// those of files; 0 before the first entry, or if the next must not wait. It keeps a trickle of
	// records that go into no file from making many entries, and lets a partition without records
	// write one entry an hour, which says that the hour is complete.
	quietUntil int64
	now        int64 // time of the last call of setClock; 0: never called
}

type coreConfig struct {
	rollEvery time.Duration
	grace     time.Duration // how long to wait for stragglers
	jitter    time.Duration // partitions spread their seals over this long after a roll
	maxFiles  int           // per entry
	maxRuns   int           // of skipped records and duplicates; beyond it a new file does not start a new epoch
	partition int
}

// skippedRun is a run of records that are in no file, all for the same reason. No watermark falls
// inside a run: a watermark is the first offset of a file, or the position at which an entry was
// cut, and both begin a new epoch. When there are many runs, only a cut does, and outsideRuns
// lowers the watermark instead. So a flood of such records takes little memory, however long an
// open file holds the watermark back.
type skippedRun struct {
	First   int64  `json:"first"` // offset
	Last    int64  `json:"last"`
	Reason  string `json:"reason"`
	Records int64  `json:"records"`
	Epoch   int    `json:"epoch"`
}

// newCore returns the state in which a reader starts from base.
//
// Invariant: I6, reading starts at the head's watermark with the head's filter.
func newCore(cfg coreConfig, base *ledger.Entry, spool *segment.Spool) *core {
	c := &core{cfg: cfg, spool: spool, position: base.LowWatermark, open: map[ledger.Stream]int64{}}
	c.rebase(base)
	return c
}

func (c *core) rebase(base *ledger.Entry) {
	c.base = base
	c.filter = base.Filter()
	if ablation.On(ablation.NoFilter) {
		clear(c.filter)
	}
}

// reasonLine counts records that are valid but fit no file.
const reasonLine = "unfit_line"

// errOffsetWentBack says that the log went back, so the reader must start over.
var errOffsetWentBack = errors.New("offset went back")

// fate is what happened to a record that was added.
type fate int

const (
	fateFiled     fate = iota // it is in a file, perhaps in one that the ledger already has
	fateUnfit                 // it is valid but fits no file: skipped for reasonLine
	fateDuplicate             // a record with a lower offset holds the same message: skipped and counted as a duplicate
)

// add appends a record to its stream's file; now is the wall-clock time. After any error the
// partition is abandoned and taken over again.
func (c *core) add(offset int64, source string, received, now int64, line []byte) (fate, error) {
	if offset < c.position {
		return 0, fmt.Errorf("record at offset %d after %d: %w", offset, c.position-1, errOffsetWentBack)
	}
	stream := ledger.StreamOf(source, received)
	if last, ok := c.filter[stream]; ok && offset <= last {
		if !ablation.On(ablation.FiltersUnfit) && !c.spool.Fits(line) {
			return fateUnfit, c.skip(offset, reasonLine) // below the file's last offset, but not in the file
		}
		c.position = offset + 1
		return fateFiled, nil // already in the ledger
	}
	open := c.spool.Len()
	err := c.spool.Append(stream, offset, received, line)
	if errors.Is(err, segment.ErrFull) {
		if err := c.seal(stream, segment.ReasonSize); err != nil {
			return 0, err
		}
		open = c.spool.Len()
		err = c.spool.Append(stream, offset, received, line)
	}
	if errors.Is(err, segment.ErrLine) {
		return fateUnfit, c.skip(offset, reasonLine)
	}
	if err != nil {
		return 0, err
	}
	// A collector whose clock is fast must not seal files that others still write to.
	seen := min(received, now)
	if c.spool.Len() > open { // the record began a file; to look that up in c.open would cost each record a cache miss
		if c.duplicateRuns+len(c.skipped) < c.cfg.maxRuns {
			c.epoch++
		}
		c.setDeadline(stream, c.fileDeadline(seen))
		c.spool.Note(stream, c.open[stream])
		c.endRuns(stream)
	} else if len(c.duplicates) > 0 {
		c.mergeRuns(stream)
	}
	c.position = offset + 1
	c.progress = max(c.progress, seen)
	return fateFiled, nil
}

// advance advances the position past a record that goes into no file.
func (c *core) advance(offset int64) error {
	if offset < c.position {
		return fmt.Errorf("record at offset %d after %d: %w", offset, c.position-1, errOffsetWentBack)
	}
	c.position = offset + 1
	return nil
}

// skip records that a record goes into no file.
func (c *core) skip(offset int64, reason string) error {
	if err := c.advance(offset); err != nil {
		return err
	}
	for i := len(c.skipped) - 1; i >= 0 && c.skipped[i].Epoch == c.epoch; i-- { // one run per reason and epoch
		if c.skipped[i].Reason == reason {
			c.skipped[i].Last = offset
			c.skipped[i].Records++
			return nil
		}
	}
	c.skipped = append(c.skipped, skippedRun{First: offset, Last: offset, Reason: reason, Records: 1, Epoch: c.epoch})
	return nil
}

// advanceTo says that the reader has passed all offsets below next. atEnd says that next was the
// log's end at the time at.
func (c *core) advanceTo(next int64, atEnd bool, at int64) {
	c.position = max(c.position, next)
	if atEnd {
		c.progress = max(c.progress, at)
	}
}

// pastFilter reports whether every record that the head's filter covers has been read, so that the
// filter is no longer needed.
func (c *core) pastFilter() bool {
	for _, last := range c.filter {
		if c.position <= last {
			return false
		}
	}
	return true
}

// oldestReceived returns the time of receipt, in unix ms, of the oldest record in a file that is in
// no entry yet; ok is false if there is none. A record that was received long before it was read, or
// that comes from the future, counts from the roll in which its file was begun: it does not say that
// anything takes long here.
func (c *core) oldestReceived() (received int64, ok bool) {
	period := (c.cfg.rollEvery + c.cfg.grace + c.cfg.jitter).Milliseconds()
	note := func(m segment.Meta) {
		at, deadline := m.Received, m.Note
		if at < deadline-period || at > deadline {
			at = deadline - period
		}
		if !ok || at < received {
			received, ok = at, true
		}
	}
	c.spool.Files(note)
	for _, f := range c.sealed {
		note(f.Meta)
	}
	for _, f := range c.inFlight {
		note(f.Meta)
	}
	return received, ok
}
