package appender

import (
	"slices"

	"github.com/sealift/sealift/pkg/dedup"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/segment"
)

// addUnlessDuplicate is like add, for a record with a message id that the store may know. A record
// that the ledger covers is not judged: its fate is already decided. A record that fits no file is
// not remembered: its copy might fit.
//
// Invariant: the lowest offset of a message is never skipped as a duplicate, whatever the store
// remembers: see pkg/dedup.
func (c *core) addUnlessDuplicate(store *dedup.Store, key dedup.Key, offset int64, source string, received, now int64, line []byte) (fate, error) {
	stream := ledger.StreamOf(source, received)
	if last, ok := c.filter[stream]; (!ok || offset > last) && store.IsDuplicate(key, offset, received, now) && c.spool.Fits(line) {
		return fateDuplicate, c.skipDuplicate(stream, offset, min(received, now))
	}
	outcome, err := c.add(offset, source, received, now, line)
	if err == nil && outcome == fateFiled {
		store.Remember(key, offset, received, now)
	}
	return outcome, err
}

// duplicateRun is a run of duplicates of one stream. It is counted by the entry whose watermark
// passes the run, or that has a file of the stream that passes it. Other skipped records are
// counted only when the watermark passes them, since whoever reads them again judges them again.
// But records that the filter covers are not judged again, so duplicates that waited for the
// watermark would not be counted at all.
//
// Invariant: I2, no file ends inside a run, and the watermark of an entry falls inside one only if
// the entry has the file that the run lies in, and so counts it.
type duplicateRun struct {
	Source  string `json:"source"`
	Hour    int64  `json:"hour"`
	First   int64  `json:"first"` // offset
	Last    int64  `json:"last"`
	Records int64  `json:"records"`
	Epoch   int    `json:"epoch"`
	// Passed says that the run lies between two lines of one file. The file's entry counts it,
	// because no watermark passes the first of these lines before that.
	Passed bool `json:"passed,omitempty"`
	// Ended says that a file of the stream was begun after the run, so later duplicates do not
	// belong to it.
	Ended bool `json:"ended,omitempty"`
}

func (d *duplicateRun) stream() ledger.Stream { return ledger.Stream{Source: d.Source, Hour: d.Hour} }

// countedBy reports whether an entry with the watermark low and with files up to the offsets in
// through counts the run.
func (d *duplicateRun) countedBy(low int64, through map[ledger.Stream]int64) bool {
	last, ok := through[d.stream()]
	return d.First < low || ok && d.First <= last
}

// skipDuplicate records a duplicate.
func (c *core) skipDuplicate(stream ledger.Stream, offset, seen int64) error {
	if err := c.advance(offset); err != nil {
		return err
	}
	c.progress = max(c.progress, seen)
	list := c.duplicates[stream]
	if n := len(list); n > 0 && list[n-1].Epoch == c.epoch && !list[n-1].Passed && !list[n-1].Ended {
		list[n-1].Last = offset
		list[n-1].Records++
		return nil
	}
	if c.duplicates == nil {
		c.duplicates = map[ledger.Stream][]duplicateRun{}
	}
	c.duplicates[stream] = append(list, duplicateRun{Source: stream.Source, Hour: stream.Hour, First: offset, Last: offset, Records: 1, Epoch: c.epoch})
	c.duplicateRuns++
	return nil
}

// mergeRuns is called when a line was added to the open file of the stream. It merges all runs
// since the file was begun into one, so that duplicates take little memory however they alternate
// with lines.
func (c *core) mergeRuns(stream ledger.Stream) {
	list := c.duplicates[stream]
	n := len(list)
	if n == 0 || list[n-1].Passed || list[n-1].Ended {
		return
	}
	i := n - 1
	for ; i > 0 && !list[i-1].Ended; i-- {
		list[i-1].Last = list[n-1].Last
		list[i-1].Records += list[i].Records
	}
	list[i].Passed = true
	c.duplicates[stream] = list[:i+1]
	c.duplicateRuns -= n - 1 - i
}

// endRuns is called when a file of the stream was begun: later duplicates do not extend its runs.
func (c *core) endRuns(stream ledger.Stream) {
	for i := range c.duplicates[stream] {
		c.duplicates[stream][i].Ended = true
	}
}

// countDuplicates returns how many duplicates an entry has to count.
func (c *core) countDuplicates(low int64, through map[ledger.Stream]int64) (records int64) {
	for _, list := range c.duplicates {
		for _, d := range list {
			if d.countedBy(low, through) {
				records += d.Records
			}
		}
	}
	return records
}

// dropCountedRuns drops the runs that the head counts.
func (c *core) dropCountedRuns() {
	c.duplicateRuns = 0
	for stream, list := range c.duplicates {
		list = slices.DeleteFunc(list, func(d duplicateRun) bool { return d.countedBy(c.base.LowWatermark, c.filter) })
		if c.duplicates[stream] = list; len(list) == 0 {
			delete(c.duplicates, stream)
		}
		c.duplicateRuns += len(list)
	}
}

// allDuplicates returns the runs of duplicates for a checkpoint.
func (c *core) allDuplicates() []duplicateRun {
	var all []duplicateRun
	for _, list := range c.duplicates {
		all = append(all, list...)
	}
	return all
}

// loadDuplicates loads the runs of a checkpoint that the head does not count. If the head counts a
// part of a run, the error is errUntrusted.
func (c *core) loadDuplicates(saved []duplicateRun) error {
	for _, d := range saved {
		counted, err := c.inLedger(segment.Meta{Stream: d.stream(), First: d.First, Last: d.Last})
		if err != nil {
			return err
		}
		if counted {
			continue
		}
		if c.duplicates == nil {
			c.duplicates = map[ledger.Stream][]duplicateRun{}
		}
		c.duplicates[d.stream()] = append(c.duplicates[d.stream()], d)
		c.duplicateRuns++
	}
	return nil
}
