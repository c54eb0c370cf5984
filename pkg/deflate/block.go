package deflate

import "encoding/binary"

// headerScratch is scratch space for a block's header: the code lengths of both codes, run-length
// encoded.
type headerScratch struct {
	runs code
	syms [286 + 30]uint16 // symbol | extra bits << 8
}

// runOrder is the order in which the lengths of the run code are written.
var runOrder = [...]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// encodeBlock writes the sequences as one block with its own codes. It returns false, and writes
// nothing, if the output would exceed limit.
func (e *Encoder) encodeBlock(w *bitWriter, b []byte, at, limit int) bool {
	size := e.lits.build(286, maxBits) + e.dists.build(30, maxBits)
	nLits, nDists := 286, 30
	for nLits > 257 && e.lits.bits[nLits-1] == 0 {
		nLits--
	}
	for nDists > 1 && e.dists.bits[nDists-1] == 0 {
		nDists--
	}
	syms := e.runLengths(nLits, nDists)
	nRuns := len(runOrder)
	for nRuns > 4 && e.runs.bits[runOrder[nRuns-1]] == 0 {
		nRuns--
	}
	size += 3 + 5 + 5 + 4 + 3*nRuns
	for _, s := range syms {
		size += int(e.runs.bits[s&0xff]) + runExtra(s&0xff)
	}
	for i := 265; i < min(nLits, 285); i++ {
		size += int(e.lits.freq[i]) * ((i - 261) / 4)
	}
	for i := 4; i < nDists; i++ {
		size += int(e.dists.freq[i]) * (i/2 - 1)
	}
	if w.at+(w.n+uint(size)+7)/8 > uint(limit) {
		return false
	}

	w.add(2<<1, 3) // dynamic codes, not the last block
	w.add(uint64(nLits-257), 5)
	w.add(uint64(nDists-1), 5)
	w.add(uint64(nRuns-4), 4)
	w.spill()
	for _, s := range runOrder[:nRuns] {
		w.add(uint64(e.runs.bits[s]), 3)
		w.spill()
	}
	for _, s := range syms {
		c := e.runs.enc[s&0xff]
		w.add(uint64(c&0xffff), uint(c>>16))
		w.add(uint64(s>>8), uint(runExtra(s&0xff)))
		w.spill()
	}
	for i := range e.lengthCodes {
		if int(lengthSymbol[i]) >= nLits { // the block has no longer matches
			break
		}
		c, x := e.lits.enc[lengthSymbol[i]], lengthExtra[i]
		e.lengthCodes[i] = c&0xffff | (x&0xff)<<(c>>16) | (c>>16+x>>8)<<24
	}
	e.writeSequences(w, b, at)
	return true
}

// writeSequences writes the sequences. After a spill, less than 8 bits are pending.
func (e *Encoder) writeSequences(w *bitWriter, b []byte, at int) {
	acc, n, out, p := w.acc, w.n, w.out, w.at
	for i := range e.seqs[:e.nSeqs] {
		q := e.seqs[i]
		if q.literals > 0 {
			end := at + int(q.literals)
			for ; at+4 <= end; at += 4 {
				l := b[at : at+4]
				c0, c1, c2, c3 := e.lits.enc[l[0]], e.lits.enc[l[1]], e.lits.enc[l[2]], e.lits.enc[l[3]]
				acc |= uint64(c0&0xffff) << (n & 63)
				n += uint(c0 >> 16)
				acc |= uint64(c1&0xffff) << (n & 63)
				n += uint(c1 >> 16)
				acc |= uint64(c2&0xffff) << (n & 63)
				n += uint(c2 >> 16)
				acc |= uint64(c3&0xffff) << (n & 63)
				n += uint(c3 >> 16)
				binary.LittleEndian.PutUint64(out[p:p+8], acc)
				p += n >> 3
				acc >>= n &^ 7 & 63
				n &= 7
			}
			for ; at < end; at++ { // 3 at most: 36 bits
				c := e.lits.enc[b[at]]
				acc |= uint64(c&0xffff) << (n & 63)
				n += uint(c >> 16)
			}
			binary.LittleEndian.PutUint64(out[p:p+8], acc)
			p += n >> 3
			acc >>= n &^ 7 & 63
			n &= 7
			if q.length == 0 {
				continue
			}
		}
		at += int(q.length)
		l := e.lengthCodes[uint8(q.length-minMatch)] // 17 bits at most
		acc |= uint64(l&(1<<24-1)) << (n & 63)
		n += uint(l >> 24)
		dc := distCode(q.dist)
		d := e.dists.enc[dc&31] // 12 at most, and 13 extra
		acc |= uint64(d&0xffff) << (n & 63)
		n += uint(d >> 16)
		if dc >= 4 {
			x := uint(dc>>1-1) & 15
			acc |= uint64(q.dist&(1<<x-1)) << (n & 63)
			n += x
		}
		binary.LittleEndian.PutUint64(out[p:p+8], acc)
		p += n >> 3
		acc >>= n &^ 7 & 63
		n &= 7
	}
	w.acc, w.n, w.at = acc, n, p
	c := e.lits.enc[endOfBlock]
	w.add(uint64(c&0xffff), uint(c>>16))
	w.spill()
}

