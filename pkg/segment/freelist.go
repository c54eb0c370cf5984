package segment

import "math/bits"

// freeList recycles buffers of power-of-two sizes within one spool, so that
// buffers that grow and shrink with their streams do not become garbage.
type freeList struct {
	classes [32][][]byte
	bytes   int
}

const smallestClass = 9 // log2 of the smallest buffer: 512 bytes

// get returns an empty buffer of at least n bytes.
func (l *freeList) get(n int) []byte {
	k := class(n)
	if free := l.classes[k]; len(free) > 0 {
		b := free[len(free)-1]
		free[len(free)-1] = nil // otherwise it could not be collected, though put may not take it back
		l.classes[k] = free[:len(free)-1]
		l.bytes -= cap(b)
		return b[:0]
	}
	return make([]byte, 0, 1<<k)
}

// put returns a buffer that came from get. What would make the list larger than limit bytes is left
// to the garbage collector.
func (l *freeList) put(b []byte, limit int64) {
	if int64(l.bytes+cap(b)) > limit {
		return
	}
	k := class(cap(b))
	l.classes[k] = append(l.classes[k], b)
	l.bytes += cap(b)
}

// trim leaves what makes the list larger than limit bytes to the garbage collector, the largest
// buffers first.
func (l *freeList) trim(limit int64) {
	for k := len(l.classes) - 1; int64(l.bytes) > limit; {
		if len(l.classes[k]) == 0 {
			k--
			continue
		}
		l.get(1 << k)
	}
}

// class is the log2 of the smallest power of two that is at least n.
func class(n int) int {
	return max(bits.Len(uint(n-1)), smallestClass)
}
