package collector

import (
	"sync"

	"github.com/sealift/sealift/pkg/stream"
)

// behind knows whose events are in the spool: what comes of these sources goes behind
// them. It may know of more, never of less, and nothing when the spool is empty.
// The zero value is of an empty one.
type behind struct {
	mu       sync.Mutex
	found    bool // guarded by mu; some were there at the start, of any source
	events   keys // guarded by mu; those on their way into it too
	entering int  // guarded by mu; parcels on their way into it
}

// keys is how many records are of a key.
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

// split returns which of records are of none of the keys, and which are.
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

// split returns which events do not go behind what is in the spool, and which do.
func (b *behind) split(events []stream.Record) (now, later []stream.Record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.found {
		return nil, events
	}
	return b.events.split(events)
}

// enter says that events are on their way into the spool, entered whether they are in it now.
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

// leave says that an entry's events are in Kafka, and whether it was there at the start.
// Entries leave in their order.
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

// last tells whether the spool holds no more than n records of events.
func (b *behind) last(n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, of := range b.events {
		n -= of
	}
	return !b.found && n >= 0
}

// settle forgets all if the spool is empty: what was damaged in it never leaves.
func (b *behind) settle(empty func() bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.entering == 0 && empty() {
		b.found = false
		clear(b.events)
	}
}
