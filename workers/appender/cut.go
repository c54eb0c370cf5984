package appender

import (
	"cmp"
	"slices"
	"time"

	"github.com/sealift/sealift/pkg/ablation"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/segment"
)

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
	// open file. A reader that has just taken over reports nothing before its first files.
	if n == 0 && (c.progress < c.quietUntil || c.quietUntil == 0 && len(c.open) > 0) {
		return nil
	}
	low, complete := c.lowWatermark(c.sealed[n:]), c.completeThrough(c.sealed[n:])
	if n == 0 && low <= c.base.LowWatermark && complete/hourMillis <= c.baseCompleteThrough()/hourMillis {
		if c.quietUntil > 0 {
			c.quietUntil = c.nextDeadline()
		}
		return nil
	}
	c.quietUntil = c.nextDeadline()
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

const hourMillis = int64(time.Hour / time.Millisecond)

// completeThrough returns the time, in unix ms, before which every record is in an entry or in the
// batch being cut, except stragglers that come after the grace.
func (c *core) completeThrough(rest []*segment.Sealed) int64 {
	t, before := c.progress-c.cfg.grace.Milliseconds(), c.baseCompleteThrough()
	note := func(m segment.Meta) {
		if m.Stream.Hour+hourMillis > before { // otherwise its records are stragglers, which may come at any time
			t = min(t, m.Stream.Hour)
		}
	}
	for _, f := range rest {
		note(f.Meta)
	}
	c.spool.Files(note)
	return max(t, before)
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
