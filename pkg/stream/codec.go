package stream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/segmentio/kafka-go/compress"
)

// ErrBatchTooLarge says that a batch of records decompresses to more than a
// fetcher takes, or to so many records or headers that they take more memory, or
// wants as much at hand to be decompressed:
// producers cut their batches by what they hold before it is compressed, at a
// MiB or so. It is there for good; the partition cannot be read past it.
var ErrBatchTooLarge = errors.New("a record batch decompresses to more than 128 MiB")

const mostBatchBytes = 128 << 20

// maxBatchBytes bounds what a batch may decompress to. A variable for tests, of
// mostBatchBytes at most.
var maxBatchBytes int64 = mostBatchBytes

// unpack decompresses into the arena. What earlier records point to stays
// valid when the arena grows, because growth allocates anew.
//
// kafka-go's codecs make whatever a batch claims to need: a few bytes of a hostile producer
// may ask for a window of 512 MiB or a block of 4 GiB, and would take the process
// down, at every start.
func (d *batches) unpack(codec compress.Compression, packed []byte) ([]byte, error) {
	switch codec {
	case compress.Zstd:
		return d.unpackZstd(packed)
	case compress.Snappy:
		return d.unpackSnappy(packed)
	case compress.Lz4:
		if lines, plain, err := d.unpackLZ4(packed); plain {
			return lines, err
		}
	case compress.Gzip:
	default:
		return nil, fmt.Errorf("%w: codec %d", ErrBatch, codec)
	}
	d.packed.Reset(packed)
	z := codec.Codec().NewReader(&d.packed)
	defer func() { _ = z.Close() }()
	begin := len(d.arena)
	for {
		begin = d.room(begin, 1)
		n, err := z.Read(d.arena[len(d.arena):cap(d.arena)])
		d.arena = d.arena[:len(d.arena)+n]
		switch {
		case int64(len(d.arena)-begin) > maxBatchBytes:
			return nil, ErrBatchTooLarge
		case errors.Is(err, io.EOF):
			return d.unpackedFrom(begin), nil
		case err != nil:
			return nil, fmt.Errorf("%w: %w", ErrBatch, err)
		}
	}
}

// unpackedFrom returns the batch in the arena that begins there, when it is whole.
func (d *batches) unpackedFrom(begin int) []byte {
	d.unpacked += len(d.arena) - begin
	return d.arena[begin:len(d.arena):len(d.arena)]
}

// unzstd decompresses whole frames, into which their windows look back: unlike a
// reader it sets nothing aside for these. As other consumers it takes windows that
// producers make at the highest level, 128 MiB.
var unzstd = sync.OnceValues(func() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(mostBatchBytes), zstd.WithDecoderMaxWindow(mostBatchBytes))
})

func (d *batches) unpackZstd(packed []byte) ([]byte, error) {
	z, err := unzstd()
	if err != nil {
		return nil, err
	}
	begin := d.room(len(d.arena), 1+min(4*len(packed), mostBatchBytes))
	lines, err := z.DecodeAll(packed, d.arena[begin:begin])
	switch {
	case errors.Is(err, zstd.ErrDecoderSizeExceeded), errors.Is(err, zstd.ErrWindowSizeExceeded), err == nil && int64(len(lines)) > maxBatchBytes:
		if err == nil {
			return nil, ErrBatchTooLarge
		}
		return nil, fmt.Errorf("%w: zstd: %w", ErrBatchTooLarge, err)
	case err != nil:
		return nil, fmt.Errorf("%w: zstd: %w", ErrBatch, err)
	}
	switch {
	case len(lines) == 0:
	case &lines[0] == &d.arena[:begin+1][begin]: // where there was room
		d.arena = d.arena[:begin+len(lines)]
	default:
		d.arena, begin = lines, 0
	}
	return d.unpackedFrom(begin), nil
}

// unpackSnappy decompresses one block, or several in the frame that Java's
// library writes: https://github.com/xerial/snappy-java#stream-compatibility
func (d *batches) unpackSnappy(packed []byte) ([]byte, error) {
	const head = "\x82SNAPPY\x00" // and two numbers of versions
	if !bytes.HasPrefix(packed, []byte(head)) || len(packed) < 16 {
		begin, err := d.unpackSnappyBlock(len(d.arena), packed)
		if err != nil {
			return nil, err
		}
		return d.unpackedFrom(begin), nil
	}
	begin, r := len(d.arena), cursor{b: packed[16:]}
	for len(r.b) > 0 {
		var size uint32
		if b := r.take(4); b != nil {
			size = binary.BigEndian.Uint32(b)
		}
		block := r.take(int64(size))
		if r.err != nil {
			return nil, fmt.Errorf("%w: snappy: %w", ErrBatch, r.err)
		}
		var err error
		if begin, err = d.unpackSnappyBlock(begin, block); err != nil {
			return nil, err
		}
	}
	return d.unpackedFrom(begin), nil
}

// unpackSnappyBlock adds a block to the batch in the arena that begins there, and
// returns where it begins then.
func (d *batches) unpackSnappyBlock(begin int, block []byte) (int, error) {
	if len(block) == 0 {
		return begin, nil // no bytes are no block
	}
	n, err := snappy.DecodedLen(block)
	if err != nil {
		return 0, fmt.Errorf("%w: snappy: %w", ErrBatch, err)
	}
	if int64(n)+int64(len(d.arena)-begin) > maxBatchBytes {
		return 0, ErrBatchTooLarge
	}
	begin = d.room(begin, n)
	at := len(d.arena)
	if _, err := snappy.Decode(d.arena[at:at+n], block); err != nil {
		return 0, fmt.Errorf("%w: snappy: %w", ErrBatch, err)
	}
	d.arena = d.arena[:at+n]
	return begin, nil
}
