package event

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// scanner validates JSON strictly and compacts it in place, in one pass.
//
// Why not a library: the body has to be validated, stripped of white space, measured for depth, and
// split into members that keep their exact bytes. gjson and similar libraries do one of these per
// pass, and validation alone costs them as much as all of it costs here (BenchmarkParse compares).
// Decoders that build values lose key order, duplicate keys and digits.
//
// b[:w] is compact output; b[run:r] was read and has yet to be moved to w. Without white space, run
// and w stay equal and nothing moves. The input must be valid UTF-8.
type scanner struct {
	b     []byte
	r     int // next byte to read
	w     int // destination of b[run]
	run   int
	depth int
}

func (s *scanner) fail(want string) error {
	if s.r >= len(s.b) {
		return &Error{Reason: ErrMalformed, Event: -1, Detail: "invalid JSON: the body ends early, expected " + want}
	}
	return &Error{Reason: ErrMalformed, Event: -1, Detail: fmt.Sprintf("invalid JSON at byte %d: expected %s", s.r, want)}
}

// outPos returns the position in the compact output of the next byte to read.
func (s *scanner) outPos() int { return s.w + s.r - s.run }

// peek skips white space and returns the next byte, or 0 at the end.
func (s *scanner) peek() byte {
	if s.r < len(s.b) && s.b[s.r] > ' ' {
		return s.b[s.r]
	}
	return s.skip()
}

func (s *scanner) skip() byte {
	start := s.r
	for s.r < len(s.b) {
		switch s.b[s.r] {
		case ' ', '\t', '\n', '\r':
			s.r++
			continue
		}
		break
	}
	if s.r > start {
		s.flush(start)
	}
	if s.r == len(s.b) {
		return 0
	}
	return s.b[s.r]
}

// flush moves what was read up to end to its place, and drops b[end:r].
func (s *scanner) flush(end int) {
	if s.w != s.run {
		copy(s.b[s.w:], s.b[s.run:end])
	}
	s.w += end - s.run
	s.run = s.r
}

// finish returns the compact output. Only white space may be left.
func (s *scanner) finish() ([]byte, error) {
	if s.peek() != 0 || s.r < len(s.b) {
		return nil, s.fail("nothing after the JSON value")
	}
	s.flush(s.r)
	return s.b[:s.w], nil
}

func (s *scanner) value() error {
	switch c := s.peek(); {
	case c == '"':
		return s.str()
	case c == '{':
		return s.object()
	case c == '[':
		return s.array()
	case c == '-' || c >= '0' && c <= '9':
		return s.number()
	case c == 't':
		return s.literal("true")
	case c == 'f':
		return s.literal("false")
	case c == 'n':
		return s.literal("null")
	}
	return s.fail("a value (NaN, Infinity and single quotes are not JSON)")
}

func (s *scanner) enter() error {
	s.r++
	if s.depth++; s.depth > MaxDepth {
		return &Error{Reason: ErrTooDeep, Event: -1, Detail: fmt.Sprintf("the body nests deeper than %d levels: flatten it", MaxDepth)}
	}
	return nil
}

func (s *scanner) leave() error {
	s.r++
	s.depth--
	return nil
}

func (s *scanner) object() error {
	if err := s.enter(); err != nil {
		return err
	}
	if s.peek() == '}' {
		return s.leave()
	}
	for {
		if err := s.key(); err != nil {
			return err
		}
		if err := s.value(); err != nil {
			return err
		}
		if end, err := s.comma('}'); end || err != nil {
			return err
		}
	}
}

func (s *scanner) array() error {
	if err := s.enter(); err != nil {
		return err
	}
	if s.peek() == ']' {
		return s.leave()
	}
	for {
		if err := s.value(); err != nil {
			return err
		}
		if end, err := s.comma(']'); end || err != nil {
			return err
		}
	}
}

// key reads a member's name and the colon after it.
func (s *scanner) key() error {
	if err := s.name(); err != nil {
		return err
	}
	return s.colon()
}

