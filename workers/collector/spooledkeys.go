package collector

import (
	"sync"

	"github.com/sealift/sealift/pkg/stream"
)

// spooledKeys knows whose events are in the spool: new events of these sources go behind them. It
// may know of too many sources, never of too few, and of none when the spool is empty. The zero
// value stands for an empty spool.
type spooledKeys struct {
	mu             sync.Mutex
	unread         bool      // guarded by mu; the spool had entries at the start, of unknown sources
	events         keyCounts // guarded by mu; includes events on their way into the spool
	storingParcels int       // guarded by mu; parcels on their way into the spool
}

// keyCounts is the number of records by key.
type keyCounts map[string]int

func (k *keyCounts) add(records []stream.Record, n int) {
	if *k == nil {
		*k = keyCounts{}
	}
	for i := range records {
		key := string(records[i].Key)
		if (*k)[key] += n; (*k)[key] <= 0 {
			delete(*k, key)
		}
	}
}

// split returns the records that have none of the keys, and those that do.
func (k keyCounts) split(records []stream.Record) (none, some []stream.Record) {
	if len(k) == 0 {
		return records, nil
	}
	for i := range records {
		if k[string(records[i].Key)] > 0 {
			some = append(some, records[i])
		} else {
			none = append(none, records[i])
		}
	}
	return none, some
}

// split returns the events that need not go behind what is in the spool, and those that must.
func (b *spooledKeys) split(events []stream.Record) (now, later []stream.Record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.unread {
		return nil, events
	}
	return b.events.split(events)
}

// beginStore says that events are on their way into the spool; endStore follows and says whether
// they are in it.
func (b *spooledKeys) beginStore(events []stream.Record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.storingParcels++
	b.events.add(events, 1)
}

func (b *spooledKeys) endStore(events []stream.Record, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.storingParcels--
	if !ok {
		b.events.add(events, -1)
	}
}

// remove says that an entry's events are in Kafka, and whether the entry was found in the spool at
// the start. Entries leave in order.
func (b *spooledKeys) remove(events []stream.Record, found bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !found {
		b.unread = false
		b.events.add(events, -1)
	}
}

// mayHoldEvents tells whether the spool may hold events.
func (b *spooledKeys) mayHoldEvents() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.unread || len(b.events) > 0
}

// holdsAtMost tells whether the spool holds at most n event records.
func (b *spooledKeys) holdsAtMost(n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, count := range b.events {
		n -= count
	}
	return !b.unread && n >= 0
}

// resetIfEmpty forgets everything if the spool is empty: entries that were damaged never leave.
func (b *spooledKeys) resetIfEmpty(empty func() bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.storingParcels == 0 && empty() {
		b.unread = false
		clear(b.events)
	}
}
