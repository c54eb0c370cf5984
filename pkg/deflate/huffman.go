package deflate

import (
	"math/bits"
	"slices"
)

const (
	endOfBlock = 256
	// maxBits limits a code; deflate allows 15. With 12, four literals, or a length and a distance,
	// fit into a bit writer.
	maxBits       = 12
	maxHeaderBits = 7
)

// code is a Huffman code of up to 286 symbols.
type code struct {
	freq [286]uint32
	bits [286]uint8  // 0: unused
	enc  [286]uint32 // reversed code | bits << 16, of the used symbols

	used   [286]uint32 // frequency << 9 | symbol, of the used symbols
	sorted [286]uint32 // the same, the rarest first
	nodes  [286]uint32 // frequencies of inner nodes
	parent [286]uint16 // of inner nodes; later their depths
}

// sort returns the used ones of the first n symbols, at least two, in their order and the rarest
// first. Most have small frequencies, so their places are found by counting. In a small block, most
// symbols are not used, so these are left out before that.
func (c *code) sort(n int) (used, sorted []uint32) {
	const large = 96
	nUsed := 0
	for i, f := range c.freq[:n] {
		c.used[nUsed] = f<<9 | uint32(i)
		nUsed += int(min(f, 1))
	}
	switch nUsed { // some decoders refuse codes with fewer than two symbols
	case 0:
		c.used[0], c.used[1] = 0, 1
	case 1:
		if only := c.used[0]; only&(1<<9-1) > 0 {
			c.used[0], c.used[1] = 0, only
		} else {
			c.used[1] = 1
		}
	}
	used = c.used[:max(nUsed, 2)]
	sorted = c.sorted[:len(used)]
	var at [large + 1]uint16
	for _, u := range used {
		at[min(u>>9, large)]++
	}
	before := uint16(0)
	for f, n := range at {
		at[f] = before
		before += n
	}
	often := at[large]
	for _, u := range used {
		k := &at[min(u>>9, large)]
		sorted[*k] = u
		*k++
	}
	slices.Sort(sorted[often:])
	return used, sorted
}

// build makes the code for the frequencies of the first n symbols, and returns how many bits all
// symbols take with it. It has at least two symbols, of at most most bits each.
//
// A tree is built from the sorted frequencies with two queues. Only the number of symbols at each
// depth matters; where a tree is too deep, inner nodes move up to where there is room.
func (c *code) build(n, most int) (size int) {
	clear(c.bits[:n])
	used, sorted := c.sort(n)
	leaf, node := 0, 0
	for made := range len(used) - 1 {
		sum := uint32(0)
		for range 2 {
			if leaf < len(sorted) && (node == made || sorted[leaf]>>9 <= c.nodes[node]) {
				sum += sorted[leaf] >> 9
				leaf++
			} else {
				sum += c.nodes[node]
				c.parent[node] = uint16(made)
				node++
			}
		}
		c.nodes[made] = sum
	}
	var at [maxBits + 2]int // symbols by bits
	root := len(used) - 2
	at[1] = 2
	c.parent[root] = 0
	for i := root - 1; i >= 0; i-- {
		depth := c.parent[c.parent[i]] + 1
		c.parent[i] = depth
		d := min(int(depth), most-1)
		for at[d] == 0 {
			d--
		}
		at[d]--
		at[d+1] += 2
	}
	next := 0
	for b := most; b > 0; b-- { // the rarest get the most bits
		for range at[b] {
			c.bits[sorted[next]&(1<<9-1)] = uint8(b)
			next++
		}
	}
	var first [16]uint16 // first code of each length
	for b := 1; b <= most; b++ {
		first[b+1] = (first[b] + uint16(at[b])) << 1
	}
	for _, u := range used {
		i := u & (1<<9 - 1)
		b := c.bits[i] & 15
		c.enc[i] = uint32(bits.Reverse16(first[b])>>(16-b)) | uint32(b)<<16
		first[b]++
		size += int(c.freq[i]) * int(b) // u has only the frequency's lowest 23 bits
	}
	return size
}
