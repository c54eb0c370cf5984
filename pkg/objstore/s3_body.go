package objstore

import (
	"bytes"
	"context"
	"crypto/sha1" //nolint:gosec // one of S3's checksums
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
	"net/http"
	"strings"
	"sync"
)

// measure returns the size and checksum of the rest of the body, without moving its position. It
// reads the body only if the checksum is not known.
func measure(body io.ReadSeeker, known [32]byte) (int64, [32]byte, error) {
	start, err := body.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, known, err
	}
	var size int64
	if known == ([32]byte{}) {
		h := sha256.New()
		if size, err = io.Copy(h, body); err != nil {
			return 0, known, err
		}
		h.Sum(known[:0])
	} else {
		end, err := body.Seek(0, io.SeekEnd)
		if err != nil {
			return 0, known, err
		}
		size = end - start
	}
	_, err = body.Seek(start, io.SeekStart)
	return size, known, err
}

// maxBufferedBody is the size up to which a body is copied before it is sent. net/http sends a body
// that it knows to be in memory in one system call with the header, and allocates a buffer for any
// other.
const maxBufferedBody = 64 << 10 // 64 KiB

// sendableBody returns the body for net/http. After release it is not read any more; release
// returns the error if it could not be read.
func sendableBody(body io.Reader, size int64) (sent io.ReadCloser, release func() error, err error) {
	noError := func() error { return nil }
	switch {
	case size == 0:
		return http.NoBody, noError, nil
	case size <= maxBufferedBody:
		b := make([]byte, size)
		_, err := io.ReadFull(body, b)
		return io.NopCloser(bytes.NewReader(b)), noError, err
	}
	guarded := &guardedBody{body: body, left: size}
	return guarded, guarded.release, nil
}

// guardedBody ensures that a body is not read after Put returned: net/http may still be sending it
// when an early answer arrives.
type guardedBody struct {
	mu       sync.Mutex // guards everything below
	body     io.Reader
	left     int64 // bytes yet to be sent
	released bool
	err      error // why the body could not be read
}

func (g *guardedBody) Read(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.released {
		return 0, io.ErrClosedPipe
	}
	n, err := g.body.Read(p)
	g.left -= int64(n)
	if errors.Is(err, io.EOF) && g.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil && !errors.Is(err, io.EOF) {
		g.err = err
	}
	return n, err
}

// Close implements io.Closer. The body's owner closes it.
func (g *guardedBody) Close() error { return nil }

func (g *guardedBody) release() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.released = true
	return g.err
}

// checksums are those that S3 keeps of an object, the cheapest first.
var checksums = []struct {
	header string
	hash   func() hash.Hash
}{
	{"X-Amz-Checksum-Crc32c", func() hash.Hash { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) }},
	{"X-Amz-Checksum-Crc32", func() hash.Hash { return crc32.NewIEEE() }},
	{"X-Amz-Checksum-Crc64nvme", func() hash.Hash { return crc64.New(nvme) }},
	{"X-Amz-Checksum-Sha1", sha1.New},
	{"X-Amz-Checksum-Sha256", sha256.New},
}

var nvme = crc64.MakeTable(0x9a6c9329ac4bc9b5)

// objectReader classifies read errors, and compares an object with its checksum if the answer
// contained one.
type objectReader struct {
	io.ReadCloser
	fail func(error) error
	hash hash.Hash // nil: nothing to compare
	want string
}

// reader returns the body of the answer to a GET.
func (s *S3) reader(ctx context.Context, r *request, answer *http.Response, verify bool) io.ReadCloser {
	o := &objectReader{ReadCloser: answer.Body, fail: func(err error) error { return s.requestError(ctx, r, ErrUnavailable, err) }}
	if !verify {
		return o
	}
	for _, c := range checksums {
		// A checksum of parts, "…-3", is not one of the bytes.
		if v := answer.Header.Get(c.header); v != "" && !strings.Contains(v, "-") {
			o.hash, o.want = c.hash(), v
			break
		}
	}
	return o
}

func (r *objectReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if r.hash != nil {
		_, _ = r.hash.Write(p[:n])
	}
	switch {
	case err == nil:
	case !errors.Is(err, io.EOF):
		err = r.fail(err)
	case r.hash != nil && base64.StdEncoding.EncodeToString(r.hash.Sum(nil)) != r.want:
		err = r.fail(errors.New("the bytes are not those of the object's checksum"))
	}
	return n, err
}
