package segment

import (
	"bytes"
	"sync"

	"github.com/klauspost/compress/flate"

	"github.com/sealift/sealift/pkg/deflate"
)

// A gzip member as this package writes it: a fixed header, deflate blocks that
// each end at a byte boundary (a sync flush), an empty final block, CRC-32 and
// length. Zero time and no name: equal content gives equal bytes.
var gzipHeader = []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff}

// finalBlock is an empty last deflate block (fixed Huffman, end of block).
var finalBlock = []byte{0x03, 0x00}

const trailerBytes = 2 + 4 + 4 // finalBlock, CRC-32, ISIZE

// blockBound is the most that n bytes of lines can take as one compressed block,
// of whichever level.
func blockBound(n int) int64 { return int64(deflate.Bound(n)) }

// compressor turns lines into deflate blocks. It is for one goroutine at a
// time and holds some hundred KB, so compressors are pooled, never one a stream.
type compressor interface {
	// compress returns lines as whole deflate blocks ending in a sync flush.
	// window is what precedes them in the same member, or nil: matches may
	// reach into it. The result is valid until the next call.
	compress(lines, window []byte) ([]byte, error)
}

// compressors are pooled per level over the whole process.
var compressors [10]sync.Pool

func getCompressor(level int) compressor {
	if c, ok := compressors[level].Get().(compressor); ok {
		return c
	}
	if level == 1 {
		return new(fast)
	}
	w, err := flate.NewWriter(nil, level)
	if err != nil { // the level was validated
		panic(err)
	}
	return &leveled{w: w}
}

func putCompressor(level int, c compressor) { compressors[level].Put(c) }

// fast is level 1.
type fast struct {
	encoder
	in, out []byte
}

func (c *fast) compress(lines, window []byte) ([]byte, error) {
	if len(window) > 0 {
		c.in = append(append(c.in[:0], window...), lines...)
		lines = c.in
	}
	c.out = c.Append(c.out[:0], lines, len(window))
	return c.out, nil
}

// leveled is what other levels are for: smaller objects, at two to four times
// the CPU.
type leveled struct {
	w   *flate.Writer
	out bytes.Buffer
}

func (c *leveled) compress(lines, window []byte) ([]byte, error) {
	c.out.Reset()
	c.w.ResetDict(&c.out, window) // Reset would prime it with the last window again
	if _, err := c.w.Write(lines); err != nil {
		return nil, err
	}
	if err := c.w.Flush(); err != nil {
		return nil, err
	}
	return c.out.Bytes(), nil
}
