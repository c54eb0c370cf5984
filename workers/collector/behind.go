package collector

import (
	"sync"

	"github.com/sealift/sealift/pkg/stream"
)

// behind knows whose events are in the spool: what comes of these sources goes behind
// them. And whose dead letters are: these have no order, but would wait for Kafka in vain.
// It may know of more, never of less, and nothing when the spool is empty.
// The zero value is of an empty one.
type behind struct {
	mu       sync.Mutex
	found    bool // guarded by mu; some were there at the start, of any source
	events   keys // guarded by mu; those on their way into it too
	letters  keys // guarded by mu; as events
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

// split returns what of t does not go behind what is in the spool, and what does.
func (b *behind) split(t taken) (now, later taken) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.found {
		return taken{}, t
	}
	now.records, later.records = b.events.split(t.records)
	now.dead, later.dead = b.letters.split(t.dead)
	return now, later
}

// enter says that t is on its way into the spool, entered whether it is in it now.
func (b *behind) enter(t taken) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.entering++
	b.add(t, 1)
}

func (b *behind) entered(t taken, is bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.entering--
	if !is {
		b.add(t, -1)
	}
}

// leave says that t is in Kafka, or in the spool anew, and whether it was there at the
// start. Entries leave in their order.
func (b *behind) leave(t taken, found bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !found {
		b.found = false
		b.add(t, -1)
	}
}

func (b *behind) add(t taken, n int) {
	b.events.add(t.records, n)
	b.letters.add(t.dead, n)
}

// holds tells whether the spool may hold events, and dead letters.
func (b *behind) holds() (events, letters bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.found || len(b.events) > 0, b.found || len(b.letters) > 0
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
		clear(b.letters)
	}
}
