// Package deflate is the compressor in the appender's hot path. It turns a block of lines into
// deflate blocks (RFC 1951) that end at a byte boundary. So the blocks of one file can be made one
// at a time, by whichever compressor is free, and then lie one after the other in a gzip member.
//
// It is made for repetitive text, such as events in JSON, and has two levels. The fast one
// compresses a little better than other implementations' gzip level 1. The lazy one compresses
// about as well as level 6, and takes a third more time than the fast one. It differs from others
// in three ways: it reads the block and its window in place; its hash tables of 32 KiB stay in the
// first-level cache; and building a Huffman code takes only some microseconds, so small blocks are
// cheap. DESIGN.md has the measurements.
//
// It promises that its output inflates to the block, that equal input gives equal bytes, and that
// the output is never larger than Bound. It does not write headers, checksums, or a last block.
package deflate

import (
	"encoding/binary"
	"slices"
)

// MaxWindow is how far back matches may reach, in bytes.
const MaxWindow = 32 << 10

// Bound is the largest output for n bytes: stored blocks of at most 65,535 bytes, with 5 bytes of
// overhead each, and the sync flush.
func Bound(n int) int { return n + 5*(n/maxStored+1) + len(syncFlush) }

const maxStored = 65_535

// syncFlush is an empty stored block that begins at a byte boundary.
var syncFlush = [...]byte{0, 0, 0, 0xff, 0xff}

// Encoder compresses blocks, one at a time. It takes 200 KB and keeps no state between blocks. The
// zero value is ready to use.
type Encoder struct {
	// Lazy makes the encoder look for better matches than the first that it finds; its output is
	// then about 15 % smaller. It may be changed between blocks.
	Lazy bool

	table [1 << tableBits]uint16 // hash of 6 bytes -> position, mod 65,536
	near  [1 << nearBits]uint16  // hash of 4 bytes, for a stream's first block
	pairs [1 << pairBits]uint32  // hash of 6 bytes -> the last two positions, mod 65,536
	seqs  [maxSeqs]seq
	nSeqs int
	lits  code
	dists code
	// lengthCodes holds the codes of lengths from 3 on, with their extra bits.
	lengthCodes [256]uint32
	headerScratch
}

// Append appends the lines b[window:] to dst, as whole blocks that end in a sync flush, and returns
// the extended slice. b[:window], at most MaxWindow bytes, is what precedes them in the same
// stream; matches may refer to it.
func (e *Encoder) Append(dst, b []byte, window int) []byte {
	if len(b) == window {
		return append(dst, syncFlush[:]...)
	}
	b = slices.Clip(b) // for load
	if e.Lazy {
		e.primePairs(b, window)
	} else {
		e.prime(b, window)
	}
	start, bound := len(dst), Bound(len(b)-window)
	w := newBitWriter(dst, bound)
	for at := window; at < len(b); {
		e.nSeqs = 0
		clear(e.lits.freq[:])
		clear(e.dists.freq[:])
		var next int
		if e.Lazy {
			next = e.matchLazy(b, at)
		} else {
			next = e.match(b, at)
		}
		if !e.encodeBlock(&w, b, at, start+bound-len(syncFlush)) {
			return AppendStored(dst[:start], b[window:])
		}
		at = next
	}
	return w.flush()
}

// AppendStored appends the lines uncompressed, and a sync flush.
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
