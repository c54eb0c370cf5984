package dedup

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"sort"
)

// run is a sorted file of messages. It never changes. All numbers are little-endian:
//
//	entries   16 bytes each, sorted: key (8, 4), offset minus base (4)
//	directory 8 bytes per bucket: entries up to its end (4), CRC-32C of its bytes (4)
//	filter    64 bytes per block
//	footer    footerBytes
//
// The range of keys is divided evenly among the buckets, so one read of about 2 KB finds any key.
// Every byte is covered by a checksum: an offset that rotted to a lower one could make a first copy
// a duplicate.
type run struct {
	footer
	seq    uint64
	path   string
	file   *os.File
	size   int64
	dir    []bucket
	filter filter
}

type footer struct {
	count, buckets, blocks int
	base                   int64 // lower than every offset held
	max                    int64 // highest offset held
	oldest, newest         int64 // lowest and highest time of receipt held
	span                   span  // offsets that were all read
}

type bucket struct {
	end uint32 // entries up to the bucket's end
	sum uint32
}

const (
	footerMagic   = 0x31_4e_55_52_44_45_44_53 // "SDEDRUN1"
	footerBytes   = 11 * 8
	entryBytes    = 16
	dirBytes      = 8
	blockBytes    = blockWords * 8
	bucketEntries = 128 // about
	tmpSuffix     = ".tmp"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errCorrupt = errors.New("run is corrupt")

func runName(seq uint64) string { return fmt.Sprintf("%016x.run", seq) }

// low is the offset by which runs are sorted.
func (r *run) low() int64 {
	if r.span.empty() {
		return r.base
	}
	return min(r.span.lo, r.base)
}

// covers reports whether everything in in is in r as well.
func (r *run) covers(in *run) bool {
	return r.span.contains(in.span) && r.span.contains(span{in.base + 1, in.max + 1})
}

func (r *run) memory() int64 { return memoryOf(r.buckets, r.blocks) }

func memoryOf(buckets, blocks int) int64 { return int64(buckets)*dirBytes + int64(blocks)*blockBytes }

// remove closes and deletes the run's file.
func (r *run) remove() {
	_ = r.file.Close()
	_ = os.Remove(r.path)
}

// openRun opens a run and reads its directory and filter.
func openRun(path string) (_ *run, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	r := &run{path: path, file: f}
	defer func() {
		if err != nil {
			_ = f.Close()
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Sscanf(info.Name(), "%016x.run", &r.seq); err != nil {
		return nil, fmt.Errorf("name of run %q: %w", path, err)
	}
	r.size = info.Size()
	return r, r.readTail()
}

// readTail reads everything except the entries.
func (r *run) readTail() error {
	var b [footerBytes]byte
	if r.size < footerBytes {
		return fmt.Errorf("%w: %d bytes", errCorrupt, r.size)
	}
	if _, err := r.file.ReadAt(b[:], r.size-footerBytes); err != nil {
		return err
	}
	tailSum, err := r.parse(b[:])
	if err != nil {
		return err
	}
	sum := crc32.New(castagnoli)
	in := io.TeeReader(io.NewSectionReader(r.file, int64(r.count)*entryBytes, memoryOf(r.buckets, r.blocks)), sum)
	r.dir, r.filter = make([]bucket, r.buckets), make(filter, r.blocks*blockWords)
	buf := make([]byte, 64<<10) // a multiple of the sizes of both
	for i := 0; i < r.buckets; {
		n := min(len(buf)/dirBytes, r.buckets-i)
		if _, err := io.ReadFull(in, buf[:n*dirBytes]); err != nil {
			return err
		}
		for j := range n {
			r.dir[i+j] = bucket{binary.LittleEndian.Uint32(buf[j*dirBytes:]), binary.LittleEndian.Uint32(buf[j*dirBytes+4:])}
		}
		i += n
	}
	for i := 0; i < len(r.filter); {
		n := min(len(buf)/8, len(r.filter)-i)
		if _, err := io.ReadFull(in, buf[:n*8]); err != nil {
			return err
		}
		for j := range n {
			r.filter[i+j] = binary.LittleEndian.Uint64(buf[j*8:])
		}
		i += n
	}
	if sum.Sum32() != tailSum {
		return fmt.Errorf("%w: checksum of directory and filter", errCorrupt)
	}
	end := uint32(0)
	for _, d := range r.dir {
		if d.end < end {
			return fmt.Errorf("%w: directory", errCorrupt)
		}
		end = d.end
	}
	if int(end) != r.count {
		return fmt.Errorf("%w: directory", errCorrupt)
	}
	return nil
}

// append appends the encoded footer to b.
func (f *footer) append(b []byte, tailSum uint32) []byte {
	start := len(b)
	le := binary.LittleEndian
	for _, v := range []int64{footerMagic, int64(f.count), int64(f.buckets), int64(f.blocks), f.base, f.max, f.oldest, f.newest, f.span.lo, f.span.hi} {
		b = le.AppendUint64(b, uint64(v))
	}
	b = le.AppendUint32(b, tailSum)
	return le.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// parse decodes the footer, and returns the checksum of directory and filter.
func (r *run) parse(b []byte) (tailSum uint32, err error) {
	le := binary.LittleEndian
	if crc32.Checksum(b[:footerBytes-4], castagnoli) != le.Uint32(b[footerBytes-4:]) {
		return 0, fmt.Errorf("%w: checksum of footer", errCorrupt)
	}
	var v [10]int64
	for i := range v {
		v[i] = int64(le.Uint64(b[i*8:]))
	}
	r.footer = footer{
		count: int(v[1]), buckets: int(v[2]), blocks: int(v[3]),
		base: v[4], max: v[5], oldest: v[6], newest: v[7], span: span{v[8], v[9]},
	}
	switch {
	case v[0] != footerMagic:
		return 0, fmt.Errorf("%w: unknown format", errCorrupt)
	case r.count < 0 || r.count > math.MaxUint32 || r.buckets < 1 || r.buckets > r.count+1 || r.blocks < 1 || r.blocks > r.count+1,
		r.size != int64(r.count)*entryBytes+memoryOf(r.buckets, r.blocks)+footerBytes:
		return 0, fmt.Errorf("%w: sizes", errCorrupt)
	}
	return le.Uint32(b[80:]), nil
}

// read returns the bytes of the buckets from first to last-1, after verifying them. It uses buf if
// they fit.
func (r *run) read(buf []byte, first, last int) ([]byte, error) {
	start, end := uint32(0), r.dir[last-1].end
	if first > 0 {
		start = r.dir[first-1].end
	}
	n := int(end-start) * entryBytes
	if cap(buf) < n {
		buf = make([]byte, n, n+n/4)
	}
	buf = buf[:n]
	if n == 0 {
		return buf, nil
	}
	if _, err := r.file.ReadAt(buf, int64(start)*entryBytes); err != nil {
		return buf, fmt.Errorf("read run: %w", err)
	}
	at := start
	for _, d := range r.dir[first:last] {
		if crc32.Checksum(buf[int(at-start)*entryBytes:int(d.end-start)*entryBytes], castagnoli) != d.sum {
			return buf, fmt.Errorf("%w: checksum of entries %d to %d", errCorrupt, at, d.end)
		}
		at = d.end
	}
	return buf, nil
}

// find returns the offset that the run holds for the key; buf is scratch.
func (r *run) find(k Key, buf *[]byte) (offset int64, ok bool, err error) {
	b := k.part(r.buckets)
	*buf, err = r.read(*buf, b, b+1)
	if err != nil {
		return 0, false, err
	}
	n := len(*buf) / entryBytes
	i := sort.Search(n, func(i int) bool { return !r.decode((*buf)[i*entryBytes:]).key.less(k) })
	if i == n {
		return 0, false, nil
	}
	e := r.decode((*buf)[i*entryBytes:])
	return e.offset, e.key == k, nil
}

func (r *run) decode(b []byte) entry {
	le := binary.LittleEndian
	return entry{Key{le.Uint64(b), le.Uint32(b[8:])}, r.base + int64(le.Uint32(b[12:]))}
}

// each returns an iterator over the run's entries, sorted by key. It ends after an error, which it
// stores in *err.
func (r *run) each(err *error) func() (entry, bool) {
	const together = 32 // buckets, about 64 KB
	var buf []byte
	next, at := 0, 0
	return func() (entry, bool) {
		for at == len(buf) {
			if next == r.buckets || *err != nil {
				return entry{}, false
			}
			last := min(next+together, r.buckets)
			buf, *err = r.read(buf, next, last)
			next, at = last, 0
			if *err != nil {
				buf = nil
				return entry{}, false
			}
		}
		e := r.decode(buf[at:])
		at += entryBytes
		return e, true
	}
}
