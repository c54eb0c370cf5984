package stream

import (
	"encoding/binary"
	"fmt"

	"github.com/pierrec/lz4/v4"
)

var errFrame = fmt.Errorf("%w: LZ4 frame is cut short, or a block too large", ErrBatch)

// unpackLZ4 decompresses a frame of LZ4 into the arena, as unpack does. plain
// is false for what few producers write, and the library's reader is for:
// blocks that refer to others, dictionaries, several frames.
//
// Why not that reader for all: it sums up what it read where the frame says
// so, as kafka-go's do, though the batch's CRC-32C was right; and it takes
// another 4 MiB for blocks that may be so large, as kafka-go's may, and copies
// from there.
//
// https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md
func (d *decoder) unpackLZ4(frame []byte) (plain bool, err error) {
	const (
		magic       = 0x184d2204
		fixed       = 0b1110_0011 // version, independent blocks, reserved, dictionary
		independent = 0b0110_0000 // of version 1
		blockSums   = 1 << 4
		contentSize = 1 << 3
		contentSum  = 1 << 2
		stored      = 1 << 31 // of a block's size
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
			return true, errFrame
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
			return true, errFrame
		case n&stored != 0:
			d.room(len(block))
			d.arena = append(d.arena, block...)
		default:
			if err = d.unpackBlock(block, most); err != nil {
				return true, err
			}
		}
		if int64(len(d.arena)-d.begin) > maxBatchBytes {
			return true, ErrBatchTooLarge
		}
	}
	if flags&contentSum != 0 {
		r.skip(4)
	}
	if r.err != nil {
		return true, errFrame
	}
	if len(r.b) > 0 {
		d.arena = d.arena[:d.begin]
		return false, nil
	}
	return true, nil
}

// unpackBlock adds a block to the batch. All that is known of a block is what it unpacks
// to at most, so it is tried with less, which mostly suffices.
func (d *decoder) unpackBlock(block []byte, most int) error {
	for try := 4 * len(block); ; {
		d.room(min(try, most))
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
