package segment

import (
	"math/bits"
	"slices"
)

// buffer holds lines in pieces from a freeList. It grows without copying what it holds: a copy would
// find neither source nor destination in the CPU's caches.
type buffer struct {
	pieces [][]byte // those before curr are full, those after it are empty
	curr   int      // the piece that is written to
	len    int      // bytes in all pieces
	cap    int      // capacity of all pieces
}

// newline ends every line.
var newline = []byte("\n")

// writeLine appends the line and a newline, and returns by how much the buffer's capacity grew.
func (b *buffer) writeLine(free *freeList, line []byte) (grown int) {
	if b.curr < len(b.pieces) {
		if p := b.pieces[b.curr]; len(line) < cap(p)-len(p) {
			b.pieces[b.curr] = append(append(p, line...), '\n')
			b.len += len(line) + 1
			return 0
		}
	}
	return b.write(free, line) + b.write(free, newline)
}

// write appends p, and returns by how much the buffer's capacity grew.
func (b *buffer) write(free *freeList, p []byte) (grown int) {
	before := b.cap
	for b.len += len(p); len(p) > 0; {
		if b.curr == len(b.pieces) {
			// At most half of what there is, as a power of two.
			piece := free.get(max(len(p), 1<<bits.Len(uint(b.cap/2))/2))
			b.pieces = append(b.pieces, piece)
			b.cap += cap(piece)
		}
		piece := b.pieces[b.curr]
		n := min(len(p), cap(piece)-len(piece))
		b.pieces[b.curr] = append(piece, p[:n]...)
		if p = p[n:]; len(p) > 0 {
			b.curr++
		}
	}
	return b.cap - before
}

// appendTo appends everything from byte number from on to dst.
func (b *buffer) appendTo(dst []byte, from int) []byte {
	dst = slices.Grow(dst, b.len-from)
	for _, piece := range b.pieces {
		skip := min(from, len(piece))
		from -= skip
		dst = append(dst, piece[skip:]...)
	}
	return dst
}

// reset empties the buffer.
func (b *buffer) reset() {
	for i, piece := range b.pieces {
		b.pieces[i] = piece[:0]
	}
	b.curr, b.len = 0, 0
}

// release empties the buffer and gives its memory to the free list, up to its limit.
func (b *buffer) release(free *freeList, limit int64) {
	for _, piece := range b.pieces {
		free.put(piece, limit)
	}
	*b = buffer{}
}
