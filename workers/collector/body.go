package collector

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"

	"github.com/sealift/sealift/pkg/event"
)

const (
	firstBuffer = 4 << 10  // 4 KiB
	keptBuffer  = 64 << 10 // 64 KiB: larger ones are not kept for reuse
	gzipState   = 64 << 10 // what inflating costs, about
	// lingering bytes are read, and forgotten, of what is left of a body that is
	// refused: a client that is still writing would see a reset connection
	// instead of the answer.
	lingering = 2 << 20 // 2 MiB
)

var (
	buffers = sync.Pool{New: func() any { b := make([]byte, 0, firstBuffer); return &b }}
	readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, firstBuffer) }}
	gzips   = sync.Pool{New: func() any { return new(gzip.Reader) }}
)

// wire is a request's body as it comes, and remembers that it broke.
type wire struct {
	io.Reader
	err error
}

func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	if err != nil && err != io.EOF {
		w.err = err
	}
	return n, err
}

// readBody reads and inflates a request's body into a buffer that freeBody
// takes back, and counts its bytes as they come: a client that announces much
// and sends little holds little. Inflated size is what is bounded; the ratio
// needs no bound of its own, as nothing beyond that size is ever inflated.
func (c *Collector) readBody(r *http.Request, g *grant) ([]byte, *refusal) {
	if r.ContentLength > event.MaxBody {
		return nil, tooLarge()
	}
	switch strings.ToLower(r.Header.Get("Content-Encoding")) {
	case "", "identity", "gzip", "x-gzip":
	default:
		return nil, refuse(http.StatusUnsupportedMediaType, "content_encoding", "Content-Encoding: send gzip or none")
	}
	in := &wire{Reader: http.MaxBytesReader(nil, r.Body, event.MaxBody)}
	buffered := readers.Get().(*bufio.Reader)
	buffered.Reset(in)
	defer func() {
		buffered.Reset(nil)
		readers.Put(buffered)
	}()
	// No JSON starts like gzip: what the header says does not matter, so a
	// proxy that inflates or an SDK that does not say that it deflates is fine.
	var from io.Reader = buffered
	if magic, _ := buffered.Peek(2); len(magic) == 2 && magic[0] == 0x1f && magic[1] == 0x8b {
		if !g.resize(g.bytes + gzipState) {
			return nil, overloaded()
		}
		inflate := gzips.Get().(*gzip.Reader)
		defer gzips.Put(inflate)
		if err := inflate.Reset(buffered); err != nil {
			return nil, unreadable(in, err)
		}
		from = inflate
	}
	buffer := *buffers.Get().(*[]byte)
	body, err := fill(from, buffer, g)
	if err == nil {
		return body, nil
	}
	freeBody(body)
	return nil, unreadable(in, err)
}

var errNoRoom = errors.New("no room for more bytes in flight")

func fill(from io.Reader, b []byte, g *grant) ([]byte, error) {
	if !g.resize(g.bytes + int64(cap(b))) {
		return b, errNoRoom
	}
	for {
		n, err := from.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case len(b) > event.MaxBody:
			return b, &http.MaxBytesError{Limit: event.MaxBody}
		case err == io.EOF:
			return b, nil
		case err != nil:
			return b, err
		case len(b) == cap(b):
			size := min(2*cap(b), event.MaxBody+1)
			if !g.resize(g.bytes + int64(size-cap(b))) {
				return b, errNoRoom
			}
			b = append(make([]byte, 0, size), b...)
		}
	}
}

func freeBody(b []byte) {
	if cap(b) > 0 && cap(b) <= keptBuffer {
		b = b[:0]
		buffers.Put(&b)
	}
}

// unreadable says why a body could not be read. What broke on the way is the
// network's fault and worth a retry; what arrived whole and does not inflate
// is not.
func unreadable(in *wire, err error) *refusal {
	var large *http.MaxBytesError
	switch {
	case errors.Is(err, errNoRoom):
		return overloaded()
	case errors.As(err, &large):
		return tooLarge()
	case in.err != nil:
		return retryLater(http.StatusRequestTimeout, "body_not_received", "the body did not arrive whole and in time: send it again")
	}
	return refuse(http.StatusBadRequest, "invalid_gzip", fmt.Sprintf("the body is not valid gzip: %v", err))
}

func linger(body io.Reader) { _, _ = io.CopyN(io.Discard, body, lingering) }

func tooLarge() *refusal {
	return refuse(http.StatusRequestEntityTooLarge, string(event.ErrBatchTooLarge),
		fmt.Sprintf("the body holds more than %d KB: send fewer events at once", event.MaxBody>>10))
}
