package collector

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/sealift/sealift/pkg/event"
	"github.com/sealift/sealift/pkg/stream"
)

// parcel is what a request becomes once it is accepted.
type parcel struct {
	records []stream.Record // for the events topic
	dead    []stream.Record // for the dead letters
	body    int             // bytes of the body, inflated
	// rejected has the indexes of the events in dead, by reason; nil: there are none.
	rejected map[event.Reason][]int
	charges  map[charge]int // what it took from rate limits
}

func (t parcel) empty() bool { return len(t.records)+len(t.dead) == 0 }

// all yields the records of both lists.
func (t parcel) all() iter.Seq[*stream.Record] {
	return func(yield func(*stream.Record) bool) {
		for _, records := range [][]stream.Record{t.dead, t.records} {
			for i := range records {
				if !yield(&records[i]) {
					return
				}
			}
		}
	}
}

// parcelVersion is the first byte of a parcel: what a request's events become in their spool, and
// its dead letters in theirs. A parcel holds the dead letters, then the records, each list with its
// count first. One of the two is empty, except in the parcels of earlier releases. A record is its
// time in unix milliseconds, its key, its value, and its headers with their count first. Numbers
// are varints. Byte strings begin with their length + 1; 0 is nil.
const parcelVersion = 1

// parcelBytes returns an upper estimate of a parcel's size.
func parcelBytes(t parcel) int64 {
	size := int64(64)
	for r := range t.all() {
		size += recordBytes(r)
	}
	return size
}

// recordBytes returns an upper estimate of a record's size in a parcel and in one of Kafka's
// batches.
func recordBytes(r *stream.Record) int64 {
	size := 64 + len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		size += 20 + len(h.Key) + len(h.Value)
	}
	return int64(size)
}

func appendParcel(b []byte, t parcel) []byte {
	b = append(b, parcelVersion)
	for _, records := range [][]stream.Record{t.dead, t.records} {
		b = binary.AppendUvarint(b, uint64(len(records)))
		for i := range records {
			r := &records[i]
			b = binary.AppendVarint(b, r.Time.UnixMilli())
			b = appendBytes(appendBytes(b, r.Key), r.Value)
			b = binary.AppendUvarint(b, uint64(len(r.Headers)))
			for _, h := range r.Headers {
				b = appendBytes(appendBytes(b, []byte(h.Key)), h.Value)
			}
		}
	}
	return b
}

func appendBytes(b, v []byte) []byte {
	if v == nil {
		return append(b, 0)
	}
	return append(binary.AppendUvarint(b, uint64(len(v))+1), v...)
}

var errParcel = errors.New("not a parcel of events")

// parseParcel is the inverse of appendParcel. The result shares memory with b.
func parseParcel(b []byte) (parcel, error) {
	if len(b) == 0 || b[0] != parcelVersion {
		return parcel{}, fmt.Errorf("%w that this release knows", errParcel)
	}
	p := unpacker{b: b[1:]}
	var t parcel
	t.dead, t.records = p.records(), p.records()
	if p.bad || len(p.b) > 0 {
		return parcel{}, errParcel
	}
	return t, nil
}

// isLaterParcel reports whether a later release wrote the parcel, in a format that this one cannot
// parse.
func isLaterParcel(b []byte) bool { return len(b) > 0 && b[0] > parcelVersion }

// unpacker takes values from the front of b. Once bad is set, all values are zero.
type unpacker struct {
	b   []byte
	bad bool
}

func (p *unpacker) fail() {
	p.b, p.bad = nil, true
}

// number reads a varint. No length or count can be more than the number of bytes left.
func (p *unpacker) number() int {
	v, n := binary.Uvarint(p.b)
	if n <= 0 || v > uint64(len(p.b)) {
		p.fail()
		return 0
	}
	p.b = p.b[n:]
	return int(v)
}

func (p *unpacker) bytes() []byte {
	n := p.number() - 1
	if n > len(p.b) {
		p.fail()
	}
	if n < 0 || p.bad {
		return nil
	}
	v := p.b[:n:n]
	p.b = p.b[n:]
	return v
}

func (p *unpacker) records() []stream.Record {
	var out []stream.Record
	for range p.number() {
		ms, n := binary.Varint(p.b)
		if n <= 0 {
			p.fail()
		}
		if p.bad {
			return nil
		}
		p.b = p.b[n:]
		r := stream.Record{Time: time.UnixMilli(ms).UTC(), Key: p.bytes(), Value: p.bytes()}
		for range p.number() {
			if p.bad {
				return nil
			}
			r.Headers = append(r.Headers, stream.Header{Key: string(p.bytes()), Value: p.bytes()})
		}
		out = append(out, r)
	}
	return out
}
