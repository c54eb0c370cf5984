package dedup

import (
	"crypto/rand"
	"encoding/binary"
	"math/bits"

	"github.com/zeebo/xxh3"
)

// Key identifies a message of a source: 96 bits of a hash that is keyed by the directory's secret
// seed. With 1e9 messages remembered, one in 8e19 new ones is taken for another by chance. (With 64
// bits it would be one in 2e10: at that rate per day, one first copy would be lost every three
// weeks.)
//
// The hash is not cryptographic and need not be. Whoever can write to a source can have one of its
// messages dropped by sending its messageId first, so a collision within the source gains nothing,
// and the source is part of what is hashed. The seed prevents anybody from choosing where keys
// fall.
type Key struct {
	hi uint64
	lo uint32
}

// Key returns the key of a source's message. Source ids contain no NUL.
func (s *Store) Key(source string, messageID []byte) Key {
	s.key = append(append(append(s.key[:0], source...), 0), messageID...)
	h := xxh3.Hash128Seed(s.key, s.seed)
	return Key{hi: h.Hi, lo: uint32(h.Lo)}
}

func (k Key) less(o Key) bool { return k.hi < o.hi || k.hi == o.hi && k.lo < o.lo }

// part maps the key to one of n parts of equal width, in order of the keys.
func (k Key) part(n int) int {
	p, _ := bits.Mul64(k.hi, uint64(n))
	return int(p)
}

func newSeed() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:])
}
