package appender

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
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
	// quietUntil is the progress before which no entry without files is written. It keeps a trickle of
	// records that go into no file from making many entries, and lets an idle partition write one
	// entry an hour, which says that the hour is complete.
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

// setClock sets the time. If progress is far ahead of it, the clock was ahead and has been set
// back. Without a correction no file would become due until the clock had caught up.
func (c *core) setClock(now int64) {
	c.now = now
	if c.progress-now <= c.cfg.rollEvery.Milliseconds() {
		return // up to one roll delays a file by one roll at most, and small clock corrections are normal
	}
	c.progress, c.quietUntil = now, min(c.quietUntil, c.nextRoll(now))
	for stream, deadline := range c.open {
		c.setDeadline(stream, min(deadline, c.rollDeadline(now)))
		c.spool.Note(stream, c.open[stream])
	}
}

// setDeadline sets the deadline of the stream's open file.
func (c *core) setDeadline(stream ledger.Stream, deadline int64) {
	if len(c.open) == 0 {
		c.earliestDeadline = deadline
	}
	c.open[stream], c.earliestDeadline = deadline, min(c.earliestDeadline, deadline)
}

// fileDeadline returns the deadline of a file whose first record was received at seen. Normally
// that is the roll after seen. A record that comes hours late opens a file that waits for the next
// roll, so that late records do not make a file each. A straggler that arrives within the grace
// after its roll does not: that would leave its hour incomplete until the next roll.
func (c *core) fileDeadline(seen int64) int64 {
	if d := c.rollDeadline(seen); d > c.progress {
		return d
	}
	return c.rollDeadline(c.progress)
}

// rollDeadline returns when a file that is begun at that progress is due: at the next roll plus the
// grace for stragglers. A reader that is behind reaches the roll when it has read that far, not
// when the clock does, so that it makes no tiny files.
func (c *core) rollDeadline(progress int64) int64 {
	d := c.nextRoll(progress) + c.cfg.grace.Milliseconds()
	// All files of a partition are due at the same moment, and partitions are spread evenly (by the
	// golden ratio). Files that are due together make the fewest entries, and each entry repeats
	// the streams sealed past the watermark.
	return d + int64(uint32(c.cfg.partition)*0x9e3779b9)*c.cfg.jitter.Milliseconds()>>32
}

// nextRoll returns the next roll after ms. Rolls are multiples of roll_every, so they coincide with
// UTC's hours.
func (c *core) nextRoll(ms int64) int64 {
	roll := c.cfg.rollEvery.Milliseconds()
	return (ms/roll + 1) * roll
}

// sealDue seals the files whose deadline has passed.
func (c *core) sealDue() error {
	if c.progress < c.earliestDeadline { // cheap, because this is called after every fetch
		return nil
	}
	return c.sealWhere(segment.ReasonTime, func(deadline int64) bool { return deadline <= c.progress })
}

// sealAll seals every open file.
func (c *core) sealAll(reason segment.Reason) error {
	return c.sealWhere(reason, func(int64) bool { return true })
}

func (c *core) sealWhere(reason segment.Reason, due func(deadline int64) bool) error {
	var streams []ledger.Stream
	c.earliestDeadline = math.MaxInt64
	for stream, deadline := range c.open {
		if due(deadline) {
			streams = append(streams, stream)
		} else {
			c.earliestDeadline = min(c.earliestDeadline, deadline)
		}
	}
	return c.sealStreams(streams, reason)
}

func (c *core) seal(stream ledger.Stream, reason segment.Reason) error {
	return c.sealStreams([]ledger.Stream{stream}, reason)
}

