package stream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/segmentio/kafka-go/compress"
)

// ErrBatch says that a record batch is not what a producer wrote: it was damaged on the way, or it
// is in the format from before Kafka 0.11.
var ErrBatch = errors.New("record batch is damaged or of an old format")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// decoder reads record batches (message format 2). Records point into its input, or into its arena
// if they were compressed.
type decoder struct {
	topic      string
	partition  int
	records    []Record
	headers    []Header
	arena      []byte
	batchStart int // where in the arena the current or last decompressed batch begins
	unpacked   int // bytes decompressed from this input
	inputLimit int // input size that would decompress to half of unpackTarget, judging by the last input; 0: it was not compressed
	packed     bytes.Reader
	names      map[string]string // names of headers, so that each is allocated once
}

// unpackTarget is how much of a fetch is decompressed before the next batch is left to the next
// fetch, since one MiB may hold hundreds of batches that decompress to maxBatchBytes each. A fetch
// asks for an estimated half of it, because each partition has buffers for two. A variable for
// tests.
var unpackTarget = 4 << 20 // 4 MiB

// maxKeptBytes is the largest size of buffers that are kept. A variable for tests.
var maxKeptBytes = 4 * unpackTarget

// batchHeaderBytes is the size of a batch's header.
const batchHeaderBytes = 61

// read returns the records at or above the offset, and the offset after everything that was read.
// If the last batch is cut short, it is left to the next fetch. So is a damaged batch, unless it is
// the first; then it is an error.
func (d *decoder) read(b []byte, offset int64) ([]Record, int64, error) {
	d.records, d.headers, d.arena, d.unpacked = d.records[:0], d.headers[:0], d.arena[:0], 0
	if max(cap(d.arena), cap(d.records)*128, cap(d.headers)*40) > maxKeptBytes { // one large batch is no reason to keep that much forever
		d.arena, d.records, d.headers = nil, nil, nil // records point into the arena and the headers
	}
	next, all := offset, len(b)
	defer func() { d.updateInputLimit(all - len(b)) }()
	for first := true; len(b) >= 12; first = false {
		size := int64(binary.BigEndian.Uint32(b[8:])) + 12
		if size > int64(len(b)) && !first {
			break
		}
		end, control, err := batchHeader(b, size)
		if err == nil && end > next && !control { // brokers may send a batch that begins before the offset
			if d.unpacked >= unpackTarget {
				break
			}
			before := len(d.records)
			if err = d.readBatch(b[:size], offset, end); err != nil {
				d.records = d.records[:before]
				err = fmt.Errorf("batch of offsets %d to %d: %w", int64(binary.BigEndian.Uint64(b)), end-1, err)
			}
		}
		if err != nil && next > offset { // it is met again after the records before it were filed
			break
		}
		if err != nil {
			return nil, 0, err
		}
		next, b = max(next, end), b[size:]
	}
	return d.records, next, nil
}

// updateInputLimit adapts most to the last input, of which read bytes were decompressed. It never
// goes below minFetchBytes, however much a single batch decompresses to.
func (d *decoder) updateInputLimit(read int) {
	switch {
	case read <= 0:
	case d.unpacked == 0:
		d.inputLimit = 0
	default:
		d.inputLimit = max(minFetchBytes, int(int64(read)*int64(unpackTarget/2)/int64(d.unpacked)))
	}
}

var minFetchBytes = 64 << 10 // 64 KiB; a variable for tests

// batchHeader checks the batch of the given size at the beginning of b. It returns the offset after
// the batch, and whether it is a control batch, which contains no records for us.
func batchHeader(b []byte, size int64) (end int64, control bool, err error) {
	be := binary.BigEndian
	if len(b) > 16 && b[16] < 2 {
		return 0, false, fmt.Errorf("%w: at offset %d: it is in format %d, which other consumers can read: copy its records to the end of the topic before you give them up", ErrBatch, int64(be.Uint64(b)), b[16])
	}
	if size < batchHeaderBytes || size > int64(len(b)) || b[16] != 2 || be.Uint32(b[17:]) != crc32.Checksum(b[21:size], castagnoli) {
		return 0, false, fmt.Errorf("%w: at offset %d", ErrBatch, int64(be.Uint64(b)))
	}
	return int64(be.Uint64(b)) + int64(int32(be.Uint32(b[23:]))) + 1, be.Uint16(b[21:])&(1<<5) != 0, nil
}

