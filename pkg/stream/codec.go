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

// ErrBatchTooLarge says that a batch of records decompresses to more than a fetcher accepts, or to
// so many records or headers that they take more memory than that, or needs that much memory to be
// decompressed. Producers limit the uncompressed size of their batches, to about a MiB. The batch
// stays in the log, and the partition cannot be read past it.
var ErrBatchTooLarge = errors.New("a record batch decompresses to more than 128 MiB")

const batchBytesCap = 128 << 20

// maxBatchBytes limits what a batch may decompress to. A variable for tests, at most
// batchBytesCap.
var maxBatchBytes int64 = batchBytesCap

// unpack decompresses a batch into the arena, and returns it. When the arena grows, it is allocated
// anew, so earlier records stay valid.
//
// kafka-go's codecs allocate whatever a batch claims to need. A few bytes of a hostile producer may
// ask for a window of 512 MiB or a block of 4 GiB, which would crash the process at every start.
func (d *decoder) unpack(codec compress.Compression, packed []byte) ([]byte, error) {
	d.batchStart = len(d.arena)
	var err error
	switch codec {
	case compress.Zstd:
		err = d.unpackZstd(packed)
	case compress.Snappy:
		err = d.unpackSnappy(packed)
	case compress.Lz4:
		var supported bool
		if supported, err = d.unpackLZ4(packed); !supported {
			err = d.unpackStream(codec, packed)
		}
	case compress.Gzip:
		err = d.unpackStream(codec, packed)
	default:
		err = fmt.Errorf("%w: codec %d", ErrBatch, codec)
	}
	if err != nil {
		return nil, err
	}
	d.unpacked += len(d.arena) - d.batchStart
	return d.arena[d.batchStart:len(d.arena):len(d.arena)], nil
}

// unpackStream decompresses with kafka-go's codec.
func (d *decoder) unpackStream(codec compress.Compression, packed []byte) error {
	d.packed.Reset(packed)
	z := codec.Codec().NewReader(&d.packed)
	defer func() { _ = z.Close() }()
	for {
		d.reserve(1)
		n, err := z.Read(d.arena[len(d.arena):cap(d.arena)])
		d.arena = d.arena[:len(d.arena)+n]
		switch {
		case int64(len(d.arena)-d.batchStart) > maxBatchBytes:
			return ErrBatchTooLarge
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("%w: %w", ErrBatch, err)
		}
	}
}

// zstdDecoder decompresses whole frames, whose windows refer to the output itself: unlike a
// streaming reader it allocates no window. Like other consumers, it accepts the windows that
// producers use at the highest level, 128 MiB.
var zstdDecoder = sync.OnceValues(func() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(batchBytesCap), zstd.WithDecoderMaxWindow(batchBytesCap))
})

func (d *decoder) unpackZstd(packed []byte) error {
	z, err := zstdDecoder()
	if err != nil {
		return err
	}
	d.reserve(1 + min(4*len(packed), batchBytesCap))
	lines, err := z.DecodeAll(packed, d.arena[d.batchStart:d.batchStart])
	switch {
	case errors.Is(err, zstd.ErrDecoderSizeExceeded), errors.Is(err, zstd.ErrWindowSizeExceeded):
		return fmt.Errorf("%w: zstd: %w", ErrBatchTooLarge, err)
	case err != nil:
		return fmt.Errorf("%w: zstd: %w", ErrBatch, err)
	case int64(len(lines)) > maxBatchBytes:
		return ErrBatchTooLarge
	case len(lines) == 0:
	case &lines[0] == &d.arena[:d.batchStart+1][d.batchStart]: // the output fitted into the arena
		d.arena = d.arena[:d.batchStart+len(lines)]
	default:
		d.arena, d.batchStart = lines, 0
	}
	return nil
}

// unpackSnappy decompresses one block, or several in the framing of Java's library:
// https://github.com/xerial/snappy-java#stream-compatibility
func (d *decoder) unpackSnappy(packed []byte) error {
	const head = "\x82SNAPPY\x00" // followed by two version numbers
	if !bytes.HasPrefix(packed, []byte(head)) || len(packed) < 16 {
		return d.unpackSnappyBlock(packed)
	}
	for r := (cursor{b: packed[16:]}); len(r.b) > 0; {
		var size uint32
		if b := r.take(4); b != nil {
			size = binary.BigEndian.Uint32(b)
		}
		block := r.take(int64(size))
		if r.err != nil {
			return fmt.Errorf("%w: snappy: %w", ErrBatch, r.err)
		}
		if err := d.unpackSnappyBlock(block); err != nil {
			return err
		}
	}
	return nil
}

// unpackSnappyBlock appends a block to the batch.
func (d *decoder) unpackSnappyBlock(block []byte) error {
	if len(block) == 0 {
		return nil // an empty input is not a block
	}
	n, err := snappy.DecodedLen(block)
	if err != nil {
		return fmt.Errorf("%w: snappy: %w", ErrBatch, err)
	}
	if int64(n)+int64(len(d.arena)-d.batchStart) > maxBatchBytes {
		return ErrBatchTooLarge
	}
	d.reserve(n)
	at := len(d.arena)
	if _, err := snappy.Decode(d.arena[at:at+n], block); err != nil {
		return fmt.Errorf("%w: snappy: %w", ErrBatch, err)
	}
	d.arena = d.arena[:at+n]
	return nil
}
