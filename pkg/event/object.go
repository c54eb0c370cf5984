package event

// MaxNesting is how deep an object may nest for Inspect: encoding/json's own
// limit.
const MaxNesting = 10_000

// Object is what Inspect sees of a JSON object.
type Object struct {
	// MessageID is what the first member of that name stands for, as in Line;
	// nil if there is none, or it is neither a number nor a string that is not
	// empty. It may lie in the value.
	MessageID []byte
	// Broken says that there are line breaks between its tokens.
	Broken bool
}

// Inspect looks over a value that should be one JSON object, in one pass that
// changes nothing and does not recurse. ok is false for anything else. Strings
// need not be valid UTF-8.
//
// Why not a library: validation, the search for line breaks and that for the
// messageId were a pass each, of gjson and bytes, at three times the cost
// (BenchmarkInspect).
func Inspect(value []byte) (o Object, ok bool) {
	l := look{scanner: scanner{b: value}}
	ok = l.peek() == '{' && l.all() && l.peek() == 0 && l.r == len(value)
	return Object{MessageID: l.id, Broken: l.broken}, ok
}

// look is one Inspect: a scanner that leaves its input as it is.
type look struct {
	scanner
	broken bool
	seen   bool // a messageId, of whatever kind
	id     []byte
	end    byte                      // what closes the innermost container
	arrays [MaxNesting/64 + 1]uint64 // bit n: the one at depth n is an array
}

// all reads a container and all that is in it.
func (l *look) all() bool {
	first := true // in its container
	for ok := l.enter(l.b[l.r]); ok; {
		c := l.peek()
		switch {
		case c == l.end:
			if l.leave(); l.depth == 0 {
				return true
			}
			first = false
			continue
		case first:
			first = false
		case c != ',':
			return false
		default:
			l.r++
			c = l.peek()
		}
		id := false
		if l.end == '}' {
			if id, ok = l.name(c); !ok {
				return false
			}
			c = l.peek()
		}
		value := l.r
		if c == '{' || c == '[' {
			first, ok = true, l.enter(c)
		} else {
			ok = l.scalar(c)
		}
		if id && ok {
			l.seen = true
			if raw := l.b[value:l.r]; identifies(raw) {
				l.id = messageID(raw)
			}
		}
	}
	return false
}

// peek skips white space and returns the next byte, 0 at the end.
func (l *look) peek() byte {
	if l.r < len(l.b) && l.b[l.r] > ' ' {
		return l.b[l.r]
	}
	return l.skip()
}

func (l *look) skip() byte {
	for ; l.r < len(l.b); l.r++ {
		switch c := l.b[l.r]; c {
		case '\n', '\r':
			l.broken = true
		case ' ', '\t':
		default:
			return c
		}
	}
	return 0
}

// name reads a member's name and the colon, and tells whether it is the first
// messageId of the outermost object.
func (l *look) name(c byte) (id, ok bool) {
	start := l.r
	if c != '"' || l.str() != nil {
		return false, false
	}
	id = l.depth == 1 && !l.seen && fieldOfName(l.b[start:l.r]) == fMessageID
	ok = l.peek() == ':'
	l.r++
	return id, ok
}

func (l *look) scalar(c byte) bool {
	switch c {
	case '"':
		return l.str() == nil
	case 't':
		return l.literal("true") == nil
	case 'f':
		return l.literal("false") == nil
	case 'n':
		return l.literal("null") == nil
	}
	return (c == '-' || c >= '0' && c <= '9') && l.number() == nil
}

// enter reads the opening byte of a container.
func (l *look) enter(c byte) bool {
	l.r++
	l.depth++
	if l.depth > MaxNesting {
		return false
	}
	word, bit := &l.arrays[l.depth/64], uint64(1)<<(l.depth%64)
	if *word &^= bit; c == '[' {
		*word |= bit
	}
	l.end = c + 2 // ']' and '}' stand two after their openings
	return true
}

// leave reads the closing byte of a container.
func (l *look) leave() {
	l.r++
	l.depth--
	l.end = '}'
	if l.arrays[l.depth/64]>>(l.depth%64)&1 == 1 {
		l.end = ']'
	}
}
