package segment

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"slices"

	"github.com/minio/crc64nvme"

	"github.com/sealift/sealift/pkg/ledger"
)

// Spool holds the open files of one partition. One goroutine owns it; only
// Sealed.Reader may be used elsewhere.
//
// After a disk error the spool is unusable: every call returns that error. The owner either
// discards it and reads the partition again, or closes it and continues from the last checkpoint. A
// file is never repaired.
type Spool struct {
	cfg     Config
	open    map[ledger.Stream]*active
	sealed  map[*Sealed]struct{} // not released
	chunk   *chunk               // being written
	chunks  map[*chunk]struct{}
	journal *chunk   // being written; nil before the first checkpoint
	doomed  []*chunk // no longer needed once the next checkpoint is written
	next    int      // number of the next chunk
	buf     []byte   // frames not yet written to chunk
	state   []byte   // scratch
	held    int64    // bytes in memory, counted in the budget
	windows int64    // part of held: compression windows
	free    freeList
	broken  error
}

// active is an open file.
type active struct {
	Meta
	lines          buffer // not yet compressed
	flushedRecords int64  // records that are in blocks
	journaledBytes int    // bytes of lines that are in the journal
	savedRecords   int64  // records that are in blocks or in the journal
	crc            uint32 // CRC-32 of the compressed lines
	crc64          uint64
	sha            hash.Hash // of the object's bytes so far; nil before the first block
	gzBytes        int64     // size of the object so far
	window         []byte    // last bytes of the compressed lines
	extents        []extent
}

// windowBytes is how much of a stream's previous block primes the compressor for the next one. With
// it, small blocks compress nearly as well as large ones, for a few percent of CPU. Windows take at
// most a quarter of the memory; further streams get none.
const windowBytes = 8 << 10

// New returns an empty spool. It deletes whatever is in the directory.
func New(cfg Config) (*Spool, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if err := emptyDir(cfg.Dir); err != nil {
		return nil, fmt.Errorf("prepare spool directory: %w", err)
	}
	return emptySpool(cfg), nil
}

func emptySpool(cfg Config) *Spool {
	cfg.Budget.spools.Add(1)
	return &Spool{cfg: cfg, open: map[ledger.Stream]*active{}, sealed: map[*Sealed]struct{}{}, chunks: map[*chunk]struct{}{}}
}

// Fits reports whether the line can be in a file. For a line that does not fit, Append returns
// ErrLine.
func (s *Spool) Fits(line []byte) bool {
	object := int64(len(gzipHeader)) + blockBound(len(line)+1) + trailerBytes
	return len(line) > 0 && object <= s.cfg.maxObjectBytes() && bytes.IndexByte(line, '\n') < 0
}

// Append adds a record as one line, which is copied and must not contain a newline. It returns
// ErrFull, ErrOrder, ErrLine, or a disk error.
func (s *Spool) Append(stream ledger.Stream, offset, received int64, line []byte) error {
	if s.broken != nil {
		return s.broken
	}
	if !s.Fits(line) {
		return fmt.Errorf("append offset %d: %w", offset, ErrLine)
	}
	// Make room first: if the new file were flushed before its owner calls Note, its first block
	// would lack the note.
	if s.cfg.Budget.over(s.held) {
		if err := s.makeRoom(); err != nil {
			return err
		}
	}
	a := s.open[stream]
	if a == nil {
		a = &active{Meta: Meta{Stream: stream, Received: received, First: offset, Last: -1}, gzBytes: int64(len(gzipHeader))}
	}
	if offset <= a.Last {
		return fmt.Errorf("append offset %d after %d: %w", offset, a.Last, ErrOrder)
	}
	n := len(line) + 1
	// Invariant: the compressed bytes plus the bound of what is not compressed yet never exceed the
	// object's limit, except for a single line that might exceed it by itself.
	if a.Records > 0 && a.gzBytes+blockBound(a.lines.len+n)+trailerBytes > s.cfg.MaxBytes {
		if err := s.flush(a, false); err != nil {
			return err
		}
		if a.gzBytes+blockBound(n)+trailerBytes > s.cfg.MaxBytes {
			return fmt.Errorf("append offset %d: %w", offset, ErrFull)
		}
	}
	if a.lines.len > 0 && a.lines.len+n > s.cfg.blockBytes {
		if err := s.flush(a, false); err != nil {
			return err
		}
	}
	if grown := a.lines.writeLine(&s.free, line); grown > 0 {
		s.hold(int64(grown))
	}
	if a.Records == 0 {
		s.open[stream] = a
	}
	a.Last = offset
	a.Records++
	a.RawBytes += int64(n)
	return nil
}

