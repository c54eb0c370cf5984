package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
)

// A frame is one piece of a file, or a checkpoint, on disk. All numbers are little-endian. Numbers
// about the file include this frame, so the last frame of a file restores its state without
// inflating anything. A checkpoint has only kind, lengths and payload.
//
//	 0  4  magic "SLB2"
//	 4  4  CRC-32C of everything after this field
//	 8  4  payload bytes: deflate, lines or JSON, depending on the kind
//	12  1  kind: block 'b', lines 'l', checkpoint 'c'
//	13  1  source length (1 to 64)
//	14  1  length of the SHA-256 state (blocks only)
//	15  1  format, 0
//	16  8  hour of the stream, unix ms
//	24  8  first offset of the file
//	32  8  received, unix ms, of the file's first record
//	40  8  note of the file
//	48  8  last offset
//	56  8  records of the file
//	64  8  bytes of the file's lines
//	72  8  records that are in this frame
//	80  8  CRC-64/NVME of the file's lines (blocks only)
//	88  4  CRC-32 of the file's lines (blocks only)
//	92  n  source, SHA-256 state, payload
//
// The format is raised whenever an older release would misread a file, or what its checkpoints hold.
// Whatever changes, the first frame of each file keeps its magic, checksum, lengths and format where
// they are, so that older releases recognize it (LaterFile). The checksum covers the format, so a
// damaged frame never passes for one of a later release.
const (
	frameMagic       = 0x32424c53 // "SLB2"
	frameFormat      = 0
	frameHeaderBytes = 92
)

// Kinds of frames.
const (
	kindBlock      = 'b' // compressed lines, in a chunk
	kindLines      = 'l' // lines that are still in memory, in a journal
	kindCheckpoint = 'c' // makes the frames before it a state, in a journal
)

var (
	// errTorn says that the bytes are not a whole frame: what was written ends here.
	errTorn = errors.New("torn frame")
	// errLater says that the frame is whole, and in the format of a later release.
	errLater = errors.New("frame of a later release")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frame is a decoded frame; sha and payload point into the input.
type frame struct {
	Meta
	kind    byte
	inFrame int64 // how many of Meta.Records are in this frame
	crc     uint32
	crc64   uint64
	sha     []byte
	payload []byte
}

// appendFrame appends the frame's bytes to dst.
func appendFrame(dst []byte, f frame) []byte {
	start := len(dst)
	le := binary.LittleEndian
	dst = le.AppendUint32(dst, frameMagic)
	dst = le.AppendUint32(dst, 0)
	dst = le.AppendUint32(dst, uint32(len(f.payload)))
	dst = append(dst, f.kind, byte(len(f.Stream.Source)), byte(len(f.sha)), frameFormat)
	for _, n := range [...]int64{f.Stream.Hour, f.First, f.Received, f.Note, f.Last, f.Records, f.RawBytes, f.inFrame} {
		dst = le.AppendUint64(dst, uint64(n))
	}
	dst = le.AppendUint64(dst, f.crc64)
	dst = le.AppendUint32(dst, f.crc)
	dst = append(dst, f.Stream.Source...)
	dst = append(dst, f.sha...)
	dst = append(dst, f.payload...)
	le.PutUint32(dst[start+4:], crc32.Checksum(dst[start+8:], castagnoli))
	return dst
}

// frameBytes returns the size of the frame at the start of b, according to its header. b has at
// least frameHeaderBytes bytes.
func frameBytes(b []byte) int64 {
	return frameHeaderBytes + int64(b[13]) + int64(b[14]) + int64(binary.LittleEndian.Uint32(b[8:]))
}

// readFrame decodes the first frame of b and returns its size. The error
// wraps errTorn if b does not begin with a whole, intact frame, and errLater
// if this release does not know the frame's format.
func readFrame(b []byte) (frame, int64, error) {
	le := binary.LittleEndian
	if len(b) < frameHeaderBytes || le.Uint32(b) != frameMagic {
		return frame{}, 0, fmt.Errorf("%w: no header", errTorn)
	}
	size := frameBytes(b)
	if size > int64(len(b)) || size > math.MaxInt32 {
		return frame{}, 0, fmt.Errorf("%w: cut short", errTorn)
	}
	if crc32.Checksum(b[8:size], castagnoli) != le.Uint32(b[4:]) {
		return frame{}, 0, fmt.Errorf("%w: checksum", errTorn)
	}
	if b[15] > frameFormat {
		return frame{}, 0, fmt.Errorf("%w: format %d", errLater, b[15])
	}
	at := 16
	number := func() int64 {
		at += 8
		return int64(le.Uint64(b[at-8:]))
	}
	f := frame{kind: b[12]}
	f.Stream.Hour, f.First, f.Received, f.Note = number(), number(), number(), number()
	f.Last, f.Records, f.RawBytes, f.inFrame = number(), number(), number(), number()
	f.crc64, f.crc = le.Uint64(b[80:]), le.Uint32(b[88:])
	source := frameHeaderBytes + int64(b[13])
	state := source + int64(b[14])
	f.Stream.Source, f.sha, f.payload = string(b[frameHeaderBytes:source]), b[source:state], b[state:size]
	switch {
	case f.kind == kindCheckpoint && f.Meta == (Meta{}):
		return f, size, nil
	case f.kind != kindBlock && f.kind != kindLines:
	case f.Stream.Source != "" && f.First >= 0 && f.Last >= f.First && f.inFrame >= 1 && f.Records >= f.inFrame:
		return f, size, nil
	}
	return frame{}, 0, fmt.Errorf("%w: fields", errTorn)
}
