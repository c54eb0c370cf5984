package collector

import (
	"errors"
	"fmt"
	"io"
	"math/bits"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/sealift/sealift/pkg/event"
)

const (
	firstBuffer     = 4 << 10  // 4 KiB
	maxPooledBuffer = 64 << 10 // 64 KiB: larger buffers are not kept for reuse
	pooledSizes     = 5        // each twice as large as the one before
	// discardBytes is how many bytes of a refused body are still read and discarded: a client that
	// is still writing would see a reset connection instead of the answer.
	discardBytes = 2 << 20 // 2 MiB
	// progressBytes is how much of a body has to arrive within each Config.BodyTimeout. A phone on
	// a slow network needs minutes for a full batch, and would otherwise start it again from the
	// beginning.
	progressBytes = 64 << 10 // 64 KiB
)

// buffers are kept by size, so that a body that has just begun does not hold a large one.
var buffers [pooledSizes]sync.Pool

func sizeClass(bytes int) int { return bits.Len(uint(bytes/firstBuffer)) - 1 }

// newBuffer returns an empty buffer of that capacity, which must be firstBuffer times a power of
// two if it is not more than maxPooledBuffer.
func newBuffer(bytes int) []byte {
	if bytes <= maxPooledBuffer {
		if b, ok := buffers[sizeClass(bytes)].Get().(*[]byte); ok {
			return *b
		}
	}
	return make([]byte, 0, bytes)
}

// freeBody takes back a body's buffer.
func freeBody(b []byte) {
	if size := cap(b); size >= firstBuffer && size <= maxPooledBuffer && size&(size-1) == 0 {
		b = b[:0]
		buffers[sizeClass(size)].Put(&b)
	}
}

// readBody reads a request's body into a buffer that freeBody takes back. Bytes are counted as they
// arrive: a client that announces a lot and sends little holds little.
func (c *Collector) readBody(w http.ResponseWriter, r *http.Request, g *grant) ([]byte, *refusal) {
	if r.ContentLength > event.MaxBody {
		return nil, eventRefusal(event.TooLarge())
	}
	switch strings.ToLower(r.Header.Get("Content-Encoding")) {
	case "", "identity", "gzip", "x-gzip":
	default:
		return nil, newRefusal(http.StatusUnsupportedMediaType, "content_encoding", "Content-Encoding: send gzip or none")
	}
	r.Header.Del("Expect") // a client that asked before it sends the body is now told to
	body, err := fill(&progressReader{from: r.Body, left: progressBytes, renew: func() { c.extendDeadlines(w) }}, g)
	switch {
	case err == nil:
		return body, nil
	case errors.Is(err, errNoRoom):
		return nil, overloaded()
	case errors.Is(err, errBodyTooLarge):
		return nil, eventRefusal(event.TooLarge())
	}
	// This is the network's fault, and worth a retry. It is not 408, because most SDKs drop what is
	// answered with that.
	return nil, retryLater(http.StatusServiceUnavailable, "body_not_received", "the body did not arrive whole and in time: send it again")
}

// progressReader reads a body and calls renew whenever another progressBytes have arrived.
type progressReader struct {
	from  io.Reader
	renew func()
	left  int // bytes until the next renewal
}

// Read implements io.Reader.
func (r *progressReader) Read(p []byte) (int, error) {
	n, err := r.from.Read(p)
	if r.left -= n; r.left <= 0 {
		r.left = progressBytes
		r.renew()
	}
	return n, err
}

// extendDeadlines extends the deadlines that the server set when the request began.
func (c *Collector) extendDeadlines(w http.ResponseWriter) {
	control, now := http.NewResponseController(w), time.Now()
	// A ResponseWriter without a connection, as in tests, has no deadlines.
	_ = control.SetReadDeadline(now.Add(c.cfg.BodyTimeout))
	_ = control.SetWriteDeadline(now.Add(c.writeTimeout()))
}

// inflate returns the decompressed body, and frees the original, if it is gzip; otherwise it
// returns the body itself. The inflated size is bounded; the ratio needs no bound, because nothing
// beyond that size is ever inflated. What the header says does not matter, since no JSON starts
// like gzip: a proxy that inflates, or an SDK that does not say that it compresses, is fine.
func (p *scratch) inflate(body []byte, g *grant) ([]byte, *refusal) {
	if len(body) < 2 || body[0] != 0x1f || body[1] != 0x8b {
		return body, nil
	}
	defer func() {
		g.resize(g.bytes - int64(cap(body)))
		freeBody(body)
	}()
	p.deflated.Reset(body)
	err := p.gzip.Reset(&p.deflated)
	if err == nil {
		var inflated []byte
		if inflated, err = fill(&p.gzip, g); err == nil {
			return inflated, nil
		}
	}
	switch {
	case errors.Is(err, errNoRoom):
		return nil, overloaded()
	case errors.Is(err, errBodyTooLarge):
		return nil, eventRefusal(event.TooLarge())
	}
	return nil, newRefusal(http.StatusBadRequest, "invalid_gzip", fmt.Sprintf("the body is not valid gzip: %v", err))
}

var (
	errNoRoom       = errors.New("no room for more bytes in flight")
	errBodyTooLarge = errors.New("more than a body may hold")
)

// fill reads all of from into a buffer, whose bytes it counts against the grant.
func fill(from io.Reader, g *grant) ([]byte, error) {
	b := newBuffer(firstBuffer)
	if !g.resize(g.bytes + int64(cap(b))) {
		return freeAndFail(b, errNoRoom)
	}
	for {
		n, err := from.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case len(b) > event.MaxBody:
			return freeAndFail(b, errBodyTooLarge)
		case err == io.EOF:
			return b, nil
		case err != nil:
			return freeAndFail(b, err)
		case len(b) == cap(b):
			size := min(2*cap(b), event.MaxBody+1)
			if !g.resize(g.bytes + int64(size-cap(b))) {
				return freeAndFail(b, errNoRoom)
			}
			larger := append(newBuffer(size), b...)
			freeBody(b)
			b = larger
		}
	}
}

func freeAndFail(b []byte, err error) ([]byte, error) {
	freeBody(b)
	return nil, err
}

func discardRest(body io.Reader) { _, _ = io.CopyN(io.Discard, body, discardBytes) }
