package segment

import (
	"bytes"
	"sync"

	"github.com/klauspost/compress/flate"

	"github.com/sealift/sealift/pkg/deflate"
)

// A gzip member as this package writes it: a fixed header, deflate blocks that each end at a byte
// boundary (a sync flush), an empty final block, CRC-32 and length. The header has no time and no
// name, so that equal content gives equal bytes.
var gzipHeader = []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff}

// finalBlock is an empty last deflate block (fixed Huffman, end of block).
var finalBlock = []byte{0x03, 0x00}

const trailerBytes = 2 + 4 + 4 // finalBlock, CRC-32, ISIZE

// blockBound is the most that n bytes of lines can take as one compressed block, at any level. The
// last term is for klauspost/compress, which stores 32 KiB per stored block.
func blockBound(n int) int64 { return int64(deflate.Bound(n) + 5*(n/(32<<10)+1)) }

// compressor turns lines into deflate blocks. One goroutine at a time may use it. It holds some
// hundred KB, so compressors are pooled and not kept per stream.
type compressor interface {
	// compress returns the lines b[window:] as whole deflate blocks ending in a sync flush.
	// b[:window] is what precedes the lines in the same member; matches may refer to it. The result
	// is valid until the next call.
	compress(b []byte, window int) ([]byte, error)
}

// codec is a compressor, and the memory for what it compresses.
type codec struct {
	compressor
	in []byte
}

// gather returns the window and the lines behind it, in memory that is valid until the next call.
func (c *codec) gather(window []byte, lines *buffer) []byte {
	if len(window) == 0 && len(lines.pieces) == 1 {
		return lines.pieces[0]
	}
	c.in = lines.appendTo(append(c.in[:0], window...), 0)
	return c.in
}

// codecs are pooled per level, for the whole process.
var codecs [10]sync.Pool

func getCodec(level int) *codec {
	if c, ok := codecs[level].Get().(*codec); ok {
		return c
	}
	switch {
	case level == 1:
		return &codec{compressor: &deflateCompressor{encoder: new(encoder)}}
	case level <= maxDeflateLevel:
		return &codec{compressor: &deflateCompressor{encoder: &deflate.Encoder{Lazy: true}}}
	}
	w, err := flate.NewWriter(nil, level)
	if err != nil { // the level was validated
		panic(err)
	}
	return &codec{compressor: &flateCompressor{w: w}}
}

func putCodec(level int, c *codec) { codecs[level].Put(c) }

// maxDeflateLevel is the highest level that pkg/deflate serves. Its lazy search produces less
// output than klauspost's levels 2 to 5 in no more time, and as little as level 6 in little more
// than half of the time.
const maxDeflateLevel = 6

// deflateCompressor serves levels 1 to maxDeflateLevel.
type deflateCompressor struct {
	encoder interface {
		Append(dst, b []byte, window int) []byte
	}
	out []byte
}

func (c *deflateCompressor) compress(b []byte, window int) ([]byte, error) {
	c.out = c.encoder.Append(c.out[:0], b, window)
	return c.out, nil
}

// flateCompressor serves higher levels, for objects that are 1 to 9 % smaller at two to five times
// the CPU.
type flateCompressor struct {
	w   *flate.Writer
	out bytes.Buffer
}

func (c *flateCompressor) compress(b []byte, window int) ([]byte, error) {
	c.out.Reset()
	c.w.ResetDict(&c.out, b[:window]) // Reset would prime it with the previous window
	if _, err := c.w.Write(b[window:]); err != nil {
		return nil, err
	}
	if err := c.w.Flush(); err != nil {
		return nil, err
	}
	return c.out.Bytes(), nil
}
