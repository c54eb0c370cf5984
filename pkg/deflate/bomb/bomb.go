// Package bomb makes gzip bombs for the tests of code that inflates untrusted bytes: small objects,
// valid to the last checksum, that inflate to very many bytes. It promises that they inflate to
// exactly what was asked for.
package bomb

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"hash/crc32"
)

// New returns a gzip member that inflates to head, followed by unit repeated times times. Each
// repetition adds the compressed size of one unit, at best a thousandth of it. Making it takes the
// CRC-32 of all the bytes, but no memory for them.
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
	// What follows a unit refers back to that unit, and begins and ends at a byte boundary, so it
	// can be repeated.
	from := out.Len()
	write(unit)
	if err != nil {
		panic(err) // writing to memory does not fail
	}
	again := bytes.Clone(out.Bytes()[from:])
	out.Truncate(from)
	sum := crc32.Update(crc32.ChecksumIEEE(head), crc32.IEEETable, unit)
	for range times - 1 {
		out.Write(again)
		sum = crc32.Update(sum, crc32.IEEETable, unit)
	}
	out.WriteString("\x03\x00") // an empty last block
	end := binary.LittleEndian.AppendUint32(nil, sum)
	out.Write(binary.LittleEndian.AppendUint32(end, uint32(len(head)+times*len(unit)))) // modulo 2^32, as the format says
	return out.Bytes()
}
