package deflate

import (
	"encoding/binary"
	"math/bits"
)

const (
	tableBits = 14
	nearBits  = 13
	// maxSeqs limits the sequences of one block; 128 KiB of typical lines make 5,000.
	maxSeqs = 12 << 10
	// fullSeqs is when a block ends: one more step of a search may still add long matches, with one
	// sequence for each maxMatch bytes.
	fullSeqs = maxSeqs - 2 - 2*maxExtend/maxMatch
	maxMatch = 258
	minMatch = 3
	// startBytes is how much of a stream's first block is searched more closely.
	startBytes = 8 << 10
	// margin is how far from the end matches must begin, so that 8-byte loads stay in bounds.
	margin = 12
)

// seq is a run of literals and the match after it. length is 0 for the run at the end of a block.
type seq struct {
	literals uint32
	length   uint16
	dist     uint16 // minus 1
}

// prime6 is a prime, shifted so that only the lowest 6 bytes of the factor affect the upper bits of
// the product.
const prime6 = 227718039650203 << 16 & (1<<64 - 1)

// load returns the 8 bytes at i. Compared with b[i:], b[i:i+8] saves the instructions that keep a
// pointer from lying past the end of b, and candidates' addresses wait for these.
func load(b []byte, i int) uint64 { return binary.LittleEndian.Uint64(b[i : i+8]) }

// hash hashes the lowest 6 bytes. Hashing fewer would find more matches, but then short matches
// nearby hide long ones far away, and lines repeat whole fields.
func hash(u uint64) uint64 { return u * prime6 >> (64 - tableBits) }

// nearHash hashes the lowest 4 bytes.
func nearHash(u uint64) uint32 { return uint32(u) * 2654435761 >> (32 - nearBits) }

// prime enters the window into the hash table.
func (e *Encoder) prime(b []byte, window int) {
	clear(e.table[:])
	for i := 0; i+2 < window && i+8 <= len(b); i += 4 {
		u := load(b, i)
		e.table[hash(u)] = uint16(i)
		e.table[hash(u>>16)] = uint16(i + 2)
	}
}

// match finds the sequences of one block of the lines b[at:], counts their
// symbols, and returns where the block ends.
func (e *Encoder) match(b []byte, at int) int {
	var (
		s     = at // position of the search
		lit   = at // start of the literals that are in no sequence yet
		limit = len(b) - margin
	)
	if at == 0 {
		s, lit = e.matchStart(b, min(limit, startBytes))
	}
	for s < limit && e.nSeqs < fullSeqs {
		u := load(b, s)
		entry := &e.table[hash(u)]
		back, x := compare(b, s, *entry, u)
		*entry = uint16(s)
		if uint32(x) != 0 {
			s += 1 + (s-lit)>>5
			continue
		}
		s = e.addMatch(b, lit, s, back, x)
		lit = s
		// What begins shortly before the end of a match is likely to occur again.
		if s < limit {
			e.table[hash(load(b, s-2))] = uint16(s - 2)
		}
	}
	return e.endBlock(b, lit, s)
}

// endBlock ends a block at s, or at the end of all lines if s is near it, and returns where it
// ends.
func (e *Encoder) endBlock(b []byte, lit, s int) int {
	if s >= len(b)-margin {
		s = len(b)
	}
	if s > lit {
		e.countLiterals(b[lit:s])
		e.seqs[e.nSeqs] = seq{literals: uint32(s - lit)}
		e.nSeqs++
	}
	e.lits.freq[endOfBlock] = 1
	return s
}

// matchStart finds the sequences of a stream's first bytes, where there is little to refer back to.
// It takes short matches too, unless a long one begins one byte later; this is what makes small
// files small. It returns the position of the search and the end of the last match.
func (e *Encoder) matchStart(b []byte, until int) (s, lit int) {
	clear(e.near[:])
	for s < until {
		u := load(b, s)
		far, near := &e.table[hash(u)], &e.near[nearHash(u)&(1<<nearBits-1)]
		entry := *far
		back, x := compare(b, s, *near, u)
		*far, *near = uint16(s), uint16(s)
		if uint32(x) != 0 { // then a match of 6 bytes hardly ever exists either
			s += 1 + (s-lit)>>5
			continue
		}
		if long, y := compare(b, s, entry, u); uint32(y) == 0 {
			back, x = long, y
		} else {
			u = load(b, s+1)
			if long, y := compare(b, s+1, e.table[hash(u)], u); uint32(y) == 0 {
				s, back, x = s+1, long, y
			}
		}
		s = e.addMatch(b, lit, s, back, x)
		lit = s
		if s < until {
			u := load(b, s-2)
			e.table[hash(u)] = uint16(s - 2)
			e.near[nearHash(u)&(1<<nearBits-1)] = uint16(s - 2)
			e.near[nearHash(u>>8)&(1<<nearBits-1)] = uint16(s - 1)
		}
	}
	return s, lit
}

