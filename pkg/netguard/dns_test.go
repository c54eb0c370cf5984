package netguard

import (
	"encoding/binary"
	"io"
	"net"
)

// answerDNS serves one DNS connection (a stream, so messages have length prefixes). Every A
// question is answered with the address, every other one with an empty answer.
func answerDNS(c net.Conn, address [4]byte) {
	defer c.Close()
	for {
		var length [2]byte
		if _, err := io.ReadFull(c, length[:]); err != nil {
			return
		}
		query := make([]byte, binary.BigEndian.Uint16(length[:]))
		if _, err := io.ReadFull(c, query); err != nil {
			return
		}
		end := 12 // end of the question: labels, a zero, type and class
		for query[end] != 0 {
			end += 1 + int(query[end])
		}
		end += 5
		isA := binary.BigEndian.Uint16(query[end-4:]) == 1

		answer := append([]byte(nil), query[:end]...)
		answer[2], answer[3] = 0x81, 0x80 // response, recursion available
		binary.BigEndian.PutUint16(answer[6:], 0)
		binary.BigEndian.PutUint16(answer[8:], 0)
		binary.BigEndian.PutUint16(answer[10:], 0) // without the query's EDNS record
		if isA {
			binary.BigEndian.PutUint16(answer[6:], 1)
			answer = append(answer, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
			answer = append(answer, address[:]...)
		}
		out := binary.BigEndian.AppendUint16(nil, uint16(len(answer)))
		if _, err := c.Write(append(out, answer...)); err != nil {
			return
		}
	}
}
