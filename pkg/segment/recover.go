package segment

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"

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
