package dedup

import (
	"math"
	"math/bits"
)

// filter tells which keys a run does not hold. It is a Bloom filter in blocks of one cache line, so
// that a lookup costs one cache miss. A key's block is given by its first bits, so blocks can be
// written in order of the keys.
type filter []uint64

const (
	blockWords = 8
	blockBits  = 64 * blockWords
	probes     = 6

	// With bitsPerKey, 0.7 % of the keys that a run does not hold pass the filter; with coarseBits,
	// used when memory is short, 3 %.
	bitsPerKey = 12
	coarseBits = 8
)

func filterBlocks(keys, bitsPerKey int) int { return max(1, keys*bitsPerKey/blockBits) }

// has reports whether the key may be in the run. It does not branch on bits, so that the cache
// misses of several filters overlap.
func (f filter) has(k Key) bool {
	b := (*[blockWords]uint64)(f[f.block(k):])
	x := k.probes()
	return b[x>>6&7]>>(x&63)&
		(b[x>>15&7]>>(x>>9&63))&
		(b[x>>24&7]>>(x>>18&63))&
		(b[x>>33&7]>>(x>>27&63))&
		(b[x>>42&7]>>(x>>36&63))&
		(b[x>>51&7]>>(x>>45&63))&1 != 0
}

// block returns the index at which the key's block begins.
func (f filter) block(k Key) int {
	p, _ := bits.Mul64(k.hi, uint64(len(f)/blockWords))
	return int(p) * blockWords
}

// block is one block of a filter that is being made.
type block [blockWords]uint64

func (b *block) add(k Key) {
	x := k.probes()
	for range probes {
		b[x>>6&7] |= 1 << (x & 63)
		x >>= 9
	}
}

// probes returns 54 bits, nine per probe, that are independent of the block.
func (k Key) probes() uint64 { return uint64(k.lo)<<32 | k.hi&math.MaxUint32 }
