package collector

import (
	"context"
	"time"

	"github.com/sealift/sealift/pkg/jitter"
	"github.com/sealift/sealift/pkg/spool"
	"github.com/sealift/sealift/pkg/stream"
)

const (
	// The size of one call to the producer: less than one batch of Kafka's client. So the records
	// of a partition are in one request, and no request can overtake another that is retried.
	chunkBytes   = 900_000
	chunkRecords = 9_000

	refillTimeout = 2 * time.Minute // bounds one try
)

// refill produces entries until Kafka has all of them; it returns an error only when it has to stop
// earlier. bad says that an entry could not be parsed. Dead letters go to their own spool: those of
// events that are too large, and those in entries of earlier releases. warm says that Kafka has
// just accepted events.
func (c *Collector) refill(stopping, cut context.Context, entries []spool.Entry, warm bool) (bad, err error) {
	var records, letters []stream.Record
	parcels := make([]parcel, len(entries))
	for i, e := range entries {
		if parcels[i], err = parseParcel(e.Payload); err != nil {
			bad = err
		}
		records, letters = append(records, parcels[i].records...), append(letters, parcels[i].dead...)
	}
	if warm && len(records) > 0 && c.spooled.holdsAtMost(len(records)) {
		c.handover.begin()
	}
	for rest := records; len(rest) > 0; {
		n := chunkLen(rest)
		large, err := c.produceAll(stopping, cut, rest[:n])
		if err != nil {
			return bad, err
		}
		letters, rest = append(letters, large...), rest[n:]
	}
	for i := range entries {
		c.spooled.remove(parcels[i].records, entries[i].Recovered)
	}
	if len(records) > 0 && !c.spooled.mayHoldEvents() {
		c.eventsHealth.produce.observe(nil)
	}
	return bad, c.spoolLetters(stopping, letters, entries[0].Time)
}

// produceAll produces events until Kafka has them or stopping ends. It returns the dead letters of
// those that are too large.
func (c *Collector) produceAll(stopping, cut context.Context, left []stream.Record) (letters []stream.Record, err error) {
	backoff := jitter.Backoff{Min: firstPause, Max: longestPause}
	for {
		ctx, cancel := tryContext(stopping, cut, refillTimeout)
		var large []stream.Record
		left, large, err = c.produceOnce(ctx, c.deps.Refill, left)
		cancel()
		letters = append(letters, large...)
		if err == nil {
			return letters, nil
		}
		c.eventsHealth.produce.observe(err)
		if stopping.Err() != nil {
			return letters, err
		}
		_ = backoff.Wait(stopping)
	}
}

// tryContext returns the context of one try. After stopping ends, the try has spoolAfter left,
// which is as long as a request gives Kafka.
func tryContext(stopping, cut context.Context, within time.Duration) (context.Context, context.CancelFunc) {
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

// chunkLen returns how many of the records go into one call: at least one, if there are any.
func chunkLen(records []stream.Record) int {
	n := 0
	for size := int64(0); n < min(len(records), chunkRecords); n++ {
		if size += recordBytes(&records[n]); size > chunkBytes && n > 0 {
			break
		}
	}
	return n
}
