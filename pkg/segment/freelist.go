package segment

import "math/bits"

// freeList recycles buffers of power-of-two sizes within one spool, so that
// buffers that grow and shrink with their streams do not become garbage.
type freeList struct {
	classes [32][][]byte
}

const (
	smallestClass = 9       // log2 of the smallest buffer: 512 bytes
	keepPerClass  = 64      // buffers kept of each size
	largestKept   = 1 << 20 // larger buffers are left to the collector
)

// get returns an empty buffer of at least n bytes.
func (l *freeList) get(n int) []byte {
	k := class(n)
	if free := l.classes[k]; len(free) > 0 {
		b := free[len(free)-1]
		l.classes[k] = free[:len(free)-1]
		return b[:0]
	}
	return make([]byte, 0, 1<<k)
}

// put gives back a buffer that get returned.
func (l *freeList) put(b []byte) {
	if cap(b) == 0 || cap(b) > largestKept {
		return
	}
	if k := class(cap(b)); len(l.classes[k]) < keepPerClass {
		l.classes[k] = append(l.classes[k], b)
	}
}

// class is the log2 of the smallest power of two that is at least n.
func class(n int) int {
	return max(bits.Len(uint(n-1)), smallestClass)
}
