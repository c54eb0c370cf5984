package segment

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sealift/sealift/pkg/ledger"
)

// Errors of a recovery. After either of them, start from nothing with New.
var (
	// ErrNoCheckpoint says that the directory holds no whole checkpoint.
	ErrNoCheckpoint = errors.New("no whole checkpoint")
	// ErrDamaged says that what a checkpoint needs is not as it was written, or contradicts the
	// caller. Whoever reads a sealed file, and does not get what its checksum promises, returns it
	// as well.
	ErrDamaged = errors.New("spool is damaged")
)

// Recovery is the content of a directory as of its last whole checkpoint. End it with Resume or
// Close.
type Recovery struct {
	// State is what the owner passed to that checkpoint.
	State []byte

	cfg     Config
	chunks  map[int]*chunk
	journal *chunk
	sealed  []checkpointFile
	files   map[fileID]*recovered
	next    int
}

// fileID distinguishes the files of a stream.
type fileID struct {
	stream ledger.Stream
	first  int64
}

// recovered is a file as its frames describe it.
type recovered struct {
	active
	incomplete bool         // earlier frames are missing, because the file was released
	journal    []savedLines // its lines that are not in any block
}

// Recover reads what the last process left in the directory. It changes nothing on disk. It returns
// ErrNoCheckpoint, ErrDamaged, a disk error, or the error of ctx, which stops the reading. For files
// of later releases see LaterFile.
func Recover(ctx context.Context, cfg Config) (*Recovery, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	r := &Recovery{cfg: cfg, chunks: map[int]*chunk{}, files: map[fileID]*recovered{}}
	if err := r.read(ctx); err != nil {
		r.Close()
		return nil, fmt.Errorf("recover spool %q: %w", cfg.Dir, err)
	}
	return r, nil
}

// State returns what the owner passed to the last whole checkpoint, as in Recovery.State, without
// reading the chunks. It returns ErrNoCheckpoint, a disk error, or the error of ctx.
func State(ctx context.Context, dir string) ([]byte, error) {
	r := &Recovery{cfg: Config{Dir: dir}}
	defer r.Close()
	c, _, err := r.lastCheckpoint(ctx)
	if err != nil {
		return nil, fmt.Errorf("recover state of spool %q: %w", dir, err)
	}
	return c.State, nil
}

func (r *Recovery) read(ctx context.Context) error {
	c, lines, err := r.lastCheckpoint(ctx)
	if err != nil {
		return err
	}
	r.State, r.sealed = c.State, c.Sealed
	slices.SortFunc(c.Chunks, func(a, b checkpointChunk) int { return cmp.Compare(a.N, b.N) })
	for _, l := range c.Chunks {
		if err := r.readChunk(ctx, l); err != nil {
			return err
		}
	}
	for _, l := range lines {
		r.addLines(l)
	}
	return nil
}

// lastCheckpoint returns the last whole checkpoint, and the lines before it.
func (r *Recovery) lastCheckpoint(ctx context.Context) (*checkpoint, []journalFrame, error) {
	numbers, err := r.listNumbers(journalExt)
	if err != nil {
		return nil, nil, err
	}
	for _, n := range slices.Backward(numbers) {
		c, lines, err := r.readJournal(ctx, n)
		if err != nil || c != nil { // nil: the process was killed before this journal's first checkpoint
			return c, lines, err
		}
	}
	return nil, nil, ErrNoCheckpoint
}

