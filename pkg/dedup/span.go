package dedup

import "slices"

// span is the offsets from lo to hi-1.
type span struct{ lo, hi int64 }

func (a span) empty() bool { return a.lo >= a.hi }

// contains reports whether a contains all of b.
func (a span) contains(b span) bool { return b.empty() || a.lo <= b.lo && b.hi <= a.hi }

// touches reports whether a and b together are one span, without a gap.
func (a span) touches(b span) bool {
	return a.empty() || b.empty() || a.lo <= b.hi && b.lo <= a.hi
}

func (a span) join(b span) span {
	switch {
	case a.empty():
		return b
	case b.empty():
		return a
	}
	return span{min(a.lo, b.lo), max(a.hi, b.hi)}
}

// union returns the same offsets as the fewest disjoint spans, sorted.
func union(spans []span) []span {
	spans = slices.DeleteFunc(spans, span.empty)
	slices.SortFunc(spans, func(a, b span) int { return int(min(max(a.lo-b.lo, -1), 1)) })
	out := spans[:0]
	for _, s := range spans {
		if n := len(out); n > 0 && out[n-1].touches(s) {
			out[n-1] = out[n-1].join(s)
		} else {
			out = append(out, s)
		}
	}
	return out
}
