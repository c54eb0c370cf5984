package deflate

import "math/bits"

// pairBits makes a table of 32 KiB, too: of pairs of positions.
const pairBits = 13

// pairHash hashes the lowest 6 bytes.
func pairHash(u uint64) uint64 { return u * prime6 >> (64 - pairBits) }

// pushPosition makes i the newer position of a pair.
func pushPosition(pair *uint32, i int) { *pair = *pair<<16 | uint32(uint16(i)) }

// primePairs enters the window into the table.
func (e *Encoder) primePairs(b []byte, window int) {
	clear(e.pairs[:])
	for i := 0; i+2 < window && i+8 <= len(b); i += 4 {
		u := load(b, i)
		pushPosition(&e.pairs[pairHash(u)], i)
		pushPosition(&e.pairs[pairHash(u>>16)], i+2)
	}
}

// matchLazy is like match, but takes a match only if it finds nothing better: a longer match one
// byte later, or one that covers all but the first two bytes of it and continues where it ends.
//
// Mispredicted branches dominate the cost of matching. Therefore only the newer position of a pair
// is examined to find out whether a match begins, because mostly there is none. The search for a
// better match examines both, with one branch each.
func (e *Encoder) matchLazy(b []byte, at int) int {
	var (
		s     = at // position of the search
		lit   = at // start of the literals that are in no sequence yet
		limit = len(b) - margin
		near  = 0 // short matches count before this position
	)
	if at == 0 {
		clear(e.near[:])
		near = startBytes
	}
	for s < limit && e.nSeqs < fullSeqs {
		u := load(b, s)
		pair := &e.pairs[pairHash(u)]
		back, x := compare(b, s, uint16(*pair), u)
		pushPosition(pair, s)
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
		s = e.addBestMatch(b, lit, s, back, x)
		lit = s
		// Enter positions within a long match, so that later matches refer to this occurrence and
		// not to the first one, which will soon be out of reach.
		for i := from + 1; i < min(s, limit); i += 16 {
			pushPosition(&e.pairs[pairHash(load(b, i))], i)
		}
	}
	return e.endBlock(b, lit, s)
}

// addBestMatch is like addMatch, but takes a better match if there is one. As a separate function,
// it leaves the registers to the loop above, which most literal bytes go through.
func (e *Encoder) addBestMatch(b []byte, lit, s, back int, x uint64) (end int) {
	limit := len(b) - margin
	n := bits.TrailingZeros64(x) >> 3
	if x == 0 {
		n = 8 + equalBytes(b, s+8, s-back+8, min(len(b), s+maxExtend))
	}
	if s+n < limit {
		if m, far := e.longerMatch(b, s+1, s+1, s+1+max(0, n-7), n); m > 0 {
			s, n, back = s+1, m, far
		}
	}
	if end := s + n; end < limit && n < maxExtend { // so that a longer one stays within the room that fullSeqs leaves
		if m, far := e.longerMatch(b, s+2, end, s+2, n); m > 0 {
			s, n, back = s+2, m, far
		}
	}
	end = s + n
	if t := s - back; t >= 8 {
		s -= min(bits.LeadingZeros64(load(b, s-8)^load(b, t-8))>>3, s-lit)
	}
	e.addSequence(b[lit:s], end-s, back)
	return end
}

// longerMatch returns the length and distance of a match at s that is longer than n, or 0. It
// considers the matches that the table has for the 8 bytes at i and that also match the 8 bytes at
// j.
func (e *Encoder) longerMatch(b []byte, s, i, j, n int) (m, back int) {
	u, v := load(b, i), load(b, j)
	pair := e.pairs[pairHash(u)]
	for range 2 {
		back, x := compare(b, i, uint16(pair), u)
		pair >>= 16
		if back > s || x|(load(b, j-back)^v) != 0 {
			continue
		}
		if m := equalBytes(b, s, s-back, min(len(b), s+maxExtend)); m > n {
			return m, back
		}
	}
	return 0, 0
}
