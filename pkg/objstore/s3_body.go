package objstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"sync"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"
)

// measure returns the size of what is left of the body and its checksum,
// which is read only when it is not known, and leaves the body where it was.
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

// signedPayload makes the SDK sign the body's known checksum instead of
// reading the body once more for it (plain http) or not signing it (https).
func signedPayload(sum [32]byte) func(*s3.Options) {
	set := middleware.InitializeMiddlewareFunc("SealiftPayloadHash",
		func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
			return next.HandleInitialize(v4.SetPayloadHash(ctx, hex.EncodeToString(sum[:])), in)
		})
	return func(o *s3.Options) {
		o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
			return stack.Initialize.Add(set, middleware.Before)
		})
	}
}

// guardedBody keeps the promise that a body is not read after Put returned:
// net/http may still be sending it when an early answer arrives.
type guardedBody struct {
	mu       sync.Mutex // guards body and released
	body     io.ReadSeeker
	released bool
}

func (g *guardedBody) Read(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.released {
		return 0, io.ErrClosedPipe
	}
	return g.body.Read(p)
}

func (g *guardedBody) Seek(offset int64, whence int) (int64, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.released {
		return 0, io.ErrClosedPipe
	}
	return g.body.Seek(offset, whence)
}

func (g *guardedBody) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.released = true
}

// objectReader gives read errors their class.
type objectReader struct {
	io.ReadCloser
	fail func(error) error
}

func (r *objectReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = r.fail(err)
	}
	return n, err
}
