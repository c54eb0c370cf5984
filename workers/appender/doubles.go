package appender

import (
	"slices"

	"github.com/sealift/sealift/pkg/dedup"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/segment"
)

// addOnce is add for a record of a message that the store may know. A record
// that the ledger covers is not judged: what became of it is a fact. One that
// fits no file is not remembered: its copy might fit.
//
// Invariant: the lowest offset of a message is never skipped as a duplicate,
// whatever the store remembers: see pkg/dedup.
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

// double are duplicates of one stream. Other skipped records are counted when
// the watermark passes them, and counted again by whoever reads them again
// below the filter; whether a record below the filter was a duplicate, nobody
// knows any more. So a duplicate is counted by the entry that puts it below the
// watermark or below the filter: no watermark and no end of a file falls
// between those counted together.
type double struct {
	Source  string `json:"source"`
	Hour    int64  `json:"hour"`
	First   int64  `json:"first"` // offset
	Last    int64  `json:"last"`
	Records int64  `json:"records"`
	Epoch   int    `json:"epoch"`
	// Passed says that a line of the stream was added after them, and Sealed
	// that its file was sealed since: they are counted with no later ones.
	Passed bool `json:"passed,omitempty"`
	Sealed bool `json:"sealed,omitempty"`
}

func (d *double) stream() ledger.Stream { return ledger.Stream{Source: d.Source, Hour: d.Hour} }

// counted says that the entry with that watermark, and files that far, counts
// them.
func (d *double) counted(low int64, through map[ledger.Stream]int64) bool {
	last, ok := through[d.stream()]
	return d.First < low || ok && d.First <= last
}

// double notes a duplicate.
func (c *core) double(stream ledger.Stream, offset, seen int64) error {
	if err := c.pass(offset); err != nil {
		return err
	}
	c.progress = max(c.progress, seen)
	list := c.doubles[stream]
	if n := len(list); n > 0 && list[n-1].Epoch == c.epoch && !list[n-1].Passed && !list[n-1].Sealed {
		list[n-1].Last = offset
		list[n-1].Records++
		return nil
	}
	if c.doubles == nil {
		c.doubles = map[ledger.Stream][]double{}
	}
	c.doubles[stream] = append(list, double{Source: stream.Source, Hour: stream.Hour, First: offset, Last: offset, Records: 1, Epoch: c.epoch})
	return nil
}

// lineAdded says that a line of the stream follows its duplicates: those of
// one epoch and one file are counted together from now on, so that they take
// no memory however they alternate with lines.
func (c *core) lineAdded(stream ledger.Stream) {
	list := c.doubles[stream]
	n := len(list)
	if n == 0 || list[n-1].Passed {
		return
	}
	list[n-1].Passed = true
	if n > 1 && list[n-2].Passed && !list[n-2].Sealed && list[n-2].Epoch == list[n-1].Epoch {
		list[n-2].Last = list[n-1].Last
		list[n-2].Records += list[n-1].Records
		c.doubles[stream] = list[:n-1]
	}
}

// fileSealed says that the stream's file ends before what comes.
func (c *core) fileSealed(stream ledger.Stream) {
	for i := range c.doubles[stream] {
		c.doubles[stream][i].Sealed = true
	}
}

// doubled returns how many duplicates an entry is to count.
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

// forget drops the duplicates that the head counts.
func (c *core) forget() {
	for stream, list := range c.doubles {
		list = slices.DeleteFunc(list, func(d double) bool { return d.counted(c.base.LowWatermark, c.through) })
		if c.doubles[stream] = list; len(list) == 0 {
			delete(c.doubles, stream)
		}
	}
}

// savedDoubles returns what a checkpoint says of duplicates.
func (c *core) savedDoubles() []double {
	var all []double
	for _, list := range c.doubles {
		all = append(all, list...)
	}
	return all
}

// loadDoubles takes up what a checkpoint says, but for what the head counts. It
// is errUntrusted that the head counts some of those that are counted together.
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
	}
	return nil
}
