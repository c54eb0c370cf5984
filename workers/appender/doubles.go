package appender

import (
	"slices"

	"github.com/sealift/sealift/pkg/dedup"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/segment"
)

// addOnce is like add, for a record with a message id that the store may know. A record that the
// ledger covers is not judged: its fate is already decided. A record that fits no file is not
// remembered: its copy might fit.
//
// Invariant: the lowest offset of a message is never skipped as a duplicate, whatever the store
// remembers: see pkg/dedup.
func (c *core) addOnce(store *dedup.Store, key dedup.Key, offset int64, source string, received, now int64, line []byte) (fate, error) {
	stream := ledger.StreamOf(source, received)
	if last, ok := c.through[stream]; (!ok || offset > last) && store.Duplicate(key, offset) && c.spool.Fits(line) {
		return fateDuplicate, c.double(stream, offset, min(received, now))
	}
	became, err := c.add(offset, source, received, now, line)
	if err == nil && became == fateFiled {
		store.Remember(key, offset, received, now)
	}
	return became, err
}

// double is a run of duplicates of one stream. It is counted by the entry whose watermark passes
// the run, or that has a file of the stream that passes it. Other skipped records are counted only
// when the watermark passes them, since whoever reads them again judges them again. But records
// that the filter covers are not judged again, so duplicates that waited for the watermark would
// not be counted at all.
//
// Invariant: I2, no file ends inside a run, and the watermark of an entry falls inside one only if
// the entry has the file that the run lies in, and so counts it.
type double struct {
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

func (d *double) stream() ledger.Stream { return ledger.Stream{Source: d.Source, Hour: d.Hour} }

// counted reports whether an entry with the watermark low and with files up to the offsets in
// through counts the run.
func (d *double) counted(low int64, through map[ledger.Stream]int64) bool {
	last, ok := through[d.stream()]
	return d.First < low || ok && d.First <= last
}

// double records a duplicate.
func (c *core) double(stream ledger.Stream, offset, seen int64) error {
	if err := c.pass(offset); err != nil {
		return err
	}
	c.progress = max(c.progress, seen)
	list := c.doubles[stream]
	if n := len(list); n > 0 && list[n-1].Epoch == c.epoch && !list[n-1].Passed && !list[n-1].Ended {
		list[n-1].Last = offset
		list[n-1].Records++
		return nil
	}
	if c.doubles == nil {
		c.doubles = map[ledger.Stream][]double{}
	}
	c.doubles[stream] = append(list, double{Source: stream.Source, Hour: stream.Hour, First: offset, Last: offset, Records: 1, Epoch: c.epoch})
	c.runs++
	return nil
}

// lineAdded says that a line was added to the open file of the stream. It merges all runs since the
// file was begun into one, so that duplicates take little memory however they alternate with lines.
func (c *core) lineAdded(stream ledger.Stream) {
	list := c.doubles[stream]
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
	c.doubles[stream] = list[:i+1]
	c.runs -= n - 1 - i
}

// fileBegun says that a file of the stream was begun.
func (c *core) fileBegun(stream ledger.Stream) {
	for i := range c.doubles[stream] {
		c.doubles[stream][i].Ended = true
	}
}

// doubled returns how many duplicates an entry has to count.
func (c *core) doubled(low int64, through map[ledger.Stream]int64) (records int64) {
	for _, list := range c.doubles {
		for _, d := range list {
			if d.counted(low, through) {
				records += d.Records
			}
		}
	}
	return records
}

// forget drops the runs that the head counts.
func (c *core) forget() {
	c.runs = 0
	for stream, list := range c.doubles {
		list = slices.DeleteFunc(list, func(d double) bool { return d.counted(c.base.LowWatermark, c.through) })
		if c.doubles[stream] = list; len(list) == 0 {
			delete(c.doubles, stream)
		}
		c.runs += len(list)
	}
}

// savedDoubles returns the runs of duplicates for a checkpoint.
func (c *core) savedDoubles() []double {
	var all []double
	for _, list := range c.doubles {
		all = append(all, list...)
	}
	return all
}

// loadDoubles loads the runs of a checkpoint that the head does not count. If the head counts a
// part of a run, the error is errUntrusted.
func (c *core) loadDoubles(saved []double) error {
	for _, d := range saved {
		counted, err := c.inLedger(segment.Meta{Stream: d.stream(), First: d.First, Last: d.Last})
		if err != nil {
			return err
		}
		if counted {
			continue
		}
		if c.doubles == nil {
			c.doubles = map[ledger.Stream][]double{}
		}
		c.doubles[d.stream()] = append(c.doubles[d.stream()], d)
		c.runs++
	}
	return nil
}
