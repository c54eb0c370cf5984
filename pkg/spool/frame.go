package spool

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"hash/crc32"
	"time"
)

const (
	suffix     = ".spool"
	nameFormat = "%020d" + suffix

	fileMagic   = "SLSPOOL1"
	saltBytes   = 8
	headerBytes = len(fileMagic) + saltBytes + 4
	frameHeader = 28

	// MaxPayload limits the payload of an entry.
	MaxPayload = 256 << 20 // 256 MiB
)

var (
	frameMagic = []byte{0xf5, 'S', 'P', 0xff} // not valid UTF-8
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

type salt [saltBytes]byte

// newHeader returns a segment's header with a new salt.
func newHeader() ([]byte, salt) {
	var s salt
	_, _ = rand.Read(s[:]) // never fails
	return headerWithSalt(s), s
}

func headerWithSalt(s salt) []byte {
	b := append([]byte(fileMagic), s[:]...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func parseHeader(b []byte) (salt, bool) {
	if len(b) < headerBytes {
		return salt{}, false
	}
	s := salt(b[len(fileMagic) : len(fileMagic)+saltBytes])
	return s, bytes.Equal(b[:headerBytes], headerWithSalt(s))
}

// isLater reports whether b begins with the header of a segment of a later release: a whole one, with
// a higher number in its magic. The CRC covers the number, so a damaged header is none.
func isLater(b []byte) bool {
	const number = len(fileMagic) - 1
	return len(b) >= headerBytes && string(b[:number]) == fileMagic[:number] && b[number] > fileMagic[number] &&
		binary.LittleEndian.Uint32(b[headerBytes-4:]) == checksum(b[:headerBytes-4])
}

// appendFrame appends the header of e's frame, to be followed by the payload.
func appendFrame(b []byte, s salt, e Entry, payloadCRC uint32) []byte {
	from := len(b)
	b = append(b, frameMagic...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(e.Payload)))
	b = binary.LittleEndian.AppendUint32(b, uint32(e.Records))
	b = binary.LittleEndian.AppendUint64(b, uint64(e.Time.UnixMilli()))
	b = binary.LittleEndian.AppendUint32(b, payloadCRC)
	return binary.LittleEndian.AppendUint32(b, headerCRC(s, b[from:]))
}

func checksum(payload []byte) uint32 { return crc32.Checksum(payload, castagnoli) }

func headerCRC(s salt, b []byte) uint32 {
	return crc32.Update(crc32.Checksum(s[:], castagnoli), castagnoli, b[:frameHeader-4])
}

// nextFrame finds the first whole frame of b that begins at or after from. It returns its entry,
// whose payload aliases b, and where it begins and ends. What lies between from and begin is
// damaged.
func nextFrame(s salt, b []byte, from int) (e Entry, begin, end int, ok bool) {
	for {
		i := bytes.Index(b[from:], frameMagic)
		if i < 0 || len(b)-from-i < frameHeader {
			return Entry{}, 0, 0, false
		}
		begin = from + i
		if e, end, ok = parseFrame(s, b, begin); ok {
			return e, begin, end, true
		}
		from = begin + 1
	}
}

// parseFrame parses the frame at from. b must have room for a header there.
func parseFrame(s salt, b []byte, from int) (Entry, int, bool) {
	h := b[from : from+frameHeader]
	if binary.LittleEndian.Uint32(h[24:]) != headerCRC(s, h) {
		return Entry{}, 0, false
	}
	length := int64(binary.LittleEndian.Uint32(h[4:]))
	start := from + frameHeader
	if length > int64(len(b)-start) {
		return Entry{}, 0, false
	}
	end := start + int(length)
	payload := b[start:end:end]
	if binary.LittleEndian.Uint32(h[20:]) != checksum(payload) {
		return Entry{}, 0, false
	}
	return Entry{
		Time:    time.UnixMilli(int64(binary.LittleEndian.Uint64(h[12:]))),
		Records: int(binary.LittleEndian.Uint32(h[8:])),
		Payload: payload,
	}, end, true
}
