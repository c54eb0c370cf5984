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

	refillFor = 2 * time.Minute // one try of events

	// One try of dead letters: from spoolAfter, which is all that events behind them
	// wait for, to this, lest a topic that is slow takes them again and again.
	lettersFor = 32 * time.Second
)

// refill produces entries until Kafka has all of them; it returns an error
// only when it has to stop before. bad says that an entry is none, or holds
// what Kafka never takes. Dead letters are last, when their sources are behind nothing
// any more, and may go into the spool anew. Warm says that Kafka takes events.
func (c *Collector) refill(stopping, cut context.Context, entries []spool.Entry, warm bool) (bad, err error) {
	var records, letters []stream.Record
	parcels := make([]taken, len(entries))
	for i, e := range entries {
		if parcels[i], err = parseParcel(e.Payload); err != nil {
			bad = err
		}
		records, letters = append(records, parcels[i].records...), append(letters, parcels[i].dead...)
	}
	if warm && len(records) > 0 && c.behind.last(len(records)) {
		c.handover.begin()
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
	if events, _ := c.behind.holds(); !events && len(records) > 0 {
		c.producer.observe(nil)
	}
	if len(letters) > 0 {
		c.handover.end() // nobody waits for these
		never, err := c.refillLetters(stopping, cut, taken{dead: letters}, entries[0].Time, len(records) > 0)
		if err != nil {
			return bad, err
		}
		bad = cmp.Or(bad, never)
	}
	for i := range entries {
		c.behind.leave(taken{dead: parcels[i].dead}, entries[i].Found)
	}
	if _, more := c.behind.holds(); !more && len(letters) > 0 {
		c.buried.observe(nil)
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

// refillLetters produces dead letters. If Kafka does not take them while events wait
// behind them, or lie with them and would be produced again, they go to the end of
// the spool, and for some seconds others do so without a try. Else they are tried again where
// they are. It returns an error only when it has to stop before, with no events behind. never
// says that something was left out that no topic takes: all behind it would wait for ever.
func (c *Collector) refillLetters(stopping, cut context.Context, t taken, at time.Time, with bool) (never, err error) {
	failed := &c.unburied
	for {
		events, _ := c.behind.holds()
		aside := with || events
		if aside && time.Since(failed.at) < longestPause {
			if c.append(t, at) == nil {
				return never, nil
			}
			pause(stopping, failed.pause())
		}
		within := spoolAfter
		if !aside {
			within = failed.within()
		}
		ctx, cancel := tryOf(stopping, cut, within)
		var worse error
		t.dead, worse, err = c.bury(ctx, t.dead)
		cancel()
		never = cmp.Or(never, worse)
		if err == nil {
			failed.times = 0
			return never, nil
		}
		c.buried.observe(err)
		failed.at = time.Now()
		failed.times++
		switch {
		case aside && c.append(t, at) == nil:
			return never, nil
		case stopping.Err() != nil:
			return never, err
		}
		pause(stopping, failed.pause())
	}
}

// unburied is what is known of tries of dead letters in the spool.
type unburied struct {
	at    time.Time // of the last one that failed
	times int       // that failed since one did not
}

// pause is how long to wait for the next one.
func (u *unburied) pause() time.Duration { return min(firstPause<<min(u.times, 10), longestPause) }

// within is how long the next one takes.
func (u *unburied) within() time.Duration { return min(spoolAfter<<min(u.times, 10), lettersFor) }

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
