package appender

import (
	"math"

	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/segment"
)

// setClock sets the time. If progress is far ahead of it, the clock was ahead and has been set
// back. Without a correction no file would become due until the clock had caught up.
func (c *core) setClock(now int64) {
	c.now = now
	if c.progress-now <= c.cfg.rollEvery.Milliseconds() {
		return // up to one roll delays a file by one roll at most, and small clock corrections are normal
	}
	c.progress = now
	c.quietUntil = min(c.quietUntil, c.nextDeadline())
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

// nextDeadline returns the partition's first deadline after progress: when the last roll's grace is
// over or, if it is over already, the next roll's.
func (c *core) nextDeadline() int64 {
	return c.fileDeadline(c.progress - c.cfg.rollEvery.Milliseconds())
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
