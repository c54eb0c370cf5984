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
	enc  [286]uint32 // reversed code | bits << 16

	sorted [286]uint32 // frequency << 9 | symbol, of the used symbols
	nodes  [286]uint32 // frequencies of inner nodes
	parent [286]uint16 // of inner nodes; later their depths
}

// sort returns the used ones of the first n symbols, at least two, the rarest first. Most have
// small frequencies, so their places are found by counting.
func (c *code) sort(n int) []uint32 {
	const large = 96
	var at [large + 2]uint16
	for _, f := range c.freq[:n] {
		at[min(f, large)+1]++
	}
	first := int(at[1]) // symbols with frequency 0 come before it
	for f := range large {
		at[f+1] += at[f]
	}
	often := at[large]
	for i, f := range c.freq[:n] {
		k := &at[min(f, large)]
		c.sorted[*k] = f<<9 | uint32(i)
		*k++
	}
	slices.Sort(c.sorted[often:n])
	for i := 0; n-first < 2; i++ { // some decoders refuse codes with fewer
		if c.freq[i] == 0 {
			first--
			c.sorted[first] = uint32(i)
		}
	}
	return c.sorted[first:n]
}

// build makes the code for the frequencies of the first n symbols. It has at least two symbols, of
// at most most bits each.
//
// A tree is built from the sorted frequencies with two queues. Only the number of symbols at each
// depth matters; where a tree is too deep, inner nodes move up to where there is room.
func (c *code) build(n, most int) {
	clear(c.bits[:n])
	used := c.sort(n)
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
	for b := most; b > 0; b-- { // the rarest get the most bits
		for range at[b] {
			c.bits[used[next]&(1<<9-1)] = uint8(b)
			next++
		}
	}
	var first [16]uint16 // first code of each length; unused symbols have length 0
	for b := 1; b <= most; b++ {
		first[b+1] = (first[b] + uint16(at[b])) << 1
	}
	for i, b := range c.bits[:n] {
		c.enc[i] = uint32(bits.Reverse16(first[b&15])>>(16-b)) | uint32(b)<<16
		first[b&15]++
	}
}
