// Package bomb makes gzip bombs for the tests of whatever inflates bytes that
// others wrote: small objects, valid to the last checksum, of very many bytes.
// It promises that they inflate to exactly what was asked for.
package bomb

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"hash/crc32"
)

// New is a gzip member that inflates to head, and then to times times unit. It
// grows by what deflate makes of one unit each time, a thousandth of it at
// best; its making costs a CRC-32 of all, and no memory for it.
func New(head, unit []byte, times int) []byte {
	var out bytes.Buffer
	out.WriteString("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff")
	w, err := flate.NewWriter(&out, flate.BestCompression)
	write := func(p []byte) {
		if err == nil {
			_, err = w.Write(p)
		}
		if err == nil {
			err = w.Flush()
		}
	}
	write(head)
	write(unit)
	// What follows a unit refers to that unit, and begins and ends at a byte:
	// it can stand there again and again.
	from := out.Len()
	write(unit)
	if err != nil {
		panic(err) // into memory
	}
	again := bytes.Clone(out.Bytes()[from:])
	out.Truncate(from)
	sum := crc32.Update(crc32.ChecksumIEEE(head), crc32.IEEETable, unit)
	for range times - 1 {
		out.Write(again)
		sum = crc32.Update(sum, crc32.IEEETable, unit)
	}
	out.WriteString("\x03\x00") // the last block, an empty one
	end := binary.LittleEndian.AppendUint32(nil, sum)
	out.Write(binary.LittleEndian.AppendUint32(end, uint32(len(head)+times*len(unit)))) // modulo 2^32, as gzip says
	return out.Bytes()
}
