package mirror

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"regexp"
	"sync"
	"time"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/pgzip"

	"github.com/sealift/sealift/pkg/jitter"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/sleep"
)

const (
	// maxFailures is how many requests may fail without a byte in between before a file is
	// considered out of reach.
	maxFailures = 6
	// stallTimeout is how long a connection may be silent before it is replaced by another.
	stallTimeout = time.Minute
)

// errCorrupt says that what was read is not what was delivered.
var errCorrupt = errors.New("it is not what was delivered")

// fetch reads one object to its end with as many requests as necessary: after a failure it
// continues where it was, if the object is still the same.
type fetch struct {
	file   File
	onRead func(int64) // called with the number of bytes received
	get    func(etag string, from int64) (io.ReadCloser, objstore.Info, error)
	wait   func(time.Duration) error

	offset   int64 // bytes read, including those from an earlier run
	sum      hash.Hash
	etag     string
	sha256   string // from the object's metadata, or ""
	body     io.ReadCloser
	cancel   context.CancelFunc // ends the request
	silence  *time.Timer        // cancels it too, if nothing arrives
	failures int
}

// newFetch begins with the object's first byte. read may be nil.
func newFetch(ctx context.Context, r objstore.Reader, f File, onRead func(int64)) *fetch {
	if onRead == nil {
		onRead = func(int64) {}
	}
	d := &fetch{file: f, onRead: onRead, sum: sha256.New()}
	d.get = func(etag string, from int64) (io.ReadCloser, objstore.Info, error) {
		ctx, cancel := context.WithCancel(ctx)
		d.cancel, d.silence = cancel, time.AfterFunc(stallTimeout, cancel)
		return r.GetFrom(ctx, f.Key, etag, from)
	}
	d.wait = func(pause time.Duration) error { return sleep.For(ctx, pause/2+jitter.N(pause)) }
	return d
}

// resume takes the first n bytes from what an earlier run left.
func (d *fetch) resume(before io.Reader, n int64) error {
	if _, err := io.CopyN(d.sum, before, n); err != nil {
		return err
	}
	d.onRead(n)
	d.offset, d.etag = n, d.file.ETag
	return nil
}

// Read implements io.Reader.
func (d *fetch) Read(p []byte) (int, error) {
	if d.offset == d.file.Size {
		return 0, io.EOF
	}
	for {
		n, err := d.readSome(p)
		d.offset += int64(n)
		_, _ = d.sum.Write(p[:n])
		if n > 0 {
			d.onRead(int64(n))
			d.failures = 0
			return n, nil
		}
		if err == nil {
			continue
		}
		d.Close()
		if !errors.Is(err, objstore.ErrUnavailable) {
			return 0, err
		}
		if d.failures++; d.failures == maxFailures {
			return 0, err
		}
		if d.wait(100*time.Millisecond<<d.failures) != nil {
			return 0, err
		}
	}
}

func (d *fetch) readSome(p []byte) (int, error) {
	if d.body == nil {
		body, info, err := d.get(d.etag, d.offset)
		if err != nil {
			return 0, err
		}
		d.body, d.etag, d.sha256 = body, info.ETag, ""
		if sum := info.Metadata["sha256"]; hexSum.MatchString(sum) {
			d.sha256 = sum
		}
		if info.Size >= 0 && info.Size != d.file.Size {
			return 0, fmt.Errorf("%w: it had %d bytes when it was listed, and has %d", objstore.ErrChanged, d.file.Size, info.Size)
		}
	}
	d.silence.Reset(stallTimeout)
	n, err := d.body.Read(p)
	d.silence.Stop()
	if errors.Is(err, io.EOF) {
		err = nil
		if n == 0 { // the body ended too early
			err = fmt.Errorf("%w: it ended after %d bytes of %d", objstore.ErrUnavailable, d.offset, d.file.Size)
		}
	}
	return n, err
}

var hexSum = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Close ends the current request.
func (d *fetch) Close() {
	if d.body != nil {
		_ = d.body.Close()
		d.body = nil
	}
	if d.cancel != nil {
		d.silence.Stop()
		d.cancel()
	}
}

// verify compares everything that was read with the object's own sha256. hasSum is false if the
// object has none.
func (d *fetch) verify() (hasSum bool, err error) {
	if d.sha256 == "" {
		return false, nil
	}
	if got := hex.EncodeToString(d.sum.Sum(nil)); got != d.sha256 {
		return true, fmt.Errorf("%w: its sha256 is %s, the object says %s", errCorrupt, got, d.sha256)
	}
	return true, nil
}

// minInflateAhead is the size from which a file is worth goroutines of its own: for one of 20 kB
// they take twelve times the CPU of the work itself.
const minInflateAhead = 4 << 20

// decompress writes the object's lines to w, and verifies the object by its sha256 and by gzip's
// own checksum.
func (d *fetch) decompress(w io.Writer) error {
	in := bufio.NewReaderSize(d, 128<<10)
	var err error
	if d.file.Size < minInflateAhead {
		err = inflate(w, in)
	} else {
		err = inflateAhead(w, in)
	}
	if err != nil {
		return wrapGzipError(err)
	}
	_, err = d.verify()
	return err
}

func inflate(w io.Writer, r io.Reader) error {
	z, err := gzip.NewReader(r)
	if err != nil {
		return err
	}
	buf := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buf)
	_, err = io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{z}, buf[:])
	return err
}

// inflateAhead inflates and checks the next block while one is being written.
func inflateAhead(w io.Writer, r io.Reader) error {
	z, err := pgzip.NewReader(r)
	if err != nil {
		return err
	}
	_, err = z.WriteTo(w)
	return errors.Join(err, z.Close()) // waits for the goroutine that may still read r
}

// wrapGzipError wraps gzip's own errors, which say too little.
func wrapGzipError(err error) error {
	for _, own := range []error{gzip.ErrHeader, gzip.ErrChecksum, pgzip.ErrHeader, pgzip.ErrChecksum, io.EOF, io.ErrUnexpectedEOF} {
		if errors.Is(err, own) {
			return fmt.Errorf("%w: %w", errCorrupt, err)
		}
	}
	var corrupt flate.CorruptInputError
	if errors.As(err, &corrupt) {
		return fmt.Errorf("%w: %w", errCorrupt, err)
	}
	return err
}

const bufferSize = 256 << 10

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}
