package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"path/filepath"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/sync/errgroup"

	"github.com/sealift/sealift/pkg/objstore"
)

// SyncOptions say where and how files are stored.
type SyncOptions struct {
	// Dir receives the files of the place where `aws s3 sync` would put them. It is created if
	// necessary.
	Dir string
	// Decompress stores NAME.ndjson, the lines, instead of NAME.gz.
	Decompress bool
	// Parallel is how many files are downloaded concurrently; default 16.
	Parallel int
	// OnFound, if set, is called for every file that will be downloaded; OnRead, if set, is called
	// with the number of compressed bytes that have arrived, from any goroutine.
	OnFound func(File)
	OnRead  func(n int64)
	// OnWaiting, if set, is called once, when this download has waited for some seconds for a file
	// that another download into Dir has locked, with the path of the locked part. It continues
	// when the other ends.
	OnWaiting func(part string)
}

// DefaultParallel is how many files Sync downloads concurrently by default.
const DefaultParallel = 16

// SyncResult counts files and compressed bytes.
type SyncResult struct {
	Downloaded int64 `json:"downloaded"`
	Bytes      int64 `json:"bytes"`
	Skipped    int64 `json:"skipped"`   // already there
	Differing  int64 `json:"differing"` // something else has their name and is kept
	Failed     int64 `json:"failed"`
	// Problems are the first problems with single files.
	Problems []error `json:"-"`
}

// maxProblems is how many problems are kept.
const maxProblems = 20

// Sync downloads files into a directory, several concurrently. An existing file is skipped if it is
// the object, and kept if it is not. So an interrupted Sync is continued by the next one, even
// within a file unless files are decompressed. A file appears under its name only when it is whole.
//
// If a file fails, that is counted and the others continue. An error is one of listing, of the
// local disk, of credentials, of a store that is out of reach, or ctx's; the result then counts
// what was done before.
func Sync(ctx context.Context, r objstore.Reader, p Place, files iter.Seq2[File, error], opts SyncOptions) (SyncResult, error) {
	if opts.Parallel <= 0 {
		opts.Parallel = DefaultParallel
	}
	s := &syncer{reader: r, place: p, opts: opts}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(opts.Parallel)
	for f, err := range files {
		if err == nil && gctx.Err() == nil {
			err = s.syncFile(gctx, group, f)
		}
		if err != nil || gctx.Err() != nil {
			// A fatal error of a file cancels the listing; that file's error is returned first.
			err = firstError(ctx.Err(), group.Wait(), err)
			return s.result, err
		}
	}
	err := firstError(ctx.Err(), group.Wait()) // evaluated before s.result is read, since Wait completes it
	return s.result, err
}

// firstError returns the first error that is not nil.
func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

type syncer struct {
	reader objstore.Reader
	place  Place
	opts   SyncOptions
	warned sync.Once // OnWaiting was called

	mu                sync.Mutex // guards all fields below
	result            SyncResult
	unreachableInARow int // number of files in a row that were out of reach
}

// syncFile handles a file: at once if nothing has to be read, otherwise in the group.
func (s *syncer) syncFile(ctx context.Context, group *errgroup.Group, f File) error {
	path := s.opts.path(s.place, f)
	switch state, err := s.opts.statLocal(path, f); {
	case state == stateOccupied:
		return s.record(ctx, f, path, err)
	case err != nil:
		return err
	case state == stateSame:
		return s.record(ctx, f, path, errAlreadyThere)
	case state == stateTimeDiffers:
		group.Go(func() error {
			err := s.opts.compare(ctx, s.reader, path, f)
			if err == nil {
				err = errAlreadyThere
			}
			return s.record(ctx, f, path, err)
		})
		return nil
	}
	if s.opts.OnFound != nil {
		s.opts.OnFound(f)
	}
	group.Go(func() error { return s.record(ctx, f, path, s.download(ctx, f, path)) })
	return nil
}

func (o SyncOptions) path(p Place, f File) string {
	path := filepath.Join(o.Dir, p.path(f))
	if o.Decompress {
		path = strings.TrimSuffix(path, ".gz") + ".ndjson"
	}
	return path
}

var errAlreadyThere = errors.New("it is there already")

// record records the outcome of one file. It returns the errors that end the whole download.
func (s *syncer) record(ctx context.Context, f File, path string, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.Is(err, objstore.ErrUnavailable) {
		s.unreachableInARow++
	} else {
		s.unreachableInARow = 0
	}
	switch {
	case err == nil:
		s.result.Downloaded++
		s.result.Bytes += f.Size
	case errors.Is(err, errAlreadyThere):
		s.result.Skipped++
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case fatal(err):
		return err
	case errors.Is(err, errDiffers):
		s.result.Differing++
		s.addProblem(fmt.Errorf("%s: %w; both are kept, move it away to download s3://%s/%s", path, err, s.place.Bucket, f.Key))
	default:
		s.result.Failed++
		s.addProblem(withObjectName(err, f))
	}
	if s.unreachableInARow >= 2*s.opts.Parallel {
		return fmt.Errorf("%d files in a row: %w", s.unreachableInARow, err)
	}
	return nil
}

