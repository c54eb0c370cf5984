package mirror

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/pgzip"
	"golang.org/x/sync/errgroup"

	"github.com/sealift/sealift/pkg/objstore"
)

// tries is how often a download is begun before it counts as failed.
const tries = 4

// SyncOptions say where files go and how.
type SyncOptions struct {
	// Dir receives {source}/{day-ms}/{file}. It is created.
	Dir string
	// Decompress stores {file} without .gz but with .ndjson, decompressed.
	Decompress bool
	// Parallel is how many files are downloaded at once; default 8.
	Parallel int
	// Found, if set, is called for every file that will be downloaded, Read
	// with the number of compressed bytes received, from any goroutine.
	Found func(File)
	Read  func(n int64)
}

// SyncResult counts files and compressed bytes.
type SyncResult struct {
	Downloaded int64   `json:"downloaded"`
	Bytes      int64   `json:"bytes"`
	Skipped    int64   `json:"skipped"` // already there
	Failed     []error `json:"-"`
}

// Sync downloads files into a directory, several at once. Files that are
// there already are skipped, so an interrupted Sync is continued by another
// one; a file appears under its name only when it is whole. The failure of a
// file is counted, and the others go on; the error is one of listing, of the
// directory, or ctx's.
func Sync(ctx context.Context, store objstore.Store, files iter.Seq2[File, error], opts SyncOptions) (SyncResult, error) {
	if opts.Parallel <= 0 {
		opts.Parallel = 8
	}
	var (
		mu     sync.Mutex // guards result
		result SyncResult
	)
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(opts.Parallel)
	for f, err := range files {
		if err != nil || gctx.Err() != nil {
			err = errors.Join(err, group.Wait(), ctx.Err())
			return result, err
		}
		path := opts.path(f)
		if opts.complete(path, f) {
			mu.Lock()
			result.Skipped++
			mu.Unlock()
			continue
		}
		if opts.Found != nil {
			opts.Found(f)
		}
		group.Go(func() error {
			err := download(gctx, store, f, path, opts)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				result.Downloaded++
				result.Bytes += f.Size
			case gctx.Err() != nil:
				return gctx.Err()
			default:
				result.Failed = append(result.Failed, fmt.Errorf("download %q: %w", f.Key, err))
			}
			return nil
		})
	}
	err := errors.Join(group.Wait(), ctx.Err())
	return result, err
}

func (o SyncOptions) path(f File) string {
	name := f.Name
	if o.Decompress {
		name = strings.TrimSuffix(name, ".gz") + ".ndjson"
	}
	return filepath.Join(o.Dir, f.Source, fmt.Sprint(f.Day), name)
}

// complete tells whether the file needs no download. Objects never change, so
// a name that stands for a whole file stands for the right one.
func (o SyncOptions) complete(path string, f File) bool {
	info, err := os.Stat(path)
	return err == nil && (o.Decompress || info.Size() == f.Size)
}

func download(ctx context.Context, store objstore.Store, f File, path string, opts SyncOptions) error {
	for try := 1; ; try++ {
		err := downloadOnce(ctx, store, f, path, opts)
		if err == nil || try == tries || !errors.Is(err, objstore.ErrUnavailable) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Duration(try*try) * 200 * time.Millisecond):
		}
	}
}

func downloadOnce(ctx context.Context, store objstore.Store, f File, path string, opts SyncOptions) (err error) {
	body, info, err := store.Get(ctx, f.Key)
	if err != nil {
		return err
	}
	defer body.Close()
	dir, name := filepath.Split(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	// One name for every try: what a killed process left is overwritten.
	part := filepath.Join(dir, "."+name+".part")
	out, err := os.OpenFile(part, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, out.Close())
			if rm := os.Remove(part); rm != nil && !errors.Is(rm, fs.ErrNotExist) {
				err = errors.Join(err, rm)
			}
		}
	}()

	in := newVerifier(body, f, info, opts.Read)
	if opts.Decompress {
		err = decompress(out, in)
	} else {
		_, err = io.Copy(out, in)
	}
	if err == nil {
		err = in.verify()
	}
	if err != nil {
		return err
	}
	// 1. its bytes are on disk  2. it gets its name
	if err := out.Sync(); err != nil {
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	return os.Rename(part, path)
}

// decompress reads ahead and checks sums beside the caller (pgzip).
func decompress(w io.Writer, r io.Reader) error {
	z, err := pgzip.NewReader(r)
	if err != nil {
		return err
	}
	_, err = z.WriteTo(w)
	return errors.Join(err, z.Close())
}

// verifier reads an object and compares it with what the store says of it.
type verifier struct {
	body io.Reader
	sum  hash
	want string // hex sha256, "" if the object does not tell
	size int64
	n    int64
	read func(int64)
}

type hash interface {
	io.Writer
	Sum([]byte) []byte
}

func newVerifier(body io.Reader, f File, info objstore.Info, read func(int64)) *verifier {
	return &verifier{body: body, sum: sha256.New(), want: info.Metadata["sha256"], size: f.Size, read: read}
}

func (v *verifier) Read(p []byte) (int, error) {
	n, err := v.body.Read(p)
	v.n += int64(n)
	_, _ = v.sum.Write(p[:n])
	if v.read != nil {
		v.read(int64(n))
	}
	return n, err
}

func (v *verifier) verify() error {
	// A reader of gzip stops at the end of the member.
	if _, err := io.Copy(io.Discard, struct{ io.Reader }{v}); err != nil {
		return err
	}
	if v.n != v.size {
		return fmt.Errorf("%w: got %d bytes of %d", objstore.ErrUnavailable, v.n, v.size)
	}
	if got := hex.EncodeToString(v.sum.Sum(nil)); v.want != "" && got != v.want {
		return fmt.Errorf("sha256 is %s, the object says %s: it was changed after its delivery", got, v.want)
	}
	return nil
}
