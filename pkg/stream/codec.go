package stream

import (
	"errors"
	"io"

	"github.com/segmentio/kafka-go/compress"
)

// ErrBatchTooLarge says that a batch of records decompresses to more than a
// fetcher takes, or to so many records or headers that they take more memory:
// producers cut their batches by what they hold before it is compressed, at a
// MiB or so. It is there for good; the partition cannot be read past it.
var ErrBatchTooLarge = errors.New("a record batch decompresses to more than 128 MiB")

// maxBatchBytes bounds what a batch may decompress to. A variable for tests.
var maxBatchBytes int64 = 128 << 20

// kafka-go decompresses a batch whole, whatever it holds: a megabyte of zeros
// by a hostile producer would take the process down, at every start. Its table
// of codecs is the one place where that can be bounded.
func init() {
	for i, c := range compress.Codecs {
		if c != nil {
			compress.Codecs[i] = boundedCodec{c}
		}
	}
}

// boundedCodec is a codec whose readers fail past maxBatchBytes.
type boundedCodec struct{ compress.Codec }

// NewReader implements compress.Codec.
func (c boundedCodec) NewReader(r io.Reader) io.ReadCloser {
	return &boundedReader{ReadCloser: c.Codec.NewReader(r), left: maxBatchBytes}
}

type boundedReader struct {
	io.ReadCloser
	left int64
}

func (r *boundedReader) Read(p []byte) (int, error) {
	if int64(len(p)) > r.left+1 { // one more shows that there is more
		p = p[:r.left+1]
	}
	n, err := r.ReadCloser.Read(p)
	if r.left -= int64(n); r.left < 0 {
		return 0, ErrBatchTooLarge
	}
	return n, err
}