// listNumbers returns the sorted numbers of the directory's files with that extension.
func (r *Recovery) listNumbers(ext string) ([]int, error) {
	names, err := os.ReadDir(r.cfg.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var ns []int
	for _, name := range names {
		var n int
		if _, err := fmt.Sscanf(name.Name(), "%08d.", &n); err != nil {
			continue
		}
		r.next = max(r.next, n+1)
		if strings.HasSuffix(name.Name(), ext) {
			ns = append(ns, n)
		}
	}
	slices.Sort(ns)
	return ns, nil
}

func openChunk(dir string, n int, ext string) (*chunk, error) {
	path := chunkPath(dir, n, ext)
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return &chunk{n: n, file: f, path: path, size: st.Size(), inCheckpoint: true}, nil
}

// savedLines is the place of a frame's lines in a journal. They are read a second time long after
// the frame was checked, so they have a checksum of their own.
type savedLines struct {
	extent
	crc uint32 // CRC-32C of the lines
}

// journalFrame is a frame of lines with the place of its payload.
type journalFrame struct {
	frame
	savedLines
}

// readJournal returns the last checkpoint of a journal whose chunks are all there, with the lines
// before it; nil if there is none.
func (r *Recovery) readJournal(ctx context.Context, n int) (*checkpoint, []journalFrame, error) {
	j, err := openChunk(r.cfg.Dir, n, journalExt)
	if err != nil {
		return nil, nil, err
	}
	var all, lines []journalFrame
	var last *checkpoint
	_, err = scan(ctx, j.file, j.size, func(f frame, at int64) error {
		switch f.kind {
		case kindLines:
			saved := savedLines{extent: extent{chunk: j, off: at, len: int64(len(f.payload))}, crc: crc32.Checksum(f.payload, castagnoli)}
			f.payload = nil
			all = append(all, journalFrame{frame: f, savedLines: saved})
		case kindCheckpoint:
			c := new(checkpoint)
			if err := json.Unmarshal(f.payload, c); err != nil {
				return fmt.Errorf("%w: checkpoint: %w", errTorn, err)
			}
			there, err := r.chunksComplete(c)
			if err != nil {
				return err
			}
			if there {
				last, lines = c, all[:len(all):len(all)]
			}
		}
		return nil
	})
	// A torn frame is the end of what was written whole: a checkpoint after it would depend on what
	// is lost.
	if errors.Is(err, errTorn) {
		err = nil
	}
	if err != nil || last == nil {
		_ = j.file.Close()
		return nil, nil, err
	}
	r.journal = j
	return last, lines, nil
}

// chunksComplete reports whether the chunks of a checkpoint are at least as long as it says. An
// error means that this is unknown. It must not be taken for "no whole checkpoint", because the
// caller then deletes the chunks.
func (r *Recovery) chunksComplete(c *checkpoint) (bool, error) {
	for _, l := range c.Chunks {
		st, err := os.Stat(chunkPath(r.cfg.Dir, l.N, chunkExt))
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if st.Size() < l.Size {
			return false, nil
		}
	}
	return true, nil
}

// readChunk adds the blocks of a chunk to their files.
func (r *Recovery) readChunk(ctx context.Context, l checkpointChunk) error {
	c, err := openChunk(r.cfg.Dir, l.N, chunkExt)
	if err != nil {
		return err
	}
	c.size = l.Size // ignore what was written after the checkpoint
	r.chunks[l.N] = c
	end, err := scan(ctx, c.file, c.size, func(f frame, at int64) error {
		if f.kind != kindBlock {
			return fmt.Errorf("%w: frame of kind %q", ErrDamaged, f.kind)
		}
		return r.addBlock(f, extent{chunk: c, off: at, len: int64(len(f.payload))})
	})
	if errors.Is(err, errTorn) { // torn within what the checkpoint lists
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err != nil {
		return fmt.Errorf("chunk %d at byte %d: %w", l.N, end, err)
	}
	return nil
}

// extend returns the file that the frame continues or begins, updated with the frame's metadata.
func (r *Recovery) extend(f *frame) *recovered {
	id := fileID{f.Stream, f.First}
	a := r.files[id]
	if a == nil {
		a = &recovered{active: active{gzBytes: int64(len(gzipHeader))}}
		r.files[id] = a
	}
	// The blocks of a released file disappear chunk by chunk, not all at once.
	a.incomplete = a.incomplete || f.Records-f.inFrame != a.Records || (a.Records > 0 && f.Last <= a.Last)
	a.Meta = f.Meta
	return a
}

func (r *Recovery) addBlock(f frame, x extent) error {
	a := r.extend(&f)
	a.flushedRecords, a.crc, a.crc64 = f.Records, f.crc, f.crc64
	a.gzBytes += x.len
	a.extents = append(a.extents, x)
	if a.sha == nil {
		a.sha = sha256.New()
	}
	if err := a.sha.(encoding.BinaryUnmarshaler).UnmarshalBinary(f.sha); err != nil {
		return fmt.Errorf("%w: checksum of block: %w", ErrDamaged, err)
	}
	return nil
}

func (r *Recovery) addLines(l journalFrame) {
	if a := r.files[fileID{l.Stream, l.First}]; a != nil && l.Last <= a.Last {
		return // they were put into a block later
	}
	a := r.extend(&l.frame)
	a.journal = append(a.journal, l.savedLines)
}

// Close releases the directory and leaves it as it is. After Resume it does nothing.
func (r *Recovery) Close() {
	for _, c := range r.chunks {
		_ = c.file.Close()
	}
	if r.journal != nil {
		_ = r.journal.file.Close()
	}
}

// Resume returns the spool with its open files, and the sealed files that were not released. It
// leaves out those for which done returns true. done is called for every file, including some that
// were released long ago; if it returns an error, the recovery ends. After an error nothing is kept
// open, and the directory is unchanged. Existing files are never written to again: the spool
// continues in new ones, and until its next checkpoint Recover returns the same state again.
func (r *Recovery) Resume(done func(m Meta) (bool, error)) (*Spool, []*Sealed, error) {
	s := emptySpool(r.cfg)
	s.next = r.next
	for _, c := range r.chunks {
		s.chunks[c] = struct{}{}
	}
	s.doomed = append(s.doomed, r.journal)
	sealed, err := r.resume(s, done)
	chunks := r.chunks
	r.chunks, r.journal = nil, nil // they belong to the spool now
	if err != nil {
		s.Close()
		return nil, nil, fmt.Errorf("resume spool %q: %w", r.cfg.Dir, err)
	}
	for _, c := range chunks {
		if c.refs == 0 {
			s.drop(c)
		}
	}
	return s, sealed, nil
}

func (r *Recovery) resume(s *Spool, done func(m Meta) (bool, error)) ([]*Sealed, error) {
	var sealed []*Sealed
	for _, l := range r.sealed {
		id := fileID{l.Stream, l.First}
		a := r.files[id]
		delete(r.files, id)
		if ok, err := done(l.Meta); err != nil {
			return nil, err
		} else if ok {
			continue
		}
		if a != nil {
			a.Note = l.Note // the note may have changed since the file's last frame
		}
		if a == nil || a.incomplete || a.Meta != l.Meta || len(a.journal) > 0 || a.gzBytes+trailerBytes > r.cfg.maxObjectBytes() {
			return nil, fmt.Errorf("%w: sealed file of %v at offset %d", ErrDamaged, l.Stream, l.First)
		}
		a.addRefs()
		sealed = append(sealed, s.finish(&a.active, l.Reason))
	}
	for _, a := range r.files {
		if ok, err := done(a.Meta); err != nil {
			return nil, err
		} else if ok {
			continue
		}
		if a.incomplete || s.open[a.Stream] != nil {
			return nil, fmt.Errorf("%w: open file of %v at offset %d", ErrDamaged, a.Stream, a.First)
		}
		if err := r.loadLines(s, a); err != nil {
			return nil, err
		}
		a.addRefs()
		s.open[a.Stream] = &a.active
	}
	return sealed, r.sweep(s)
}

// addRefs counts the references of the file's blocks to their chunks.
func (a *recovered) addRefs() {
	for _, x := range a.extents {
		x.chunk.refs++
	}
}

// loadLines brings the lines that are not in any block back into memory.
func (r *Recovery) loadLines(s *Spool, a *recovered) error {
	total := 0
	for _, x := range a.journal {
		total += int(x.len)
	}
	if a.gzBytes+blockBound(total)+trailerBytes > r.cfg.maxObjectBytes() {
		return fmt.Errorf("%w: open file of %v would exceed %d bytes", ErrDamaged, a.Stream, r.cfg.maxObjectBytes())
	}
	if total == 0 {
		return nil
	}
	lines := make([]byte, 0, total)
	for _, x := range a.journal {
		piece := lines[len(lines):][:x.len]
		if _, err := x.chunk.file.ReadAt(piece, x.off); err != nil {
			return fmt.Errorf("read journal: %w", err)
		}
		if crc32.Checksum(piece, castagnoli) != x.crc {
			return fmt.Errorf("%w: lines of %v in the journal changed after they were checked", ErrDamaged, a.Stream)
		}
		lines = lines[:len(lines)+len(piece)]
	}
	s.hold(int64(a.lines.write(&s.free, lines)))
	a.savedRecords = a.flushedRecords
	return nil
}

// sweep deletes what the checkpoint does not name: files begun after it, and files that were due
// for deletion when it was written.
func (r *Recovery) sweep(s *Spool) error {
	named := map[string]bool{r.journal.path: true}
	for c := range s.chunks {
		named[c.path] = true
	}
	names, err := os.ReadDir(r.cfg.Dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if path := filepath.Join(r.cfg.Dir, name.Name()); !named[path] {
			if err := os.RemoveAll(path); err != nil {
				return err
			}
		}
	}
	return nil
}