// Note attaches a number of the owner's to the stream's open file. Files returns it in Meta. It
// survives a recovery if it is set right after the file's first record.
func (s *Spool) Note(stream ledger.Stream, note int64) {
	if a := s.open[stream]; a != nil {
		a.Meta.Note = note
	}
}

func (s *Spool) hold(n int64) {
	s.held += n
	s.cfg.Budget.used.Add(n)
}

// flush compresses the file's lines in memory into the spool, and empties its buffer. last says that
// the file will get no further lines, so it needs no window.
func (s *Spool) flush(a *active, last bool) error {
	if a.lines.len == 0 {
		return nil
	}
	if s.chunk == nil || s.chunk.size+int64(len(s.buf)) >= s.cfg.chunkBytes {
		if err := s.beginChunk(); err != nil {
			return s.fail(err)
		}
	}
	c := getCodec(s.cfg.Level)
	in := c.gather(a.window, &a.lines)
	lines := in[len(a.window):]
	payload, err := c.compress(in, len(a.window))
	if err != nil {
		return s.fail(fmt.Errorf("compress block: %w", err))
	}
	a.crc = crc32.Update(a.crc, crc32.IEEETable, lines)
	a.crc64 = crc64nvme.Update(a.crc64, lines)
	if a.sha == nil {
		a.sha = sha256.New()
		a.sha.Write(gzipHeader)
	}
	a.sha.Write(payload)
	a.gzBytes += int64(len(payload))
	if s.state, err = a.sha.(encoding.BinaryAppender).AppendBinary(s.state[:0]); err != nil {
		return s.fail(fmt.Errorf("keep checksum of block: %w", err))
	}
	s.buf = appendFrame(s.buf, frame{
		Meta: a.Meta, kind: kindBlock, inFrame: a.Records - a.flushedRecords, crc: a.crc, crc64: a.crc64, sha: s.state, payload: payload,
	})
	end := s.chunk.size + int64(len(s.buf))
	a.extents = append(a.extents, extent{chunk: s.chunk, off: end - int64(len(payload)), len: int64(len(payload))})
	s.chunk.refs++
	a.flushedRecords, a.savedRecords = a.Records, a.Records

	if a.window == nil && !last && s.windows+windowBytes <= s.cfg.Budget.share()/4 {
		a.window = make([]byte, 0, windowBytes)
		s.windows += windowBytes
		s.hold(windowBytes)
	}
	if a.window != nil && !last {
		a.window = append(a.window[:0], lines[max(0, len(lines)-windowBytes):]...)
	}
	putCodec(s.cfg.Level, c) // lines is its memory, which another spool uses from now on
	a.lines.reset()
	a.journaledBytes = 0
	if len(s.buf) >= 256<<10 {
		return s.writeChunk()
	}
	return nil
}

// release gives up the memory of the file's empty buffer. It may go to the free list, until that has
// keep bytes.
func (s *Spool) release(a *active, keep int64) {
	s.hold(-int64(a.lines.cap))
	a.lines.release(&s.free, keep)
}

// dropWindow gives up the file's window; the next block is compressed without one.
func (s *Spool) dropWindow(a *active) {
	s.windows -= int64(cap(a.window))
	s.hold(-int64(cap(a.window)))
	a.window = nil
}

// writeChunk appends the gathered frames to the chunk.
func (s *Spool) writeChunk() error {
	if len(s.buf) == 0 {
		return nil
	}
	if err := s.chunk.append(s.buf); err != nil {
		return s.fail(err)
	}
	s.buf = s.buf[:0]
	return nil
}

func (s *Spool) beginChunk() error {
	if s.chunk != nil {
		if err := s.writeChunk(); err != nil {
			return err
		}
	}
	c, err := s.createChunk(chunkExt)
	if err != nil {
		return err
	}
	old := s.chunk
	s.chunk, s.chunks[c] = c, struct{}{}
	if old != nil && old.refs == 0 {
		s.drop(old)
	}
	return nil
}

func (s *Spool) createChunk(ext string) (*chunk, error) {
	c, err := createChunk(s.cfg.Dir, s.next, ext)
	s.next++
	return c, err
}

// drop deletes a chunk whose blocks are not needed any more, or defers that until no checkpoint
// names the chunk.
func (s *Spool) drop(c *chunk) {
	delete(s.chunks, c)
	if c.inCheckpoint {
		s.doomed = append(s.doomed, c)
		return
	}
	c.remove()
}

// fail breaks the spool for good.
func (s *Spool) fail(err error) error {
	if s.broken == nil {
		s.broken = err
	}
	return s.broken
}

// EnforceBudget makes room if other spools need it. Call it now and then: an idle spool would
// otherwise keep the memory that it took while the others needed little, or were fewer.
func (s *Spool) EnforceBudget() error {
	s.free.trim(s.cfg.Budget.share() / 4)
	if s.broken != nil || !s.cfg.Budget.over(s.held) {
		return s.broken
	}
	return s.makeRoom()
}

