package collector

import "sync"

// behind knows whose events are in the spool: what comes of these sources goes behind
// them. It may know of more, never of less, and nothing when the spool is empty.
// The zero value is of an empty one.
type behind struct {
	mu       sync.Mutex
	found    bool           // guarded by mu; some were there at the start, of any source
	keys     map[string]int // guarded by mu; how many records, those on their way into it too
	entering int            // guarded by mu; parcels on their way into it
}

// any tells whether something of t goes behind what is in the spool.
func (b *behind) any(t taken) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.found {
		return true
	}
	for r := range t.all() {
		if b.keys[string(r.Key)] > 0 {
			return true
		}
	}
	return false
}

// enter says that t is on its way into the spool, entered whether it is in it now.
func (b *behind) enter(t taken) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.entering++
	if b.keys == nil {
		b.keys = map[string]int{}
	}
	for r := range t.all() {
		b.keys[string(r.Key)]++
	}
}

func (b *behind) entered(t taken, is bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.entering--
	if !is {
		b.remove(t)
	}
}

// leave says that t is in Kafka, and whether it was there at the start. Entries leave
// in their order.
func (b *behind) leave(t taken, found bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.found = found; !found {
		b.remove(t)
	}
}

func (b *behind) remove(t taken) {
	for r := range t.all() {
		key := string(r.Key)
		if b.keys[key]--; b.keys[key] <= 0 {
			delete(b.keys, key)
		}
	}
}

// settle forgets all if the spool is empty: what was damaged in it never leaves.
func (b *behind) settle(empty func() bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.entering == 0 && empty() {
		b.found = false
		clear(b.keys)
	}
}