// readBatch reads one batch, all of whose offsets are below end.
func (d *decoder) readBatch(batch []byte, offset, end int64) error {
	be := binary.BigEndian
	attributes := be.Uint16(batch[21:])
	base, baseTime := int64(be.Uint64(batch)), int64(be.Uint64(batch[27:]))
	appendTime := attributes&(1<<3) != 0
	if appendTime {
		baseTime = int64(be.Uint64(batch[35:]))
	}
	lines := batch[batchHeaderBytes:]
	if codec := attributes & 7; codec != 0 {
		var err error
		if lines, err = d.unpack(compress.Compression(codec), lines); err != nil {
			return err
		}
	}
	r, next := cursor{b: lines}, base
	for range int32(be.Uint32(batch[57:])) {
		one := cursor{b: r.take(r.varint()), err: r.err}
		one.skip(1) // attributes; none are defined
		at := one.varint()
		rec := Record{Topic: d.topic, Partition: d.partition, Offset: base + one.varint()}
		if appendTime {
			at = 0
		}
		rec.Time = time.UnixMilli(baseTime + at)
		rec.Key, rec.Value = one.bytes(), one.bytes()
		first := len(d.headers)
		for range one.varint() {
			name := one.bytes()
			value := one.bytes()
			if one.err != nil {
				break
			}
			d.headers = append(d.headers, Header{Key: d.headerName(name), Value: value})
			if d.exceedsMemory() {
				return ErrBatchTooLarge
			}
		}
		if one.err != nil || rec.Offset < next || rec.Offset >= end { // brokers do not check the single records
			return fmt.Errorf("%w: record %d or after", ErrBatch, rec.Offset)
		}
		next = rec.Offset + 1
		if rec.Offset < offset {
			d.headers = d.headers[:first]
			continue
		}
		if len(d.headers) > first {
			rec.Headers = d.headers[first:len(d.headers):len(d.headers)]
		}
		d.records = append(d.records, rec)
		if d.exceedsMemory() {
			return ErrBatchTooLarge
		}
	}
	return nil
}

// exceedsMemory reports whether records and headers take more memory than the largest batch may: a
// few bytes in the log become a Record of 128 bytes, or a Header of 40.
func (d *decoder) exceedsMemory() bool {
	return int64(len(d.records))*128+int64(len(d.headers))*40 > 2*maxBatchBytes
}

// reserve makes room for n more bytes of the batch in the arena. If the arena grows, only the
// current batch moves, to the beginning of the new one; earlier batches stay where they are.
func (d *decoder) reserve(n int) {
	if cap(d.arena)-len(d.arena) >= n {
		return
	}
	batch := d.arena[d.batchStart:]
	d.arena = append(make([]byte, 0, max(2*cap(d.arena), len(batch)+n, 256<<10)), batch...)
	d.batchStart = 0
}

// headerName returns the name of a header as a string.
func (d *decoder) headerName(b []byte) string {
	s, ok := d.names[string(b)]
	if !ok {
		s = string(b)
		if d.names == nil || len(d.names) >= 256 { // a producer that makes up names
			d.names = map[string]string{}
		}
		d.names[s] = s
	}
	return s
}

// cursor reads big-endian numbers and varints. After an error it returns zeros.
type cursor struct {
	b   []byte
	err error
}

var errShort = errors.New("cut short")

// take returns the next n bytes.
func (c *cursor) take(n int64) []byte {
	if n < 0 || n > int64(len(c.b)) {
		c.b, c.err = nil, errShort
		return nil
	}
	b := c.b[:n:n]
	c.b = c.b[n:]
	return b
}

func (c *cursor) skip(n int64) { c.take(n) }

func (c *cursor) u16() uint16 {
	if b := c.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (c *cursor) i32() int32 {
	if b := c.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (c *cursor) i64() int64 {
	if b := c.take(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

func (c *cursor) varint() int64 {
	if len(c.b) > 0 && c.b[0] < 0x80 { // the most common case
		v := int64(c.b[0]>>1) ^ -int64(c.b[0]&1)
		c.b = c.b[1:]
		return v
	}
	v, n := binary.Varint(c.b)
	if n <= 0 {
		c.b, c.err = nil, errShort
		return 0
	}
	c.b = c.b[n:]
	return v
}

// bytes reads a length and that many bytes. It returns nil if the length is -1.
func (c *cursor) bytes() []byte {
	n := c.varint()
	if n == -1 {
		return nil
	}
	return c.take(n)
}
