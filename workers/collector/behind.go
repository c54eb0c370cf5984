package collector

import (
	"sync"

	"github.com/sealift/sealift/pkg/stream"
)

// behind knows whose events are in the spool: new events of these sources go behind them. It may
// know of too many sources, never of too few, and of none when the spool is empty. The zero value
// stands for an empty spool.
type behind struct {
	mu       sync.Mutex
	found    bool // guarded by mu; the spool had entries at the start, of unknown sources
	events   keys // guarded by mu; includes events on their way into the spool
	entering int  // guarded by mu; parcels on their way into the spool
}

// keys is the number of records by key.
type keys map[string]int

func (k *keys) add(records []stream.Record, n int) {
	if *k == nil {
		*k = keys{}
	}
	for i := range records {
		key := string(records[i].Key)
		if (*k)[key] += n; (*k)[key] <= 0 {
			delete(*k, key)
		}
	}
}

// split returns the records that have none of the keys, and those that do.
func (k keys) split(records []stream.Record) (none, some []stream.Record) {
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
func (b *behind) split(events []stream.Record) (now, later []stream.Record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.found {
		return nil, events
	}
	return b.events.split(events)
}

// enter says that events are on their way into the spool; entered follows and says whether they are
// in it.
func (b *behind) enter(events []stream.Record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.entering++
	b.events.add(events, 1)
}

func (b *behind) entered(events []stream.Record, are bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.entering--
	if !are {
		b.events.add(events, -1)
	}
}

// leave says that an entry's events are in Kafka, and whether the entry was found in the spool at
// the start. Entries leave in order.
func (b *behind) leave(events []stream.Record, found bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !found {
		b.found = false
		b.events.add(events, -1)
	}
}

// holds tells whether the spool may hold events.
func (b *behind) holds() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.found || len(b.events) > 0
}

// last tells whether the spool holds at most n event records.
func (b *behind) last(n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, of := range b.events {
		n -= of
	}
	return !b.found && n >= 0
}

// settle forgets everything if the spool is empty: entries that were damaged never leave.
func (b *behind) settle(empty func() bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.entering == 0 && empty() {
		b.found = false
		clear(b.events)
	}
}
