package collector

import "sync/atomic"

// budget bounds the bytes in flight.
type budget struct {
	max  int64
	used atomic.Int64
}

// grant is what one request holds of a budget. One goroutine uses it at a
// time.
type grant struct {
	budget *budget
	bytes  int64
}

// resize takes or gives back bytes so that the grant holds that many; if there is no room, it
// returns false and changes nothing.
func (g *grant) resize(bytes int64) bool {
	more := bytes - g.bytes
	if used := g.budget.used.Add(more); more > 0 && used > g.budget.max {
		g.budget.used.Add(-more)
		return false
	}
	g.bytes = bytes
	return true
}

// transfer moves all of it to the returned grant, which its new owner has to release.
func (g *grant) transfer() *grant {
	to := *g
	g.bytes = 0
	return &to
}

func (g *grant) release() { g.resize(0) }
