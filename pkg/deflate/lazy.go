package deflate

import "math/bits"

// pairBits make a table of 32 KiB, too: of pairs of positions.
const pairBits = 13

// pairHash is that of the lowest 6 bytes.
func pairHash(u uint64) uint32 {
	return uint32(u * prime6 >> (64 - pairBits) & (1<<pairBits - 1))
}

// push makes position i the newer one of a pair.
func push(pair *uint32, i int) { *pair = *pair<<16 | uint32(uint16(i)) }

// primePairs makes the window known.
func (e *Encoder) primePairs(b []byte, window int) {
	clear(e.pairs[:])
	for i := 0; i+2 < window && i+8 <= len(b); i += 4 {
		u := load(b, i)
		push(&e.pairs[pairHash(u)], i)
		push(&e.pairs[pairHash(u>>16)], i+2)
	}
}

// lazy is match, but takes what it finds only if there is nothing better: a
// longer match a byte later, or one that covers all but the first two bytes of it
// and goes on where it ends.
//
// Mispredicted branches are most of what matching costs, so where a match may
// begin, only the newer position of a pair is looked at: there, most have none. What is
// better is asked of both, each time with one branch.
func (e *Encoder) lazy(b []byte, at int) int {
	var (
		s     = at // looked at
		lit   = at // begin of the literals that are in no sequence yet
		limit = len(b) - margin
		near  = 0 // short matches count before it
	)
	if at == 0 {
		clear(e.near[:])
		near = beginBytes
	}
	for s < limit && e.n < fullSeqs {
		u := load(b, s)
		pair := &e.pairs[pairHash(u)]
		back, x := compare(b, s, uint16(*pair), u)
		push(pair, s)
		if uint32(x) != 0 {
			if s >= near {
				s += 1 + (s-lit)>>5
				continue
			}
			short := &e.near[nearHash(u)&(1<<nearBits-1)]
			back, x = compare(b, s, *short, u)
			*short = uint16(s)
			if uint32(x) != 0 {
				s += 1 + (s-lit)>>6
				continue
			}
		}
		from := s
		s = e.takeBest(b, lit, s, back, x)
		lit = s
		// A match in long blocks is to be known again from here, not from where
		// it was seen first, which is out of reach before long.
		for i := from + 1; i < min(s, limit); i += 16 {
			push(&e.pairs[pairHash(load(b, i))], i)
		}
	}
	return e.end(b, lit, s)
}

// takeBest is take, but for what is better, if something is. In a function of its own it
// leaves the loop above, which most bytes of literals go through, the registers.
func (e *Encoder) takeBest(b []byte, lit, s, back int, x uint64) (end int) {
	limit := len(b) - margin
	n := bits.TrailingZeros64(x) >> 3
	if x == 0 {
		n = 8 + extend(b, s+8, s-back+8, min(len(b), s+maxLong))
	}
	if s+n < limit {
		if m, far := e.longer(b, s+1, s+1, s+1+max(0, n-7), n); m > 0 {
			s, n, back = s+1, m, far
		}
	}
	if end := s + n; end < limit && n < maxLong { // so that a longer one is below what maxSeqs has room for
		if m, far := e.longer(b, s+2, end, s+2, n); m > 0 {
			s, n, back = s+2, m, far
		}
	}
	end = s + n
	if t := s - back; t >= 8 {
		s -= min(bits.LeadingZeros64(load(b, s-8)^load(b, t-8))>>3, s-lit)
	}
	e.add(b[lit:s], end-s, back)
	return end
}

// longer returns the length, above n, and the distance of a match of s, or 0: of
// those that are known by the 8 bytes at i and have those at j as well.
func (e *Encoder) longer(b []byte, s, i, j, n int) (m, back int) {
	u, v := load(b, i), load(b, j)
	pair := e.pairs[pairHash(u)]
	for range 2 {
		back, x := compare(b, i, uint16(pair), u)
		pair >>= 16
		if back > s || x|(load(b, j-back)^v) != 0 {
			continue
		}
		if m := extend(b, s, s-back, min(len(b), s+maxLong)); m > n {
			return m, back
		}
	}
	return 0, 0
}
