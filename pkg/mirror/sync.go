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

// SyncOptions say where files go and how.
type SyncOptions struct {
	// Dir receives the files of the place as `aws s3 sync` would put them. It
	// is created.
	Dir string
	// Decompress stores NAME.ndjson, the lines, instead of NAME.gz.
	Decompress bool
	// Parallel is how many files are downloaded at once; default 16.
	Parallel int
	// Found, if set, is called for every file that will be downloaded, Read
	// with the number of its compressed bytes that are there, from any
	// goroutine.
	Found func(File)
	Read  func(n int64)
	// Waiting, if set, is called once, when another download into Dir has had a
	// file in work for some seconds that this one waits for: its part, which that
	// has locked. It goes on when the other ends.
	Waiting func(part string)
}

// DefaultParallel is how many files Sync downloads at once.
const DefaultParallel = 16

// SyncResult counts files and compressed bytes.
type SyncResult struct {
	Downloaded int64 `json:"downloaded"`
	Bytes      int64 `json:"bytes"`
	Skipped    int64 `json:"skipped"`   // there already
	Differing  int64 `json:"differing"` // something else has their name; it stays
	Failed     int64 `json:"failed"`
	// Problems are the first of what went wrong with single files.
	Problems []error `json:"-"`
}

// maxProblems is how many problems are kept.
const maxProblems = 20

// Sync downloads files into a directory, several at once. What is there already
// is skipped if it is the object, and stays if it is not; so an interrupted Sync
// is continued by another one, within a file too unless it is decompressed. A
// file appears under its name only when it is whole.
//
// The failure of a file is counted, and the others go on. An error is one of
// listing, of the local disk, of credentials, of a store that is out of reach,
// or ctx's; the result then counts what was done before.
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
			// A file's fatal error cancels what is read here: it goes first.
			err = cmpErr(ctx.Err(), group.Wait(), err)
			return s.result, err
		}
	}
	err := cmpErr(ctx.Err(), group.Wait()) // before the result is looked at, which it completes
	return s.result, err
}

// cmpErr is the first error.
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
	told   sync.Once // that another is waited for

	mu     sync.Mutex // guards all below
	result SyncResult
	away   int // files in a row that were out of reach
}

// one deals with a file: at once if nothing has to be read, else in the group.
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

// count keeps the books of one file. It returns the errors that end the whole.
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

// named says of which object an error is, if it does not say so itself.
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

// fatal tells errors that every other file would meet as well.
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
		// What an earlier run left was of another object, or a crash of the
		// machine spoiled it.
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

// appeared looks again, when no other run can be at work on the file: one may
// have ended since the first look. What is there it compares.
func (s *syncer) appeared(ctx context.Context, f File, path string) (seen bool, err error) {
	is, err := s.opts.look(path, f)
	if is == touched {
		err = s.opts.compare(ctx, s.reader, path, f)
	}
	if is != absent && err == nil {
		err = errThere
		if s.opts.Read != nil {
			s.opts.Read(f.Size) // it was announced
		}
	}
	return is != absent, err
}

// resumable tells whether another run can go on with the part.
func (s *syncer) resumable(ctx context.Context, err error) bool {
	var disk *diskError
	return !s.opts.Decompress && (ctx.Err() != nil || errors.Is(err, objstore.ErrUnavailable) || errors.As(err, &disk) || badCredentials(err))
}

// fill writes the object into its part and verifies it. It returns how much
// was there before.
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
	// The answer to a request, though it be for the last byte, tells the sha256.
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

// inflated writes the lines of an object into its part. How many there will be
// nothing tells beforehand: a gzip bomb fills the disk, though never the memory,
// and then has to be known by its name, for every run will meet it again.
func inflated(d *fetch, p *part) error {
	err := d.decompress(p)
	var disk *diskError
	if !errors.As(err, &disk) {
		return err
	}
	lines, sizeErr := p.size()
	return cmpErr(sizeErr, fmt.Errorf("decompress object %q: %d of its %d bytes gave %d: %w", d.file.Key, d.at, d.file.Size, lines, err))
}

// whole reads a gzip file to its end, for the sake of its checksum.
func whole(r io.Reader) error {
	z, err := gzip.NewReader(r)
	if err != nil {
		return notGzip(err)
	}
	_, err = io.Copy(io.Discard, z)
	return notGzip(err)
}
