package collector

import (
	"cmp"
	"context"
	"time"

	"github.com/sealift/sealift/pkg/spool"
	"github.com/sealift/sealift/pkg/stream"
)

const (
	// What one call produces: less than one batch of Kafka's client, so those of
	// a partition are in one request, and no request of them overtakes another
	// that is tried again.
	chunkBytes   = 900_000
	chunkRecords = 9_000

	// refillFor is how long one try takes at most; with dead letters it is spoolAfter.
	refillFor = 2 * time.Minute
)

// refill produces entries until Kafka has all of them; it returns an error
// only when it has to stop before. bad says that an entry is none, or holds
// what Kafka never takes. Dead letters are last, when their sources are behind nothing
// any more, and may go into the spool anew.
func (c *Collector) refill(stopping, cut context.Context, entries []spool.Entry) (bad, err error) {
	var records, letters []stream.Record
	parcels := make([]taken, len(entries))
	for i, e := range entries {
		if parcels[i], err = parseParcel(e.Payload); err != nil {
			bad = err
		}
		records, letters = append(records, parcels[i].records...), append(letters, parcels[i].dead...)
	}
	for rest := records; len(rest) > 0; {
		n := chunk(rest)
		large, err := c.insist(stopping, cut, rest[:n])
		if err != nil {
			return bad, err
		}
		letters, rest = append(letters, large...), rest[n:]
	}
	for i := range entries {
		c.behind.leave(taken{records: parcels[i].records}, entries[i].Found)
	}
	if len(letters) > 0 {
		c.handover.end() // nobody waits for these
		never, err := c.refillLetters(stopping, cut, letters, entries, len(records) > 0)
		if err != nil {
			return bad, err
		}
		bad = cmp.Or(bad, never)
	}
	for i := range entries {
		c.behind.leave(taken{dead: parcels[i].dead}, entries[i].Found)
	}
	return bad, nil
}

// insist produces events until Kafka has them, or stopping ends, and returns the dead
// letters of those that are too large.
func (c *Collector) insist(stopping, cut context.Context, left []stream.Record) (letters []stream.Record, err error) {
	for wait := firstPause; ; wait = min(2*wait, longestPause) {
		ctx, cancel := tryOf(stopping, cut, refillFor)
		var large []stream.Record
		left, large, err = c.events(ctx, c.deps.Refill, left)
		cancel()
		letters = append(letters, large...)
		if err == nil {
			return letters, nil
		}
		c.producer.observe(err)
		if stopping.Err() != nil {
			return letters, err
		}
		pause(stopping, wait)
	}
}

// refillLetters produces the dead letters of entries. If Kafka does not take them they go to
// the end of the spool, so that neither the events behind them wait for them, nor, with,
// those that they lie with are produced again. It returns an error only when it has to
// stop before. never says that something was left out that no topic takes: all behind
// it would wait for ever.
func (c *Collector) refillLetters(stopping, cut context.Context, left []stream.Record, entries []spool.Entry, with bool) (never, err error) {
	if with && time.Since(c.unburied) < longestPause && c.append(taken{dead: left}, entries[0].Time) == nil {
		return nil, nil // another try for each chunk would hold up what is behind
	}
	for wait := firstPause; ; wait = min(2*wait, longestPause) {
		ctx, cancel := tryOf(stopping, cut, spoolAfter)
		var worse error
		left, worse, err = c.bury(ctx, left)
		cancel()
		never = cmp.Or(never, worse)
		if err == nil {
			return never, nil
		}
		c.producer.observe(err)
		c.unburied = time.Now()
		if with || !c.lastOf(entries) && stopping.Err() == nil {
			if c.append(taken{dead: left}, entries[0].Time) == nil {
				pause(stopping, firstPause) // or it would write them over and over
				return never, nil
			}
		}
		if stopping.Err() != nil {
			return never, err
		}
		pause(stopping, wait)
	}
}

// tryOf is the context of one try: when stopping ends it has spoolAfter more, no less than
// what a request gives Kafka.
func tryOf(stopping, cut context.Context, within time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(cut, within)
	stop := context.AfterFunc(stopping, func() {
		select {
		case <-time.After(spoolAfter):
			cancel()
		case <-ctx.Done():
		}
	})
	return ctx, func() { stop(); cancel() }
}

// chunk returns how many of records one call takes; at least one, if there are any.
func chunk(records []stream.Record) int {
	n := 0
	for size := int64(0); n < min(len(records), chunkRecords); n++ {
		if size += recordBytes(&records[n]); size > chunkBytes && n > 0 {
			break
		}
	}
	return n
}