// runLengths returns the code lengths of both codes, run-length encoded, and builds the code for
// these runs.
func (e *Encoder) runLengths(nLits, nDists int) []uint16 {
	clear(e.runs.freq[:19])
	var all [286 + 30]uint8
	copy(all[:], e.lits.bits[:nLits])
	copy(all[nLits:], e.dists.bits[:nDists])
	syms := e.syms[:0]
	add := func(symbol, extra int) {
		e.runs.freq[symbol]++
		syms = append(syms, uint16(symbol|extra<<8))
	}
	lengths := all[:nLits+nDists]
	for len(lengths) > 0 {
		same := 1
		for same < len(lengths) && lengths[same] == lengths[0] {
			same++
		}
		b := int(lengths[0])
		lengths = lengths[same:]
		for b == 0 && same >= 3 {
			n := min(same, 138)
			if n <= 10 {
				add(17, n-3)
			} else {
				add(18, n-11)
			}
			same -= n
		}
		if b > 0 {
			add(b, 0)
			same--
			for same >= 3 {
				n := min(same, 6)
				add(16, n-3)
				same -= n
			}
		}
		for range same {
			add(b, 0)
		}
	}
	e.runs.build(19, maxHeaderBits)
	return syms
}

// runExtra returns the number of extra bits after a symbol of the run code.
func runExtra(symbol uint16) int {
	switch symbol {
	case 16:
		return 2
	case 17:
		return 3
	case 18:
		return 7
	}
	return 0
}

// bitWriter appends bits, lowest first.
type bitWriter struct {
	out []byte // of full capacity
	at  uint   // bytes of out that are written
	acc uint64
	n   uint // bits in acc
}

// newBitWriter returns a writer with room for n bytes after dst.
func newBitWriter(dst []byte, n int) bitWriter {
	need := len(dst) + n + 8 // whole words are written
	if cap(dst) < need {
		dst = append(make([]byte, 0, need), dst...)
	}
	return bitWriter{out: dst[:need], at: uint(len(dst))}
}

// add adds n bits; at most 56 between two spills.
func (w *bitWriter) add(v uint64, n uint) {
	w.acc |= v << (w.n & 63)
	w.n += n
}

// spill writes whole bytes.
func (w *bitWriter) spill() {
	binary.LittleEndian.PutUint64(w.out[w.at:w.at+8], w.acc)
	w.at += w.n >> 3
	w.acc >>= w.n &^ 7 & 63
	w.n &= 7
}

// flush ends at a byte boundary with an empty stored block.
func (w *bitWriter) flush() []byte {
	w.add(0, 3)
	w.n = (w.n + 7) &^ 7
	w.spill()
	return append(w.out[:w.at], syncFlush[1:]...)
}
