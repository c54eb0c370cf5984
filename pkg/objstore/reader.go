package objstore

import (
	"context"
	"errors"
	"io"
	"sync"
)

// Reader is a bucket as its owner's tools read it: what they need beyond a
// Store, and nothing that writes. S3 and Memory are Readers, and pass
// conformance.RunReader.
type Reader interface {
	// List and Head are those of a Store.
	List(ctx context.Context, prefix, startAfter string, max int) ([]Info, error)
	Head(ctx context.Context, key string) (Info, error)
	// Folders returns the names that stand between prefix and the next slash
	// in keys, in byte order, each once: a request for 1,000 of them, however
	// many objects lie below.
	Folders(ctx context.Context, prefix string) ([]string, error)
	// GetFrom is Get of the bytes from an offset on, which must lie within the
	// object; Info.Size is the whole object's. With an ETag it is of the object
	// that has it: ErrChanged if another one lies there now. Checksums that the
	// store keeps are not compared: that is the caller's.
	GetFrom(ctx context.Context, key, etag string, from int64) (io.ReadCloser, Info, error)
}

// OpenReader opens a bucket wherever it lives: a request that is answered with
// another region is sent there, as are all that follow. Listings and Head are
// tried again for some seconds while the store is out of reach, as by Patient.
func OpenReader(cfg S3Config) Reader {
	if cfg.HTTPClient == nil {
		cfg.HTTPClient = NewHTTPClient(nil) // also of the region that is found
	}
	if cfg.Credentials == nil {
		cfg.Credentials = DefaultCredentials()
	}
	return &wherever{cfg: cfg, bucket: NewS3(cfg)}
}

// wherever is a bucket whose region may turn out to be another.
type wherever struct {
	cfg S3Config

	mu     sync.Mutex // guards bucket
	bucket *S3
}

func (l *wherever) at() *S3 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.bucket
}

// follow does one request, and does it again where the bucket is.
func (l *wherever) follow(request func(*S3) error) error {
	asked := l.at()
	err := request(asked)
	var answer *Error
	if !errors.Is(err, ErrWrongRegion) || !errors.As(err, &answer) || answer.Region == "" {
		return err
	}
	l.mu.Lock()
	if l.bucket == asked { // else another request was first
		moved := l.cfg
		moved.Region = answer.Region
		l.bucket = NewS3(moved)
	}
	l.mu.Unlock()
	return request(l.at())
}

func (l *wherever) patiently(ctx context.Context, request func(context.Context, *S3) error) error {
	return Again(ctx, func() error {
		ctx, cancel := context.WithTimeout(ctx, patientTimeout)
		defer cancel()
		return l.follow(func(s *S3) error { return request(ctx, s) })
	})
}

// List implements Reader.
func (l *wherever) List(ctx context.Context, prefix, startAfter string, limit int) (infos []Info, err error) {
	err = l.patiently(ctx, func(ctx context.Context, s *S3) error {
		infos, err = s.List(ctx, prefix, startAfter, limit)
		return err
	})
	return infos, err
}

// Folders implements Reader.
func (l *wherever) Folders(ctx context.Context, prefix string) (names []string, err error) {
	err = Again(ctx, func() error { // without a time limit: it may be many requests
		return l.follow(func(s *S3) error {
			names, err = s.Folders(ctx, prefix)
			return err
		})
	})
	return names, err
}

// Head implements Reader.
func (l *wherever) Head(ctx context.Context, key string) (info Info, err error) {
	err = l.patiently(ctx, func(ctx context.Context, s *S3) error {
		info, err = s.Head(ctx, key)
		return err
	})
	return info, err
}

// GetFrom implements Reader. It is one request, or two: whoever reads the body
// has to go on after failures anyway.
func (l *wherever) GetFrom(ctx context.Context, key, etag string, from int64) (r io.ReadCloser, info Info, err error) {
	err = l.follow(func(s *S3) error {
		r, info, err = s.GetFrom(ctx, key, etag, from)
		return err
	})
	return r, info, err
}
