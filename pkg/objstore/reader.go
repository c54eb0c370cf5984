package objstore

import (
	"context"
	"errors"
	"io"
	"sync"
)

// Reader is a bucket as its owner's tools read it: what they need in addition to a Store, and no
// writes. S3 and Memory are Readers and pass conformance.RunReader.
type Reader interface {
	// List and Head are as in Store.
	List(ctx context.Context, prefix, startAfter string, limit int) ([]Info, error)
	Head(ctx context.Context, key string) (Info, error)
	// Folders returns the names between prefix and the next slash in keys, in byte order, each
	// once. It takes one request per 1,000 names, however many objects are below them.
	Folders(ctx context.Context, prefix string) ([]string, error)
	// GetFrom is like Get, beginning at an offset, which must be within the object. Info.Size is
	// the whole object's. With an ETag, it returns ErrChanged if the key now has another object.
	// The store's checksums are not compared; that is up to the caller.
	GetFrom(ctx context.Context, key, etag string, from int64) (io.ReadCloser, Info, error)
}

// OpenReader opens a bucket in whatever region it is: after an answer that names another region,
// that request and all later ones go there. Listings and Head are tried again for some seconds
// while the store is unreachable, as with WithReadRetries.
func OpenReader(cfg S3Config) Reader {
	if cfg.HTTPClient == nil {
		cfg.HTTPClient = NewHTTPClient(nil) // also for the region that is found
	}
	if cfg.Credentials == nil {
		cfg.Credentials = DefaultCredentials()
	}
	return &regionReader{cfg: cfg, bucket: NewS3(cfg)}
}

// regionReader is a bucket that may turn out to be in another region.
type regionReader struct {
	cfg S3Config

	mu     sync.Mutex // guards bucket
	bucket *S3
}

func (l *regionReader) current() *S3 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.bucket
}

// inRegion makes a request, and repeats it in the bucket's region if that is another one.
func (l *regionReader) inRegion(request func(*S3) error) error {
	current := l.current()
	err := request(current)
	var answer *Error
	if !errors.Is(err, ErrWrongRegion) || !errors.As(err, &answer) || answer.Region == "" {
		return err
	}
	l.mu.Lock()
	if l.bucket == current { // otherwise another request has done it
		moved := l.cfg
		moved.Region = answer.Region
		l.bucket = NewS3(moved)
	}
	l.mu.Unlock()
	return request(l.current())
}

func (l *regionReader) inRegionWithRetries(ctx context.Context, request func(context.Context, *S3) error) error {
	return RetryRead(ctx, func() error {
		ctx, cancel := context.WithTimeout(ctx, readTryTimeout)
		defer cancel()
		return l.inRegion(func(s *S3) error { return request(ctx, s) })
	})
}

// List implements Reader.
func (l *regionReader) List(ctx context.Context, prefix, startAfter string, limit int) (infos []Info, err error) {
	err = l.inRegionWithRetries(ctx, func(ctx context.Context, s *S3) error {
		infos, err = s.List(ctx, prefix, startAfter, limit)
		return err
	})
	return infos, err
}

// Folders implements Reader.
func (l *regionReader) Folders(ctx context.Context, prefix string) (names []string, err error) {
	err = RetryRead(ctx, func() error { // the time limit is for each of its requests
		return l.inRegion(func(s *S3) error {
			names, err = s.Folders(ctx, prefix)
			return err
		})
	})
	return names, err
}

// Head implements Reader.
func (l *regionReader) Head(ctx context.Context, key string) (info Info, err error) {
	err = l.inRegionWithRetries(ctx, func(ctx context.Context, s *S3) error {
		info, err = s.Head(ctx, key)
		return err
	})
	return info, err
}

// GetFrom implements Reader. It makes one request, or two if the region changes: whoever reads the
// body has to handle failures anyway.
func (l *regionReader) GetFrom(ctx context.Context, key, etag string, from int64) (r io.ReadCloser, info Info, err error) {
	err = l.inRegion(func(s *S3) error {
		r, info, err = s.GetFrom(ctx, key, etag, from)
		return err
	})
	return r, info, err
}
