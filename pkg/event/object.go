package event

// MaxNesting is how deep an object may nest for Inspect. It is the same as encoding/json's limit.
const MaxNesting = 10_000

// Object is what Inspect finds out about a JSON object.
type Object struct {
	// MessageID is the value of the first member with that name, as in Line. It is nil if there is
	// none, or if its value is neither a number nor a non-empty string. It may alias the value.
	MessageID []byte
	// LineBreaks says that there are line breaks between tokens.
	LineBreaks bool
}

// Inspect examines a value that should be one JSON object, in one pass that changes nothing and
// does not recurse. ok is false for anything else. Strings need not be valid UTF-8.
//
// Why not a library: validation, the search for line breaks and the search for the messageId took
// one pass each with gjson and bytes, at three times the cost (BenchmarkInspect).
func Inspect(value []byte) (o Object, ok bool) {
	l := inspector{b: value}
	c, i := l.peek(0)
	if c != '{' {
		return Object{}, false
	}
	if i, ok = l.container(i); ok {
		c, i = l.peek(i)
	}
	return Object{MessageID: l.id, LineBreaks: l.lineBreaks}, ok && c == 0 && i == len(value)
}

// inspector is the state of one Inspect. The position in b is passed from call to call. As a field,
// it would make each byte wait for the store of the previous index.
type inspector struct {
	b          []byte
	lineBreaks bool
	id         []byte
}

// container reads the container that begins at b[i], with everything in it.
func (l *inspector) container(i int) (end int, ok bool) {
	var room [64]byte
	open := append(room[:0], l.b[i]+2) // closing bytes of the open containers; ']' and '}' come two after '[' and '{'
	seen := false                      // a messageId was seen, of any type
	c, i := l.peek(i + 1)
	first := true // in its container
	for {
		closing := open[len(open)-1]
		if c == closing {
			open = open[:len(open)-1]
			if i++; len(open) == 0 {
				return i, true
			}
			c, i = l.peek(i)
			first = false
			continue
		}
		if !first {
			if c != ',' {
				return i, false
			}
			c, i = l.peek(i + 1)
		}
		first = false
		id := false
		if closing == '}' {
			name := i
			if c != '"' {
				return i, false
			}
			if i, ok = stringEnd(l.b, i+1); !ok {
				return i, false
			}
			id = len(open) == 1 && !seen && fieldOfName(l.b[name:i]) == fMessageID
			if c, i = l.peek(i); c != ':' {
				return i, false
			}
			c, i = l.peek(i + 1)
		}
		value := i
		switch c {
		case '"':
			i, ok = stringEnd(l.b, i+1)
		case '{', '[':
			open = append(open, c+2)
			i, first, ok = i+1, true, len(open) <= MaxNesting
		default:
			i, ok = scalarEnd(l.b, i, c)
		}
		if !ok {
			return i, false
		}
		if id {
			seen = true
			if raw := l.b[value:i]; identifies(raw) {
				l.id = messageID(raw)
			}
		}
		c, i = l.peek(i)
	}
}

// peek skips white space from b[i] on, and returns the next byte and its index; the byte is 0 at
// the end.
func (l *inspector) peek(i int) (c byte, at int) {
	if i < len(l.b) && l.b[i] > ' ' {
		return l.b[i], i
	}
	return l.skip(i)
}

func (l *inspector) skip(i int) (c byte, at int) {
	for ; i < len(l.b); i++ {
		switch c := l.b[i]; c {
		case '\n', '\r':
			l.lineBreaks = true
		case ' ', '\t':
		default:
			return c, i
		}
	}
	return 0, i
}

// scalarEnd returns the end of the number or literal that begins with c at b[i].
func scalarEnd(b []byte, i int, c byte) (end int, ok bool) {
	switch c {
	case 't':
		return i + 4, hasLiteral(b, i, "true")
	case 'f':
		return i + 5, hasLiteral(b, i, "false")
	case 'n':
		return i + 4, hasLiteral(b, i, "null")
	}
	if c == '-' || c >= '0' && c <= '9' {
		return numberEnd(b, i)
	}
	return i, false
}
