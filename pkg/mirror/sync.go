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
	// Found, if set, is called for every file that will be downloaded; Read, if set, is called with
	// the number of compressed bytes that have arrived, from any goroutine.
	Found func(File)
	Read  func(n int64)
	// Waiting, if set, is called once, when this download has waited for some seconds for a file
	// that another download into Dir has locked, with the path of the locked part. It continues
	// when the other ends.
	Waiting func(part string)
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
			err = s.one(gctx, group, f)
		}
		if err != nil || gctx.Err() != nil {
			// A fatal error of a file cancels the listing; that file's error is returned first.
			err = cmpErr(ctx.Err(), group.Wait(), err)
			return s.result, err
		}
	}
	err := cmpErr(ctx.Err(), group.Wait()) // evaluated before s.result is read, since Wait completes it
	return s.result, err
}

// cmpErr returns the first error that is not nil.
func cmpErr(errs ...error) error {
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
	told   sync.Once // Waiting was called

	mu     sync.Mutex // guards all fields below
	result SyncResult
	away   int // number of files in a row that were out of reach
}

// one handles a file: at once if nothing has to be read, otherwise in the group.
func (s *syncer) one(ctx context.Context, group *errgroup.Group, f File) error {
	path := s.opts.path(s.place, f)
	switch seen, err := s.opts.look(path, f); {
	case seen == occupied:
		return s.count(ctx, f, path, err)
	case err != nil:
		return err
	case seen == there:
		return s.count(ctx, f, path, errThere)
	case seen == touched:
		group.Go(func() error {
			err := s.opts.compare(ctx, s.reader, path, f)
			if err == nil {
				err = errThere
			}
			return s.count(ctx, f, path, err)
		})
		return nil
	}
	if s.opts.Found != nil {
		s.opts.Found(f)
	}
	group.Go(func() error { return s.count(ctx, f, path, s.download(ctx, f, path)) })
	return nil
}

func (o SyncOptions) path(p Place, f File) string {
	path := filepath.Join(o.Dir, p.path(f))
	if o.Decompress {
		path = strings.TrimSuffix(path, ".gz") + ".ndjson"
	}
	return path
}

var errThere = errors.New("it is there already")

// count records the outcome of one file. It returns the errors that end the whole download.
func (s *syncer) count(ctx context.Context, f File, path string, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.Is(err, objstore.ErrUnavailable) {
		s.away++
	} else {
		s.away = 0
	}
	switch {
	case err == nil:
		s.result.Downloaded++
		s.result.Bytes += f.Size
	case errors.Is(err, errThere):
		s.result.Skipped++
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case fatal(err):
		return err
	case errors.Is(err, errDiffers):
		s.result.Differing++
		s.problem(fmt.Errorf("%s: %w; both are kept, move it away to download s3://%s/%s", path, err, s.place.Bucket, f.Key))
	default:
		s.result.Failed++
		s.problem(named(err, f))
	}
	if s.away >= 2*s.opts.Parallel {
		return fmt.Errorf("%d files in a row: %w", s.away, err)
	}
	return nil
}

// named adds the object's name to an error that does not include it.
func named(err error, f File) error {
	var e *objstore.Error
	if errors.As(err, &e) {
		return err
	}
	return fmt.Errorf("read object %q: %w", f.Key, err)
}

func (s *syncer) problem(err error) {
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
		if s.opts.Waiting != nil {
			s.told.Do(func() { s.opts.Waiting(part) })
		}
	})
	if err != nil {
		return err
	}
	defer p.Close()
	if seen, err := s.appeared(ctx, f, path); seen {
		return cmpErr(p.remove(), err)
	} else if err != nil {
		return err
	}
	for {
		var resumed int64
		resumed, err = s.fill(ctx, p, f)
		if resumed == 0 || !errors.Is(err, errNotWhole) && !errors.Is(err, objstore.ErrChanged) {
			break
		}
		// What an earlier run left belongs to another object, or was damaged when the machine
		// crashed.
		if err := p.cut(0); err != nil {
			return err
		}
	}
	if err == nil {
		err = p.install(f.modified())
	}
	if err == nil || s.resumable(ctx, err) {
		return err
	}
	return cmpErr(p.remove(), err)
}

// appeared looks again while no other run can be working on the file, because one may have finished
// since the first look. It compares what it finds.
func (s *syncer) appeared(ctx context.Context, f File, path string) (seen bool, err error) {
	is, err := s.opts.look(path, f)
	if is == touched {
		err = s.opts.compare(ctx, s.reader, path, f)
	}
	if is != absent && err == nil {
		err = errThere
		if s.opts.Read != nil {
			s.opts.Read(f.Size) // the file was announced
		}
	}
	return is != absent, err
}

// resumable tells whether another run can continue with the part.
func (s *syncer) resumable(ctx context.Context, err error) bool {
	var disk *diskError
	return !s.opts.Decompress && (ctx.Err() != nil || errors.Is(err, objstore.ErrUnavailable) || errors.As(err, &disk) || badCredentials(err))
}

// fill writes the object into its part and verifies it. It returns how much was already there.
func (s *syncer) fill(ctx context.Context, p *part, f File) (resumed int64, err error) {
	d := newFetch(ctx, s.reader, f, s.opts.Read)
	defer d.Close()
	if s.opts.Decompress {
		if err := p.cut(0); err != nil {
			return 0, err
		}
		return 0, inflated(d, p)
	}
	if resumed, err = p.size(); err != nil {
		return 0, err
	}
	// Even if only the last byte is missing, it is requested: the answer has the sha256.
	if resumed = min(resumed, f.Size-1); resumed <= 0 || f.ETag == "" {
		resumed = 0
	} else if err := d.resume(io.NewSectionReader(p, 0, resumed), resumed); err != nil {
		return resumed, onDisk(err)
	}
	if err := p.cut(resumed); err != nil {
		return resumed, err
	}
	buf := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buf)
	if _, err := io.CopyBuffer(struct{ io.Writer }{p}, struct{ io.Reader }{d}, buf[:]); err != nil {
		return resumed, err
	}
	told, err := d.verify()
	if told || err != nil {
		return resumed, err
	}
	return resumed, whole(io.NewSectionReader(p, 0, f.Size))
}

// inflated writes an object's lines into its part. It is not known beforehand how many there are: a
// gzip bomb fills the disk, though never the memory. The error then names the object, because every
// run would fail at it again.
func inflated(d *fetch, p *part) error {
	err := d.decompress(p)
	var disk *diskError
	if !errors.As(err, &disk) {
		return err
	}
	lines, sizeErr := p.size()
	return cmpErr(sizeErr, fmt.Errorf("decompress object %q: %d of its %d bytes gave %d: %w", d.file.Key, d.at, d.file.Size, lines, err))
}

// whole reads a gzip file to its end, to verify its checksum.
func whole(r io.Reader) error {
	z, err := gzip.NewReader(r)
	if err != nil {
		return notGzip(err)
	}
	_, err = io.Copy(io.Discard, z)
	return notGzip(err)
}
