package dedup

import "sync/atomic"

// DefaultMemory bounds the memory of all stores of a process: 256 MiB.
const DefaultMemory = 256 << 20

// Budget bounds the bytes that the stores of a process hold in memory. It is
// safe for concurrent use.
//
// A store that holds more than its even share gives the rest up at its next
// checkpoint once others want theirs: so long the bound may be passed.
type Budget struct {
	limit  int64
	used   atomic.Int64
	stores atomic.Int64
}

// NewBudget returns a budget of limit bytes.
func NewBudget(limit int64) *Budget { return &Budget{limit: limit} }

// allows says whether a store that holds own bytes may hold n more: there is
// room for all, or the store stays within its even share. A quarter of the
// budget is kept for merges, which hold what they make beside what they read.
func (b *Budget) allows(own, n int64) bool {
	return b.used.Load()+n <= b.limit/4*3 || own+n <= b.share()/4*3
}

func (b *Budget) allowsMerge(own, n int64) bool {
	return b.used.Load()+n <= b.limit || own+n <= b.share()
}

// over says whether a store that holds own bytes has to give some up.
func (b *Budget) over(own int64) bool { return b.used.Load() > b.limit && own > b.share() }

// homes is how large a store's table may be, 1/16 of its share of the memory
// at most: what is left are filters.
func (b *Budget) homes() int {
	homes := minSlots
	for homes < maxSlots && int64(2*homes)*slotBytes <= b.share()/16 {
		homes *= 2
	}
	return homes
}

func (b *Budget) share() int64 { return b.limit / max(b.stores.Load(), 1) }
