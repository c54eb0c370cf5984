package dedup

import "math"

// table holds the newest messages in memory. It uses open addressing with linear probing; a key's
// home is given by its first bits, and every cluster is sorted. So the whole table is sorted, and
// walking over it writes it as a run.
type table struct {
	slots          []slot
	homes          int // slots that are homes; the others take the overflow of the last homes
	count          int
	base           int64 // slots hold offsets relative to it
	min            int64 // lowest offset held
	oldest, newest int64 // lowest and highest time of receipt held
	span           span  // offsets that were all read
}

// slot takes 16 bytes. rel is the offset minus the base; 0 marks an empty slot.
type slot struct {
	hi      uint64
	lo, rel uint32
}

func (s *slot) key() Key { return Key{s.hi, s.lo} }

const (
	slotBytes     = 16
	minSlots      = 1 << 10
	maxSlots      = 1 << 18 // 4 MiB
	overflowSlots = 256     // slots after the last home
)

// newTable returns an empty table for offsets near at.
func newTable(at int64, homes int) *table {
	t := &table{slots: make([]slot, homes+overflowSlots), homes: homes}
	t.reset(at)
	return t
}

// reset empties the table, which can then hold offsets within 2^31 of at.
func (t *table) reset(at int64) {
	if t.count > 0 {
		clear(t.slots)
	}
	t.count, t.base, t.span = 0, at-math.MaxInt32, span{at, at}
	t.min, t.oldest, t.newest = math.MaxInt64, math.MaxInt64, 0
}

func (t *table) bytes() int64 { return int64(len(t.slots)) * slotBytes }

// fits reports whether slots can hold the offset.
func (t *table) fits(offset int64) bool {
	return offset > t.base && offset-t.base <= math.MaxUint32
}

// full reports whether the table should grow or be written before the next put.
func (t *table) full() bool { return t.room() <= 0 }

func (t *table) room() int { return t.homes/4*3 - t.count }

// find returns the offset stored for the key.
func (t *table) find(k Key) (offset int64, ok bool) {
	for i := k.part(t.homes); ; i++ {
		s := &t.slots[i]
		if s.rel == 0 || k.less(s.key()) {
			return 0, false
		}
		if s.key() == k {
			return t.base + int64(s.rel), true
		}
	}
}

// put stores the offset for the key, unless a lower one is stored. It returns false if there is no
// room at the key's place.
func (t *table) put(k Key, offset, received int64) bool {
	i := k.part(t.homes)
	for t.slots[i].rel != 0 && t.slots[i].key().less(k) {
		i++
	}
	rel := uint32(offset - t.base)
	if t.slots[i].rel != 0 && t.slots[i].key() == k {
		t.slots[i].rel = min(t.slots[i].rel, rel)
	} else {
		end := i
		for t.slots[end].rel != 0 {
			end++
		}
		if end == len(t.slots)-1 { // the last slot stays empty, because it ends searches
			return false
		}
		copy(t.slots[i+1:end+1], t.slots[i:end])
		t.slots[i] = slot{hi: k.hi, lo: k.lo, rel: rel}
		t.count++
	}
	t.min = min(t.min, offset)
	t.oldest, t.newest = min(t.oldest, received), max(t.newest, received)
	return true
}

// grow doubles the table.
func (t *table) grow() {
	old := t.slots
	t.homes *= 2
	t.slots = make([]slot, t.homes+2*overflowSlots) // entries are moved in order; clusters only get shorter
	at := 0
	for i := range old {
		if old[i].rel != 0 {
			at = max(at, old[i].key().part(t.homes))
			t.slots[at] = old[i]
			at++
		}
	}
}

// each returns an iterator over the entries, sorted by key.
func (t *table) each() func() (entry, bool) {
	i := 0
	return func() (entry, bool) {
		for ; i < len(t.slots); i++ {
			if s := &t.slots[i]; s.rel != 0 {
				i++
				return entry{s.key(), t.base + int64(s.rel)}, true
			}
		}
		return entry{}, false
	}
}

// entry is a message with the offset of its first known record.
type entry struct {
	key    Key
	offset int64
}
