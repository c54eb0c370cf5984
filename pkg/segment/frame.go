package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/sealift/sealift/pkg/ledger"
)

// A frame is one block in a chunk file. All numbers are little-endian.
//
//	 0  4  magic "SLB1"
//	 4  4  CRC-32C of everything after this field
//	 8  4  payload bytes (deflate)
//	12  4  lines bytes
//	16  8  first offset
//	24  8  last offset
//	32  8  hour, unix ms
//	40  8  received, unix ms, of the block's first record
//	48  4  records
//	52  1  source length (1 to 64)
//	53  n  source
//	53+n   payload
const (
	frameMagic = 0x31424c53 // "SLB1"
	frameFixed = 53
)

// errTorn says that bytes are not a whole frame: the end of what was written.
var errTorn = errors.New("torn frame")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frame is a decoded frame; payload points into the input.
type frame struct {
	stream      ledger.Stream
	first, last int64
	received    int64
	records     int
	rawBytes    int
	payload     []byte
}

// appendFrame appends the frame's bytes to dst.
func appendFrame(dst []byte, f frame) []byte {
	start := len(dst)
	le := binary.LittleEndian
	dst = le.AppendUint32(dst, frameMagic)
	dst = le.AppendUint32(dst, 0)
	dst = le.AppendUint32(dst, uint32(len(f.payload)))
	dst = le.AppendUint32(dst, uint32(f.rawBytes))
	dst = le.AppendUint64(dst, uint64(f.first))
	dst = le.AppendUint64(dst, uint64(f.last))
	dst = le.AppendUint64(dst, uint64(f.stream.Hour))
	dst = le.AppendUint64(dst, uint64(f.received))
	dst = le.AppendUint32(dst, uint32(f.records))
	dst = append(dst, byte(len(f.stream.Source)))
	dst = append(dst, f.stream.Source...)
	dst = append(dst, f.payload...)
	le.PutUint32(dst[start+4:], crc32.Checksum(dst[start+8:], castagnoli))
	return dst
}

// frameBytes is the size of a frame of that source and payload.
func frameBytes(source string, payload int) int { return frameFixed + len(source) + payload }

// readFrame decodes the first frame of b and returns its size. The error
// wraps errTorn if b does not begin with a whole, intact frame.
func readFrame(b []byte) (frame, int, error) {
	le := binary.LittleEndian
	if len(b) < frameFixed || le.Uint32(b) != frameMagic {
		return frame{}, 0, fmt.Errorf("%w: no header", errTorn)
	}
	payload, source := uint64(le.Uint32(b[8:])), int(b[52])
	size := uint64(frameFixed) + uint64(source) + payload
	if size > uint64(len(b)) || size > math.MaxInt32 {
		return frame{}, 0, fmt.Errorf("%w: cut short", errTorn)
	}
	if crc32.Checksum(b[8:size], castagnoli) != le.Uint32(b[4:]) {
		return frame{}, 0, fmt.Errorf("%w: checksum", errTorn)
	}
	f := frame{
		stream:   ledger.Stream{Source: string(b[frameFixed : frameFixed+source]), Hour: int64(le.Uint64(b[32:]))},
		first:    int64(le.Uint64(b[16:])),
		last:     int64(le.Uint64(b[24:])),
		received: int64(le.Uint64(b[40:])),
		records:  int(le.Uint32(b[48:])),
		rawBytes: int(le.Uint32(b[12:])),
		payload:  b[frameFixed+source : size],
	}
	if source == 0 || f.records < 1 || f.first < 0 || f.last < f.first {
		return frame{}, 0, fmt.Errorf("%w: fields", errTorn)
	}
	return f, int(size), nil
}
