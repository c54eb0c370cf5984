package dedup

import "sync/atomic"

// DefaultMemory bounds the memory of all stores of a process: 256 MiB.
const DefaultMemory = 256 << 20

// Budget bounds the bytes that all stores of a process hold in memory. It is safe for concurrent
// use.
//
// If others want their share, a store that holds more than its own gives up the excess at its next
// checkpoint; until then the bound may be exceeded.
type Budget struct {
	limit  int64
	used   atomic.Int64
	stores atomic.Int64
}

// NewBudget returns a budget of limit bytes.
func NewBudget(limit int64) *Budget { return &Budget{limit: limit} }

// allows reports whether a store that holds own bytes may hold n more: there is room for all, or
// the store stays within its even share. A quarter of the budget is reserved for merges, whose
// output needs memory while their inputs are still in use.
func (b *Budget) allows(own, n int64) bool {
	return b.used.Load()+n <= b.limit/4*3 || own+n <= b.share()/4*3
}

func (b *Budget) allowsMerge(own, n int64) bool {
	return b.used.Load()+n <= b.limit || own+n <= b.share()
}

// over reports whether a store that holds own bytes has to give up some.
func (b *Budget) over(own int64) bool { return b.used.Load() > b.limit && own > b.share() }

// homes returns the size of a store's table, at most 1/16 of its share of the memory: the rest is
// for filters.
func (b *Budget) homes() int {
	homes := minSlots
	for homes < maxSlots && int64(2*homes)*slotBytes <= b.share()/16 {
		homes *= 2
	}
	return homes
}

func (b *Budget) share() int64 { return b.limit / max(b.stores.Load(), 1) }