// withObjectName adds the object's name to an error that does not include it.
func withObjectName(err error, f File) error {
	var e *objstore.Error
	if errors.As(err, &e) {
		return err
	}
	return fmt.Errorf("read object %q: %w", f.Key, err)
}

func (s *syncer) addProblem(err error) {
	if len(s.result.Problems) < maxProblems {
		s.result.Problems = append(s.result.Problems, err)
	}
}

// fatal tells whether every other file would fail as well.
func fatal(err error) bool {
	var disk *diskError
	return errors.As(err, &disk) || errors.Is(err, objstore.ErrNoBucket) || badCredentials(err)
}

func (s *syncer) download(ctx context.Context, f File, path string) (err error) {
	p, err := awaitPart(ctx, path, func(part string) {
		if s.opts.OnWaiting != nil {
			s.warned.Do(func() { s.opts.OnWaiting(part) })
		}
	})
	if err != nil {
		return err
	}
	defer p.Close()
	if seen, err := s.recheck(ctx, f, path); seen {
		return firstError(p.remove(), err)
	} else if err != nil {
		return err
	}
	for {
		var resumed int64
		resumed, err = s.fill(ctx, p, f)
		if resumed == 0 || !errors.Is(err, errCorrupt) && !errors.Is(err, objstore.ErrChanged) {
			break
		}
		// What an earlier run left belongs to another object, or was damaged when the machine
		// crashed.
		if err := p.truncate(0); err != nil {
			return err
		}
	}
	if err == nil {
		err = p.install(f.modified())
	}
	if err == nil || s.resumable(ctx, err) {
		return err
	}
	return firstError(p.remove(), err)
}

// recheck looks again while no other run can be working on the file, because one may have finished
// since the first look. It compares what it finds.
func (s *syncer) recheck(ctx context.Context, f File, path string) (seen bool, err error) {
	state, err := s.opts.statLocal(path, f)
	if state == stateTimeDiffers {
		err = s.opts.compare(ctx, s.reader, path, f)
	}
	if state != stateAbsent && err == nil {
		err = errAlreadyThere
		if s.opts.OnRead != nil {
			s.opts.OnRead(f.Size) // the file was announced
		}
	}
	return state != stateAbsent, err
}

// resumable tells whether another run can continue with the part.
func (s *syncer) resumable(ctx context.Context, err error) bool {
	var disk *diskError
	return !s.opts.Decompress && (ctx.Err() != nil || errors.Is(err, objstore.ErrUnavailable) || errors.As(err, &disk) || badCredentials(err))
}

// fill writes the object into its part and verifies it. It returns how much was already there.
func (s *syncer) fill(ctx context.Context, p *part, f File) (resumed int64, err error) {
	d := newFetch(ctx, s.reader, f, s.opts.OnRead)
	defer d.Close()
	if s.opts.Decompress {
		if err := p.truncate(0); err != nil {
			return 0, err
		}
		return 0, decompressInto(d, p)
	}
	if resumed, err = p.size(); err != nil {
		return 0, err
	}
	// Even if only the last byte is missing, it is requested: the answer has the sha256.
	if resumed = min(resumed, f.Size-1); resumed <= 0 || f.ETag == "" {
		resumed = 0
	} else if err := d.resume(io.NewSectionReader(p, 0, resumed), resumed); err != nil {
		return resumed, asDiskError(err)
	}
	if err := p.truncate(resumed); err != nil {
		return resumed, err
	}
	buf := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buf)
	if _, err := io.CopyBuffer(struct{ io.Writer }{p}, struct{ io.Reader }{d}, buf[:]); err != nil {
		return resumed, err
	}
	hasSum, err := d.verify()
	if hasSum || err != nil {
		return resumed, err
	}
	return resumed, verifyGzip(io.NewSectionReader(p, 0, f.Size))
}

// decompressInto writes an object's lines into its part. It is not known beforehand how many there
// are: a gzip bomb fills the disk, though never the memory. The error then names the object,
// because every run would fail at it again.
func decompressInto(d *fetch, p *part) error {
	err := d.decompress(p)
	var disk *diskError
	if !errors.As(err, &disk) {
		return err
	}
	lines, sizeErr := p.size()
	return firstError(sizeErr, fmt.Errorf("decompress object %q: %d of its %d bytes gave %d: %w", d.file.Key, d.offset, d.file.Size, lines, err))
}

// verifyGzip reads a gzip file to its end, to verify its checksum.
func verifyGzip(r io.Reader) error {
	z, err := gzip.NewReader(r)
	if err != nil {
		return wrapGzipError(err)
	}
	_, err = io.Copy(io.Discard, z)
	return wrapGzipError(err)
}
