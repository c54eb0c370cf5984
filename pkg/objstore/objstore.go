// Package objstore is the contract of an object store bucket, with two implementations: S3 (the
// only place in Sealift that talks to it) and memory.
//
// It is for the operator's staging bucket as well as for the buckets of customers. It promises
// exactly what S3 promises: atomic PUTs of whole objects, create-if-absent, read-after-write.
// Except for the reads of a store of WithReadRetries, it does not retry: an operation is one
// request (List and Head may be more), and the caller, who knows what a repeated request means,
// decides. (If a create-if-absent PUT succeeds but its answer is lost, the repeated PUT is answered
// 412. net/http itself repeats requests that were not answered on a connection that was used
// before: GET and HEAD, and others only if nothing of them was sent.)
package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/sealift/sealift/pkg/secret"
)

// Sentinel errors. Every error of a Store is, or wraps, an *Error that matches one of them with
// errors.Is. If the context ended, it matches ErrUnavailable, because the outcome is unknown, and
// the context's error.
var (
	// ErrNotFound says that the object does not exist (on reads).
	ErrNotFound = errors.New("object not found")
	// ErrNoBucket says that the bucket does not exist.
	ErrNoBucket = errors.New("bucket not found")
	// ErrExists says that the key is taken although IfAbsent was set (412).
	ErrExists = errors.New("object exists")
	// ErrChanged says that the key has another object than the one with the requested ETag (412, on
	// reads).
	ErrChanged = errors.New("object changed")
	// ErrConflict says that a concurrent conditional write is in flight (409);
	// the same request may be sent again.
	ErrConflict = errors.New("conditional write in conflict")
	// ErrDenied says that the store refused the caller (401, 403).
	ErrDenied = errors.New("access denied")
	// ErrWrongRegion says that the bucket is in Error.Region.
	ErrWrongRegion = errors.New("bucket is in another region")
	// ErrInvalid says that the store will never accept this request (other 4xx, and 501 for what it
	// does not implement).
	ErrInvalid = errors.New("request refused")
	// ErrBody says that the body could not be read, so nothing was stored. The store is not at
	// fault.
	ErrBody = errors.New("cannot read what is to be stored")
	// ErrUnavailable says that the outcome is unknown, or that the store is overloaded, throttling
	// or unreachable: the request may have been applied, or may still be.
	ErrUnavailable = errors.New("store unavailable")
	// ErrNoCredentials says that DefaultCredentials has found none yet, so nothing was sent. A
	// store's error that matches it matches ErrUnavailable, too: roles wait for credentials.
	ErrNoCredentials = errors.New("no AWS credentials")
)

// Error is what the store answered.
type Error struct {
	Op      string // "put", "get", "head", "list", "delete"
	Bucket  string
	Key     string
	Status  int    // HTTP status, 0 if there was no answer
	Code    string // S3's error code, such as "NoSuchBucket"
	Message string // S3's message, for people
	Region  string // the bucket's region, with ErrWrongRegion, if the answer named it
	Hint    string // which configuration key to change, "" if none is known
	Kind    error  // one of the sentinels above
	Err     error  // the cause, may be nil
}

func (e *Error) Error() string {
	s := fmt.Sprintf("%s object %q in bucket %q: ", e.Op, e.Key, e.Bucket)
	if errors.Is(e.Err, ErrNoCredentials) { // no store was asked
		return s + clip(Redact(e.Err.Error()), maxMessageBytes)
	}
	s += e.Kind.Error()
	if e.Code != "" {
		s += fmt.Sprintf(" (%d %s: %s)", e.Status, e.Code, e.Message)
	} else if e.Err != nil {
		// The cause may quote an answer that is not HTTP.
		s += fmt.Sprintf(" (%s)", clip(Redact(e.Err.Error()), maxMessageBytes))
	}
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

// Unwrap returns the class and the cause.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}

// CredentialsExpired reports whether the store refused credentials that have expired by its clock.
// Later requests use newer ones, if there are any. It is false for a nil e.
func (e *Error) CredentialsExpired() bool { return e != nil && isExpiredCode(e.Code) }

// ClockSkewed reports whether the store refused a request because its clock and ours differ. Later
// requests use the store's clock. It is false for a nil e.
func (e *Error) ClockSkewed() bool { return e != nil && isSkewCode(e.Code) }

func isExpiredCode(code string) bool { return code == "ExpiredToken" || code == "TokenRefreshRequired" }

func isSkewCode(code string) bool { return code == "RequestTimeTooSkewed" }

// Info describes a stored object.
type Info struct {
	Key             string
	Size            int64  // -1 from Get and GetFrom if the store does not tell
	ETag            string // without quotes; opaque
	LastModified    time.Time
	ContentType     string            // not filled by List
	ContentEncoding string            // not filled by List
	Metadata        map[string]string // lower-case keys; not filled by List
	// DataKey says that the store requested a key from KMS just to encrypt this object, because its
	// default encryption uses KMS without a bucket key. Only filled by Put.
	DataKey bool
	// KeyedETag says that the ETag is not the MD5 of the bytes, whatever it looks like, because
	// they are encrypted with a key from KMS or from the caller. Not filled by List and Put.
	KeyedETag bool
}

// PutOptions are the properties of an object to store.
type PutOptions struct {
	// IfAbsent stores only if the key is free (If-None-Match: *).
	IfAbsent bool
	// SHA256 is the checksum of the body, verified by the store (x-amz-checksum-sha256). Zero: it
	// is computed from the body.
	SHA256          [32]byte
	ContentType     string
	ContentEncoding string
	Metadata        map[string]string
	// ServerSideEncryption is "", "AES256" or "aws:kms".
	ServerSideEncryption string
	// ACL is a canned ACL, or "" for none.
	ACL string
}

// Store is one bucket. Implementations are safe for concurrent use and pass the suite in
// objstore/conformance.
type Store interface {
	// Put stores the whole body as key, or nothing. It reads body from its current position to its
	// end, possibly more than once, but never after it returned. With IfAbsent it returns ErrExists
	// if the key is taken, or ErrConflict. After ErrUnavailable the object may exist, now or later.
	Put(ctx context.Context, key string, body io.ReadSeeker, opts PutOptions) (Info, error)
	// Get opens an object. The bytes are as stored, never decompressed. The caller closes the
	// reader, whose Read also returns *Error.
	Get(ctx context.Context, key string) (io.ReadCloser, Info, error)
	// GetRange opens length bytes of an object, at least one, beginning at from: fewer if the
	// object ends before, and none if it ends at or before from. Nothing else is transferred,
	// unless the store does not support ranges. The store's checksums are not compared; that is up
	// to the caller.
	GetRange(ctx context.Context, key string, from, length int64) (io.ReadCloser, error)
	// Head describes an object.
	Head(ctx context.Context, key string) (Info, error)
	// List returns up to limit objects (limit <= 1000; 0 = 1000) with the prefix and with keys after
	// startAfter, in byte order of their keys. Fewer than limit means that there are no more.
	List(ctx context.Context, prefix, startAfter string, limit int) ([]Info, error)
	// Delete removes an object. Deleting a missing object is not an error.
	Delete(ctx context.Context, key string) error
}

// Credentials are AWS credentials, temporary if SessionToken is set.
type Credentials struct {
	AccessKeyID     string
	SecretAccessKey secret.Text
	SessionToken    secret.Text
	Expires         time.Time // zero: they do not expire

	chain *chain // set by DefaultCredentials; nil: they came from elsewhere
}
