// Package deflate is the compressor of the appender's hot path: it turns a
// block of lines into deflate blocks (RFC 1951) that end at a byte boundary,
// so that blocks of one file can be made one by one, by whichever compressor
// is free, and lie one after the other in a gzip member.
//
// It is for text that repeats itself, such as events in JSON, and knows two
// levels: the fast one compresses a little better than gzip level 1 does elsewhere, the lazy
// one about as well as level 6, for a third more time. What it does
// differently: it reads the block and its window where they lie; its hash
// tables of 32 KiB stay in the first-level cache; and a Huffman code takes some
// microseconds, so that small blocks are not dear. pkg/segment/DESIGN.md has
// the measurements.
//
// It promises that what it returns inflates to the block, that equal input
// gives equal bytes, and never more than Bound of them. It does not write
// headers, checksums, or a last block.
package deflate

import "encoding/binary"

// MaxWindow is how far back matches may reach.
const MaxWindow = 32 << 10

// Bound is the most that n bytes take: stored blocks of at most 65,535 bytes,
// with 5 bytes each, and the sync flush.
func Bound(n int) int { return n + 5*(n/maxStored+1) + len(syncFlush) }

const maxStored = 65_535

// syncFlush is an empty stored block that begins at a byte boundary.
var syncFlush = [...]byte{0, 0, 0, 0xff, 0xff}

// Encoder compresses blocks, one at a time. It holds 200 KB and no state of a
// block; the zero value is ready to use.
type Encoder struct {
	// Lazy is whether it looks for better matches than the first that it finds:
	// what it writes is then about 15 % smaller. It may be changed between blocks.
	Lazy bool

	table [1 << tableBits]uint16 // hash of 6 bytes -> position, mod 65,536
	near  [1 << nearBits]uint16  // hash of 4 bytes, of a stream's first block
	pairs [1 << pairBits]uint32  // hash of 6 bytes -> the last two positions, mod 65,536
	seqs  [maxSeqs]seq
	n     int // of seqs
	lits  code
	dists code
	// lens are the codes of lengths, from 3 on, with their extra bits.
	lens [256]uint32
	header
}

// Append appends the lines b[window:] to dst, as whole blocks that end in a
// sync flush, and returns the extended slice. b[:window], at most MaxWindow
// bytes, is what precedes them in the same stream: matches may reach into it.
func (e *Encoder) Append(dst, b []byte, window int) []byte {
	if len(b) == window {
		return append(dst, syncFlush[:]...)
	}
	if e.Lazy {
		e.primePairs(b, window)
	} else {
		e.prime(b, window)
	}
	start, most := len(dst), Bound(len(b)-window)
	w := newBitWriter(dst, most)
	for at := window; at < len(b); {
		e.n = 0
		clear(e.lits.freq[:])
		clear(e.dists.freq[:])
		var next int
		if e.Lazy {
			next = e.lazy(b, at)
		} else {
			next = e.match(b, at)
		}
		if !e.encode(&w, b, at, start+most-len(syncFlush)) {
			return AppendStored(dst[:start], b[window:])
		}
		at = next
	}
	return w.flush()
}

// AppendStored appends the lines as they are, and a sync flush.
func AppendStored(dst, lines []byte) []byte {
	for len(lines) > 0 {
		n := min(len(lines), maxStored)
		dst = append(dst, 0)
		dst = binary.LittleEndian.AppendUint16(dst, uint16(n))
		dst = binary.LittleEndian.AppendUint16(dst, ^uint16(n))
		dst = append(dst, lines[:n]...)
		lines = lines[n:]
	}
	return append(dst, syncFlush[:]...)
}
