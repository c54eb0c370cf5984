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

// unpack decompresses a batch into the arena, and returns it. What earlier records point to
// stays valid when the arena grows, because growth allocates anew.
//
// kafka-go's codecs make whatever a batch claims to need: a few bytes of a hostile producer
// may ask for a window of 512 MiB or a block of 4 GiB, and would take the process
// down, at every start.
func (d *decoder) unpack(codec compress.Compression, packed []byte) ([]byte, error) {
	d.begin = len(d.arena)
	var err error
	switch codec {
	case compress.Zstd:
		err = d.unpackZstd(packed)
	case compress.Snappy:
		err = d.unpackSnappy(packed)
	case compress.Lz4:
		var plain bool
		if plain, err = d.unpackLZ4(packed); !plain {
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
	d.unpacked += len(d.arena) - d.begin
	return d.arena[d.begin:len(d.arena):len(d.arena)], nil
}

// unpackStream decompresses by kafka-go's codec.
func (d *decoder) unpackStream(codec compress.Compression, packed []byte) error {
	d.packed.Reset(packed)
	z := codec.Codec().NewReader(&d.packed)
	defer func() { _ = z.Close() }()
	for {
		d.room(1)
		n, err := z.Read(d.arena[len(d.arena):cap(d.arena)])
		d.arena = d.arena[:len(d.arena)+n]
		switch {
		case int64(len(d.arena)-d.begin) > maxBatchBytes:
			return ErrBatchTooLarge
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("%w: %w", ErrBatch, err)
		}
	}
}

// unzstd decompresses whole frames, into which their windows look back: unlike a
// reader it sets nothing aside for these. As other consumers it takes windows that
// producers make at the highest level, 128 MiB.
var unzstd = sync.OnceValues(func() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(mostBatchBytes), zstd.WithDecoderMaxWindow(mostBatchBytes))
})

func (d *decoder) unpackZstd(packed []byte) error {
	z, err := unzstd()
	if err != nil {
		return err
	}
	d.room(1 + min(4*len(packed), mostBatchBytes))
	lines, err := z.DecodeAll(packed, d.arena[d.begin:d.begin])
	switch {
	case errors.Is(err, zstd.ErrDecoderSizeExceeded), errors.Is(err, zstd.ErrWindowSizeExceeded):
		return fmt.Errorf("%w: zstd: %w", ErrBatchTooLarge, err)
	case err != nil:
		return fmt.Errorf("%w: zstd: %w", ErrBatch, err)
	case int64(len(lines)) > maxBatchBytes:
		return ErrBatchTooLarge
	case len(lines) == 0:
	case &lines[0] == &d.arena[:d.begin+1][d.begin]: // where there was room
		d.arena = d.arena[:d.begin+len(lines)]
	default:
		d.arena, d.begin = lines, 0
	}
	return nil
}

// unpackSnappy decompresses one block, or several in the frame that Java's
// library writes: https://github.com/xerial/snappy-java#stream-compatibility
func (d *decoder) unpackSnappy(packed []byte) error {
	const head = "\x82SNAPPY\x00" // and two numbers of versions
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

// unpackSnappyBlock adds a block to the batch.
func (d *decoder) unpackSnappyBlock(block []byte) error {
	if len(block) == 0 {
		return nil // no bytes are no block
	}
	n, err := snappy.DecodedLen(block)
	if err != nil {
		return fmt.Errorf("%w: snappy: %w", ErrBatch, err)
	}
	if int64(n)+int64(len(d.arena)-d.begin) > maxBatchBytes {
		return ErrBatchTooLarge
	}
	d.room(n)
	at := len(d.arena)
	if _, err := snappy.Decode(d.arena[at:at+n], block); err != nil {
		return fmt.Errorf("%w: snappy: %w", ErrBatch, err)
	}
	d.arena = d.arena[:at+n]
	return nil
}