// compare returns how far the position in a table entry lies before s, and the XOR of the 8 bytes
// there with u, the 8 bytes at s. If the position is out of reach, the lowest bit of x is set.
// Tables contain only positions before s, and 0.
func compare(b []byte, s int, entry uint16, u uint64) (back int, x uint64) {
	d := uint32(uint16(s) - entry)
	return int(d), (load(b, s-int(d)) ^ u) | uint64((d-1)&(1<<15)) // a distance of 0 is out of reach, too
}

// addMatch adds a match at s whose first 8 bytes differ by x. It extends the match forward as far
// as it goes and up to 8 bytes backward, adds the literals since lit before it, and returns its
// end.
func (e *Encoder) addMatch(b []byte, lit, s, back int, x uint64) (end int) {
	end = s + bits.TrailingZeros64(x)>>3
	if x == 0 {
		end = s + 8 + equalBytes(b, s+8, s+8-back, min(len(b), s+maxExtend))
	}
	if t := s - back; t >= 8 {
		s -= min(bits.LeadingZeros64(load(b, s-8)^load(b, t-8))>>3, s-lit)
	}
	e.addSequence(b[lit:s], end-s, back)
	return end
}

// maxExtend is how far one match is followed.
const maxExtend = 16 * maxMatch

// equalBytes returns how many bytes at s and t are equal, up to s reaching end. t is before s.
func equalBytes(b []byte, s, t, end int) int {
	x := b[s:end]
	y := b[t:][:len(x)]
	n := 0
	for n+16 <= len(x) {
		d, c := load(x, n)^load(y, n), load(x, n+8)^load(y, n+8)
		if d|c != 0 { // where they differ is found without a branch, which would often be mispredicted
			k := bits.TrailingZeros64(d) >> 3 // 8 if d is 0
			return n + k + bits.TrailingZeros64(c)>>3&-(k>>3)
		}
		n += 16
	}
	for n < len(x) && x[n] == y[n] {
		n++
	}
	return n
}

// addSequence adds a sequence, or several if the match is long.
func (e *Encoder) addSequence(literals []byte, length, back int) {
	e.countLiterals(literals)
	lits := uint32(len(literals))
	dist := uint16(back - 1)
	dc := distCode(dist)
	if length <= maxMatch { // nearly always true; the loop would do the same with more branches
		e.lits.freq[lengthSymbol[uint8(length-minMatch)]]++
		e.dists.freq[dc&31]++
		e.seqs[e.nSeqs] = seq{literals: lits, length: uint16(length), dist: dist}
		e.nSeqs++
		return
	}
	for length > 0 {
		n := min(length, maxMatch)
		if rest := length - n; rest > 0 && rest < minMatch { // the rest has to be a match, too
			n -= minMatch
		}
		length -= n
		e.lits.freq[lengthSymbol[uint8(n-minMatch)]]++
		e.dists.freq[dc&31]++
		e.seqs[e.nSeqs] = seq{literals: lits, length: uint16(n), dist: dist}
		e.nSeqs++
		lits = 0
	}
}

func (e *Encoder) countLiterals(b []byte) {
	for _, c := range b {
		e.lits.freq[c]++
	}
}

// distCode returns the symbol of a distance, given minus 1.
func distCode(d uint16) uint32 {
	if d < 4 {
		return uint32(d)
	}
	n := uint32(bits.Len16(d))
	return (n-1)*2 + uint32(d)>>(n-2)&1
}

var (
	lengthSymbol [256]uint16 // by length minus 3
	lengthExtra  [256]uint32 // extra bits | their number << 8
)

func init() {
	base, symbol := 0, 257
	for extra := range 6 {
		symbols := 4 // symbols with that many extra bits
		if extra == 0 {
			symbols = 8
		}
		for range symbols {
			for i := range 1 << extra {
				if base+i < 256 {
					lengthSymbol[base+i], lengthExtra[base+i] = uint16(symbol), uint32(i|extra<<8)
				}
			}
			base += 1 << extra
			symbol++
		}
	}
	lengthSymbol[255], lengthExtra[255] = 285, 0 // 258 has a symbol of its own
}
