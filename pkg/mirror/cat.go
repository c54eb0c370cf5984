package mirror

import (
	"context"
	"fmt"
	"io"
	"iter"
	"sync"

	"github.com/sealift/sealift/pkg/objstore"
)

// CatOptions say how files are written.
type CatOptions struct {
	// Raw writes the gzip bytes as they are stored; concatenated they are a gzip stream too.
	Raw bool
	// Parallel is how many files are read concurrently, of which those ahead of the one being
	// written are read up to 4 MiB; default 4.
	Parallel int
}

// chunkSize is how much is passed on at once.
const chunkSize = 128 << 10

// Cat writes the files' lines to w, one file after the other. It ends with the first error: the
// output may then end within a file, and of that file nothing was verified.
func Cat(ctx context.Context, r objstore.Reader, files iter.Seq2[File, error], w io.Writer, opts CatOptions) error {
	if opts.Parallel <= 0 {
		opts.Parallel = 4
	}
	for c, err := range readAhead(ctx, opts.Parallel, 4<<20/chunkSize, files, func(ctx context.Context, f File) iter.Seq2[*chunk, error] {
		return chunks(ctx, r, f, opts.Raw)
	}) {
		if err != nil {
			return err
		}
		_, err := w.Write(c.bytes[:c.n])
		chunkPool.Put(c)
		if err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
	return nil
}

// chunk is a piece of a file.
type chunk struct {
	bytes [chunkSize]byte
	n     int
}

var chunkPool = sync.Pool{New: func() any { return new(chunk) }}

// chunks yields a file piece by piece, and verifies it at the end.
func chunks(ctx context.Context, r objstore.Reader, f File, raw bool) iter.Seq2[*chunk, error] {
	return func(yield func(*chunk, error) bool) {
		d := newFetch(ctx, r, f, nil)
		defer d.Close()
		c := &chunker{yield: yield}
		var err error
		if raw {
			if _, err = io.CopyBuffer(c, struct{ io.Reader }{d}, make([]byte, chunkSize)); err == nil {
				_, err = d.verify()
			}
		} else {
			err = d.decompress(c)
		}
		if !c.flush() {
			return
		}
		if err != nil {
			yield(nil, withObjectName(err, f))
		}
	}
}

// chunker fills chunks with what is written to it, and yields them.
type chunker struct {
	yield   func(*chunk, error) bool
	next    *chunk
	stopped bool // the consumer has stopped
}

// Write implements io.Writer.
func (c *chunker) Write(p []byte) (n int, err error) {
	for n < len(p) {
		if c.next == nil {
			c.next = chunkPool.Get().(*chunk)
			c.next.n = 0
		}
		copied := copy(c.next.bytes[c.next.n:], p[n:])
		c.next.n += copied
		n += copied
		if c.next.n == chunkSize && !c.flush() {
			return n, io.ErrClosedPipe
		}
	}
	return n, nil
}

// flush yields what there is; it returns false if the consumer has stopped.
func (c *chunker) flush() bool {
	if c.next != nil && !c.stopped {
		c.stopped = !c.yield(c.next, nil)
		c.next = nil
	}
	return !c.stopped
}