func (c *core) sealStreams(streams []ledger.Stream, reason segment.Reason) error {
	files, err := c.spool.SealAll(streams, reason)
	if err != nil {
		return err
	}
	for _, stream := range streams {
		delete(c.open, stream)
	}
	c.sealed = append(c.sealed, files...)
	return nil
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

// idle reports whether no entry is being written.
func (c *core) idle() bool { return !c.writing }

// hasUnwritten reports whether a record below the offset may be in a sealed file that is in no
// entry yet.
func (c *core) hasUnwritten(below int64) bool {
	waits := func(f *segment.Sealed) bool { return f.First < below }
	return slices.ContainsFunc(c.inFlight, waits) || slices.ContainsFunc(c.sealed, waits)
}

// cut returns the content of the next entry, or nil if there is nothing to write. It must not be
// called again before won or failed.
func (c *core) cut() *segment.Batch {
	// Oldest first, because the oldest file holds the watermark back.
	slices.SortFunc(c.sealed, func(a, b *segment.Sealed) int { return cmp.Compare(a.First, b.First) })
	n := min(len(c.sealed), c.cfg.maxFiles)
	// The cheap check comes first: this is called after every fetch, and the rest looks at every
	// open file.
	if n == 0 && (len(c.open) > 0 || c.progress < c.quietUntil) {
		return nil
	}
	low, complete := c.lowWatermark(c.sealed[n:]), c.completeThrough(c.sealed[n:])
	const hour = int64(time.Hour / time.Millisecond)
	if n == 0 && low <= c.base.LowWatermark && complete/hour <= c.baseCompleteThrough()/hour {
		return nil
	}
	c.quietUntil = c.nextRoll(c.progress)
	c.epoch++
	c.writing, c.inFlight, c.sealed = true, slices.Clone(c.sealed[:n]), slices.Clone(c.sealed[n:])
	b := &segment.Batch{Files: c.inFlight, LowWatermark: low, CompleteThrough: complete, Skipped: map[string]int64{}}
	for _, s := range c.skipped {
		if s.First < low {
			b.Skipped[s.Reason] += s.Records
		}
	}
	ends := map[ledger.Stream]int64{}
	for _, f := range b.Files {
		ends[f.Stream] = max(ends[f.Stream], f.Last)
	}
	if n := c.countDuplicates(low, ends); n > 0 {
		b.Skipped[ledger.SkippedDuplicate] = n
	}
	return b
}

// lowWatermark returns the lowest offset that is neither in an entry nor in the batch being cut;
// rest are the sealed files that are not in the batch.
func (c *core) lowWatermark(rest []*segment.Sealed) int64 {
	low := c.position
	if ablation.On(ablation.WatermarkIsPosition) {
		return low
	}
	for _, f := range rest {
		low = min(low, f.First)
	}
	c.spool.Files(func(m segment.Meta) { low = min(low, m.First) })
	return c.outsideRuns(low)
}

// outsideRuns returns the highest watermark up to low that falls inside no run. That is low itself,
// unless there were many runs: then runs overlap, and the result may be as low as where the last
// entry below low was cut, but no lower, since each cut begins a new epoch.
func (c *core) outsideRuns(low int64) int64 {
	type run struct{ first, last int64 }
	var runs []run // below low
	add := func(first, last int64) {
		if first < low {
			runs = append(runs, run{first, last})
		}
	}
	for _, s := range c.skipped {
		add(s.First, s.Last)
	}
	for _, list := range c.duplicates {
		for _, d := range list {
			if !d.Passed {
				add(d.First, d.Last)
			}
		}
	}
	// The one that ends last comes first: a run that does not hold low begins at or above
	// it, and so holds no lower one either.
	slices.SortFunc(runs, func(a, b run) int { return cmp.Compare(b.last, a.last) })
	for _, r := range runs {
		if r.last < low {
			break
		}
		low = min(low, r.first)
	}
	return low
}

// completeThrough returns the time, in unix ms, before which every record is in an entry or in the
// batch being cut, except stragglers that come after the grace.
func (c *core) completeThrough(rest []*segment.Sealed) int64 {
	t := c.progress - c.cfg.grace.Milliseconds()
	for _, f := range rest {
		t = min(t, f.Stream.Hour)
	}
	c.spool.Files(func(m segment.Meta) { t = min(t, m.Stream.Hour) })
	return max(t, c.baseCompleteThrough())
}

// baseCompleteThrough returns the CompleteThrough of the head, or 0 if that is ahead of the clock
// because its author's clock was. Without this, nothing would be reported complete until the clock
// had caught up.
func (c *core) baseCompleteThrough() int64 {
	if through := c.base.CompleteThrough; c.now == 0 || through-c.now <= c.cfg.rollEvery.Milliseconds() {
		return through
	}
	return 0
}

// won says that the entry of the last cut is now the head.
func (c *core) won(head *ledger.Entry) {
	for _, f := range c.inFlight {
		f.Release()
	}
	c.writing, c.inFlight = false, nil
	c.rebase(head)
	c.skipped = slices.DeleteFunc(c.skipped, func(s skippedRun) bool { return s.First < head.LowWatermark })
	c.dropCountedRuns()
}

// failed says that the entry of the last cut was lost, or that its outcome is open. In both cases
// the state is void. What the spool has on disk stays there.
func (c *core) failed() { c.writing, c.inFlight = false, nil }

// oldestReceived returns the time of receipt, in unix ms, of the oldest record in a file that is in
// no entry yet; ok is false if there is none.
func (c *core) oldestReceived() (received int64, ok bool) {
	note := func(m segment.Meta) {
		if !ok || m.Received < received {
			received, ok = m.Received, true
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