func (s *scanner) name() error {
	if s.peek() != '"' {
		return s.fail(`a name in double quotes`)
	}
	return s.str()
}

func (s *scanner) colon() error {
	if s.peek() != ':' {
		return s.fail("':' after a name")
	}
	s.r++
	return nil
}

// comma reads a comma, or the closing byte, which ends the container.
func (s *scanner) comma(closing byte) (end bool, err error) {
	switch s.peek() {
	case ',':
		s.r++
		return false, nil
	case closing:
		return true, s.leave()
	}
	return false, s.fail("',' or '" + string(closing) + "'")
}

func (s *scanner) literal(word string) error {
	if !hasLiteral(s.b, s.r, word) {
		return s.fail(word)
	}
	s.r += len(word)
	return nil
}

func (s *scanner) number() error {
	end, ok := numberEnd(s.b, s.r)
	if s.r = end; !ok {
		return s.fail("a digit")
	}
	return nil
}

// str reads a string, including both quotes.
func (s *scanner) str() error {
	end, ok := stringEnd(s.b, s.r+1)
	switch s.r = end; {
	case ok:
		return nil
	case end == len(s.b):
		return s.fail("the end of a string")
	case s.b[end] == '\\':
		return s.fail(`a valid escape after '\'`)
	}
	return s.fail(`no bare control character in a string: write it as an escape such as \n`)
}

// hasLiteral reports whether word is at b[i].
func hasLiteral(b []byte, i int, word string) bool {
	return len(b)-i >= len(word) && string(b[i:i+len(word)]) == word
}

// numberEnd returns the end of the number that begins at b[i]. If it is not a number, it returns
// the position at which a digit is missing.
func numberEnd(b []byte, i int) (end int, ok bool) {
	if b[i] == '-' {
		i++
	}
	if i < len(b) && b[i] == '0' {
		i++
	} else if i, ok = digitsEnd(b, i); !ok {
		return i, false
	}
	if i < len(b) && b[i] == '.' {
		if i, ok = digitsEnd(b, i+1); !ok {
			return i, false
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		if i++; i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		return digitsEnd(b, i)
	}
	return i, true
}

func digitsEnd(b []byte, i int) (end int, ok bool) {
	start := i
	for i < len(b) && b[i]-'0' <= 9 {
		i++
	}
	return i, i > start
}

// stringEnd returns the index after the closing quote of the string whose first byte is b[i]. If
// the string is invalid, it returns the index of the error: a backslash, a control character, or
// the end of b.
func stringEnd(b []byte, i int) (end int, ok bool) {
	for {
		for i+8 <= len(b) {
			m := specials(binary.LittleEndian.Uint64(b[i : i+8]))
			if m == 0 {
				i += 8
				continue
			}
			if i += bits.TrailingZeros64(m) >> 3; b[i] == '"' {
				return i + 1, true
			}
			break
		}
		for i < len(b) && b[i] != '"' && b[i] != '\\' && b[i] >= ' ' {
			i++
		}
		if i == len(b) {
			return i, false
		}
		if b[i] == '"' {
			return i + 1, true
		}
		n := escapeLen(b[i:])
		if n == 0 {
			return i, false
		}
		i += n
	}
}

// escapeLen returns the length of the escape that b starts with, or 0 if it is not a valid JSON
// escape.
func escapeLen(b []byte) int {
	if len(b) < 2 || b[0] != '\\' {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(b) < 6 {
			return 0
		}
		for _, c := range b[2:6] {
			if !(c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f') {
				return 0
			}
		}
		return 6
	}
	return 0
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// specials flags, by its highest bit, the lowest of eight bytes that is a quote, a backslash or a
// control character, and possibly bytes above it. Flipping bit 1 moves the quote next to the
// control characters, which remain control characters.
func specials(x uint64) uint64 {
	return ((x ^ ones*2 - ones*0x21) | (x ^ ones*'\\' - ones)) &^ x & highs
}
