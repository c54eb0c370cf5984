package segment

import "sync/atomic"

// Budget bounds the bytes that the open files of all spools of a process hold
// in memory. It is safe for concurrent use.
type Budget struct {
	limit  int64
	used   atomic.Int64
	spools atomic.Int64
}

// NewBudget returns a budget of limit bytes.
func NewBudget(limit int64) *Budget { return &Budget{limit: limit} }

// Used returns the number of bytes held now.
func (b *Budget) Used() int64 { return b.used.Load() }

// over reports whether a spool that holds own bytes has to make room: all spools together are over
// the limit, and this one is over its even share. If the total is over, at least one spool is over
// its share. So some spool always makes room, in Append or EnforceBudget, and it is never one that
// holds little.
func (b *Budget) over(own int64) bool {
	return b.used.Load() > b.limit && own > b.share()
}

// share is a spool's even part of the limit.
func (b *Budget) share() int64 { return b.limit / max(b.spools.Load(), 1) }
