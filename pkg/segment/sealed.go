package segment

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/sealift/sealift/pkg/ledger"
)

// Reason says why a file was sealed. It is a metric label and is stored in the ledger.
type Reason string

// Reasons.
const (
	ReasonSize    Reason = "size"    // the next record might exceed the object's limit
	ReasonTime    Reason = "time"    // its hour, or appender.roll_every, is over
	ReasonDisk    Reason = "disk"    // the disk is short of space
	ReasonRequest Reason = "request" // an operator asked for it
	ReasonStop    Reason = "stop"    // the worker stops and is configured to seal, or its log lacks the next records or those held
	ReasonConfig  Reason = "config"  // how records are routed is about to change
)

// Batch is the content of one ledger entry: a partition's sealed files, where reading resumes once
// they are in the ledger, and by reason how many records below that are in no file.
type Batch struct {
	Files           []*Sealed
	LowWatermark    int64
	CompleteThrough int64 // see ledger.Entry; 0: unknown
	Skipped         map[string]int64
}

// Sealed is a finished file: one gzip member of at least one line. Its bytes stay in the spool
// until Release.
type Sealed struct {
	Meta
	Reason    Reason
	GzipBytes int64
	SHA256    [32]byte // of the gzip bytes, computed as they were written
	RawCRC64  uint64   // CRC-64/NVME of the lines

	extents []extent
	trailer []byte
	spool   *Spool
}

// File returns the file as the ledger describes it. The caller fills in the staged key and what is
// owed.
func (f *Sealed) File() ledger.File {
	return ledger.File{
		Source: f.Stream.Source, Hour: f.Stream.Hour, Received: f.Received,
		First: f.First, Last: f.Last, Records: f.Records,
		RawBytes: f.RawBytes, GzipBytes: f.GzipBytes,
		Reason:   string(f.Reason),
		RawCRC64: fmt.Sprintf("%016x", f.RawCRC64), SHA256: hex.EncodeToString(f.SHA256[:]),
	}
}

// Release frees the file's space. Only the spool's owner may call it, and only when no reader is in
// use any more.
func (f *Sealed) Release() {
	s := f.spool
	if s.broken != nil {
		return
	}
	delete(s.sealed, f)
	for _, x := range f.extents {
		if x.chunk.refs--; x.chunk.refs == 0 && x.chunk != s.chunk {
			s.drop(x.chunk)
		}
	}
	f.extents = nil
}

// Reader returns the object's bytes. Readers are independent of each other
// and may be used in any goroutine until Release.
func (f *Sealed) Reader() io.ReadSeeker { return Concat(f) }

// Concat returns a reader of several files, one after the other, which together are a gzip file
// with as many members.
func Concat(files ...*Sealed) io.ReadSeeker {
	r := &reader{}
	add := func(p part) {
		p.at = r.size
		r.parts = append(r.parts, p)
		r.size += p.len
	}
	for _, f := range files {
		add(part{memory: gzipHeader, len: int64(len(gzipHeader))})
		for _, x := range f.extents {
			add(part{file: x.chunk.file, off: x.off, len: x.len})
		}
		add(part{memory: f.trailer, len: int64(len(f.trailer))})
	}
	return r
}

// part is a run of the object's bytes [at, at+len).
type part struct {
	memory  []byte   // its bytes, if file is nil
	file    *os.File // that has them from off on
	off     int64
	at, len int64
}

// reader reads parts one after the other.
type reader struct {
	parts []part
	size  int64
	pos   int64
	cur   int // the part in which to start looking for pos

	ahead     []byte // what was last read ahead: the bytes of aheadFile from aheadOff on
	aheadFile *os.File
	aheadOff  int64
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	if r.pos >= r.size {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	n := 0
	for n < len(p) && r.pos < r.size {
		for r.pos >= r.parts[r.cur].at+r.parts[r.cur].len {
			r.cur++
		}
		part := r.parts[r.cur]
		in := r.pos - part.at
		want := min(int64(len(p)-n), part.len-in)
		m, err := r.readPart(p[n:n+int(want)], in)
		n += m
		r.pos += int64(m)
		if err != nil && !(errors.Is(err, io.EOF) && int64(m) == want) {
			return n, fmt.Errorf("read sealed file: %w", err)
		}
	}
	return n, nil
}

const (
	aheadBytes = 64 << 10 // 64 KiB: most that is read at once of several parts
	aheadGap   = 4 << 10  // 4 KiB: most that is read in vain between two parts
)

// readPart reads bytes of the current part, from in on. Small files that were sealed together lie
// one after the other, with only the headers of their frames in between. They are read together: a
// system call for each would take longer than everything else that is done with its bytes.
func (r *reader) readPart(p []byte, in int64) (int, error) {
	part := r.parts[r.cur]
	if part.file == nil {
		return copy(p, part.memory[in:]), nil
	}
	off := part.off + in
	if part.file != r.aheadFile || off < r.aheadOff || off+int64(len(p)) > r.aheadOff+int64(len(r.ahead)) {
		end := r.aheadEnd(off)
		if end == part.off+part.len { // no other part is near
			return part.file.ReadAt(p, off)
		}
		if r.ahead == nil {
			r.ahead = make([]byte, aheadBytes)
		}
		n, err := part.file.ReadAt(r.ahead[:end-off], off)
		r.ahead, r.aheadFile, r.aheadOff = r.ahead[:n], part.file, off
		if n < len(p) { // otherwise the error is that of another part, which will meet it again
			return copy(p, r.ahead), err
		}
	}
	return copy(p, r.ahead[off-r.aheadOff:]), nil
}

// aheadEnd returns how far the current part's file is read at once, from off on: up to the end of
// the last part that follows closely.
func (r *reader) aheadEnd(off int64) int64 {
	first := r.parts[r.cur]
	end := first.off + first.len
	for _, p := range r.parts[r.cur+1:] {
		if p.file == nil {
			continue
		}
		if p.file != first.file || p.off < end || p.off > end+aheadGap || p.off+p.len > off+aheadBytes {
			break
		}
		end = p.off + p.len
	}
	return end
}

// Seek implements io.Seeker.
func (r *reader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.pos
	case io.SeekEnd:
		offset += r.size
	}
	if offset < 0 {
		return 0, errors.New("read sealed file: seek before its start")
	}
	r.pos, r.cur = offset, 0
	return offset, nil
}
