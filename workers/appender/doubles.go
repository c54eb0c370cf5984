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

// double is a run of duplicates of one stream. The entry whose watermark, or whose
// file of the stream, passes the run counts it. Other skipped records wait for the
// watermark alone, for whoever reads them again judges them again; but what the filter
// covers is not judged, so duplicates that waited would be lost.
//
// Invariant: I2, neither a watermark nor the end of a file falls inside a run.
type double struct {
	Source  string `json:"source"`
	Hour    int64  `json:"hour"`
	First   int64  `json:"first"` // offset
	Last    int64  `json:"last"`
	Records int64  `json:"records"`
	Epoch   int    `json:"epoch"`
	// Passed says that a line of the stream was added after the run, and Sealed that
	// its file was sealed after it: later duplicates are not of the run.
	Passed bool `json:"passed,omitempty"`
	Sealed bool `json:"sealed,omitempty"`
}

func (d *double) stream() ledger.Stream { return ledger.Stream{Source: d.Source, Hour: d.Hour} }

// counted reports whether an entry with that watermark, and files that reach that
// far, counts the run.
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

// lineAdded says that a line of the stream follows its newest run. That run is
// merged with the one before it if they are of one epoch and one file, so that
// duplicates take no memory however they alternate with lines.
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

// fileSealed says that the stream's file has ended: what comes is of no run that
// there is.
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

// forget drops the runs that the head counts.
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

// loadDoubles takes up the runs of a checkpoint that the head does not count. If it
// counts a part of one, the error is errUntrusted.
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
