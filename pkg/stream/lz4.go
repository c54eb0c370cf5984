package stream

import (
	"encoding/binary"
	"fmt"

	"github.com/pierrec/lz4/v4"
)

var errLZ4Frame = fmt.Errorf("%w: LZ4 frame is cut short, or a block too large", ErrBatch)

// unpackLZ4 decompresses an LZ4 frame into the arena, like unpack. supported is false for what few
// producers write, and is left to the library's reader: blocks that refer to others, dictionaries,
// and several frames.
//
// The library's reader is not used for all frames, because it computes the frame's checksums, as
// kafka-go's does, although the batch's CRC-32C was already correct. It also allocates another 4
// MiB if blocks may be that large, as kafka-go's may, and copies from there.
//
// https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md
func (d *decoder) unpackLZ4(frame []byte) (supported bool, err error) {
	const (
		magic       = 0x184d2204
		fixed       = 0b1110_0011 // version, independent blocks, reserved, dictionary
		independent = 0b0110_0000 // version 1
		blockSums   = 1 << 4
		contentSize = 1 << 3
		contentSum  = 1 << 2
		stored      = 1 << 31 // flag in a block's size
	)
	r := cursor{b: frame}
	head := r.take(7)
	if head == nil || binary.LittleEndian.Uint32(head) != magic || head[4]&fixed != independent || head[5]&0x8f != 0 || head[5] < 4<<4 {
		return false, nil
	}
	flags, most := head[4], 1<<(8+2*(head[5]>>4)) // 64 KiB to 4 MiB
	if flags&contentSize != 0 {
		r.skip(8)
	}
	for {
		size := r.take(4)
		if size == nil {
			return true, errLZ4Frame
		}
		n := binary.LittleEndian.Uint32(size)
		if n == 0 {
			break
		}
		block := r.take(int64(n &^ stored))
		if flags&blockSums != 0 {
			r.skip(4)
		}
		switch {
		case r.err != nil || len(block) > most:
			return true, errLZ4Frame
		case n&stored != 0:
			d.reserve(len(block))
			d.arena = append(d.arena, block...)
		default:
			if err = d.unpackLZ4Block(block, most); err != nil {
				return true, err
			}
		}
		if int64(len(d.arena)-d.batchStart) > maxBatchBytes {
			return true, ErrBatchTooLarge
		}
	}
	if flags&contentSum != 0 {
		r.skip(4)
	}
	if r.err != nil {
		return true, errLZ4Frame
	}
	if len(r.b) > 0 {
		d.arena = d.arena[:d.batchStart]
		return false, nil
	}
	return true, nil
}

// unpackLZ4Block appends a block to the batch. Only the maximum size of the result is known, so it
// tries with less first, which is usually enough.
func (d *decoder) unpackLZ4Block(block []byte, most int) error {
	for try := 4 * len(block); ; {
		d.reserve(min(try, most))
		free := d.arena[len(d.arena):cap(d.arena)]
		free = free[:min(len(free), most)]
		n, err := lz4.UncompressBlock(block, free)
		if err == nil {
			d.arena = d.arena[:len(d.arena)+n]
			return nil
		}
		if len(free) == most {
			return fmt.Errorf("%w: LZ4: %w", ErrBatch, err)
		}
		try = 2 * len(free)
	}
}
