package deflate

import (
	"math/bits"
	"slices"
)

const (
	endOfBlock = 256
	// maxBits of a code; deflate allows 15. Four literals, or a length and a
	// distance, then fit what a bit writer holds.
	maxBits       = 12
	maxHeaderBits = 7
)

// code is a Huffman code of up to 286 symbols.
type code struct {
	freq [286]uint32
	bits [286]uint8  // 0: is not used
	enc  [286]uint32 // reversed code | bits << 16

	sorted [286]uint32 // frequency << 9 | symbol, of those that are used
	nodes  [286]uint32 // frequencies of inner nodes
	parent [286]uint16 // of inner nodes, then their depths
}

// build makes the code of the first n symbols' frequencies, of at least two
// symbols, with at most most bits each.
//
// A tree is made of the sorted frequencies by the two queues; only how many
// symbols are how deep matters, and where that is too deep, inner nodes move
// up to where there is room.
func (c *code) build(n, most int) {
	used := c.sorted[:0]
	for i, f := range c.freq[:n] {
		c.bits[i] = 0
		if f > 0 {
			used = append(used, f<<9|uint32(i))
		}
	}
	for i := 0; len(used) < 2; i++ { // some readers refuse codes of fewer
		if c.freq[i] == 0 {
			used = append(used, uint32(i))
		}
	}
	slices.Sort(used)
	leaf, node := 0, 0
	for made := range len(used) - 1 {
		sum := uint32(0)
		for range 2 {
			if leaf < len(used) && (node == made || used[leaf]>>9 <= c.nodes[node]) {
				sum += used[leaf] >> 9
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
	for b := most; b > 0; b-- { // the rarest have most bits
		for range at[b] {
			c.bits[used[next]&(1<<9-1)] = uint8(b)
			next++
		}
	}
	var first [maxBits + 2]uint16
	for b := 1; b <= most; b++ {
		first[b+1] = (first[b] + uint16(at[b])) << 1
	}
	for i, b := range c.bits[:n] {
		if b > 0 {
			c.enc[i] = uint32(bits.Reverse16(first[b])>>(16-b)) | uint32(b)<<16
			first[b]++
		}
	}
}