// makeRoom compresses the largest buffers until the spool holds three quarters of its share. Taking
// the largest first keeps blocks as large as the budget allows: after a while all buffers grow to
// about the same size. Before that it drops windows beyond their quarter, which date from a time
// with fewer spools.
func (s *Spool) makeRoom() error {
	share := s.cfg.Budget.share()
	goal := share * 3 / 4
	for _, a := range s.open {
		if s.windows <= share/4 {
			break
		}
		s.dropWindow(a)
	}
	bySize := make([]*active, 0, len(s.open))
	for _, a := range s.open {
		if a.lines.cap > 0 {
			bySize = append(bySize, a)
		}
	}
	slices.SortFunc(bySize, func(x, y *active) int { return y.lines.cap - x.lines.cap })
	for _, a := range bySize {
		if s.held <= goal {
			break
		}
		if err := s.flush(a, false); err != nil {
			return err
		}
		s.release(a, share/4) // which is what this makes room for
	}
	return nil
}

// Len returns how many files are open.
func (s *Spool) Len() int { return len(s.open) }

// Held returns the bytes that open files hold in memory.
func (s *Spool) Held() int64 { return s.held }

// Files calls fn for every open file, in no particular order.
func (s *Spool) Files(fn func(m Meta)) {
	for _, a := range s.open {
		fn(a.Meta)
	}
}

// Seal finishes the stream's file for the given reason; the next Append of the stream begins
// another one. Without such a file it returns nil and no error.
func (s *Spool) Seal(stream ledger.Stream, reason Reason) (*Sealed, error) {
	sealed, err := s.SealAll([]ledger.Stream{stream}, reason)
	if err != nil || len(sealed) == 0 {
		return nil, err
	}
	return sealed[0], nil
}

// SealAll is like Seal for several streams, of which it leaves out those without a file. It returns
// the files in the order of their first offsets. Their last blocks lie on the disk in that order,
// and are written together: a write for each of them would take longer than compressing it, if it
// is small.
func (s *Spool) SealAll(streams []ledger.Stream, reason Reason) ([]*Sealed, error) {
	if s.broken != nil {
		return nil, s.broken
	}
	files := make([]*active, 0, len(streams))
	for _, stream := range streams {
		if a := s.open[stream]; a != nil {
			files = append(files, a)
		}
	}
	slices.SortFunc(files, func(a, b *active) int { return cmp.Compare(a.First, b.First) })
	sealed := make([]*Sealed, 0, len(files))
	for _, a := range files {
		if err := s.flush(a, true); err != nil {
			return nil, err
		}
		s.release(a, 0) // at the turn of an hour all files are sealed, and memory should become free
		sealed = append(sealed, s.finish(a, reason))
		delete(s.open, a.Stream)
		s.dropWindow(a)
	}
	if err := s.writeChunk(); err != nil { // readers of the sealed files will read the chunk
		return nil, err
	}
	return sealed, nil
}

// finish returns the file as a sealed object. All its lines must be in blocks.
func (s *Spool) finish(a *active, reason Reason) *Sealed {
	trailer := binary.LittleEndian.AppendUint32(slices.Clone(finalBlock), a.crc)
	trailer = binary.LittleEndian.AppendUint32(trailer, uint32(a.RawBytes))
	a.sha.Write(trailer)
	sealed := &Sealed{Meta: a.Meta, Reason: reason, GzipBytes: a.gzBytes + int64(len(trailer)), RawCRC64: a.crc64, extents: a.extents, trailer: trailer, spool: s}
	a.sha.Sum(sealed.SHA256[:0])
	s.sealed[sealed] = struct{}{}
	return sealed
}

// Discard deletes everything in the spool, which is unusable afterwards. Sealed files that were not
// released become unreadable.
func (s *Spool) Discard() { s.end((*chunk).remove) }

// Close leaves the files on disk for Recover, as the last checkpoint describes them. The spool is
// unusable afterwards.
func (s *Spool) Close() {
	s.end(func(c *chunk) { _ = c.file.Close() })
}

func (s *Spool) end(each func(c *chunk)) {
	for c := range s.chunks {
		each(c)
	}
	for _, c := range s.doomed {
		each(c)
	}
	if s.journal != nil {
		each(s.journal)
	}
	s.hold(-s.held)
	if !errors.Is(s.broken, errEnded) {
		s.cfg.Budget.spools.Add(-1)
	}
	s.open, s.sealed, s.chunks, s.chunk, s.journal, s.doomed, s.buf, s.free, s.broken = nil, nil, nil, nil, nil, nil, nil, freeList{}, errEnded
}

var errEnded = errors.New("spool was discarded or closed")
