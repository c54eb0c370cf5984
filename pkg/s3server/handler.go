package s3server

import (
	"errors"
	"io"
	"io/fs"
	"net/http"
)

// handlers by operation. Each checks its own authorization, because each
// knows what it touches.
var handlers = map[string]func(*Server, http.ResponseWriter, *request) *apiError{
	"AssumeRole":        (*Server).assumeRole,
	"GetCallerIdentity": (*Server).getCallerIdentity,
	"ListBuckets":       (*Server).listBuckets,
	"CreateBucket":      (*Server).createBucket,
	"HeadBucket":        (*Server).headBucket,
	"DeleteBucket":      (*Server).deleteBucket,
	"GetBucketLocation": (*Server).getBucketLocation,
	"ListObjects":       (*Server).listObjects,
	"ListObjectsV2":     (*Server).listObjectsV2,
	"PutObject":         (*Server).putObject,
	"GetObject":         (*Server).getObject,
	"HeadObject":        (*Server).getObject,
	"DeleteObject":      (*Server).deleteObject,
	"DeleteObjects":     (*Server).deleteObjects,
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	fault := s.decideFault(hr)
	r, failed := parse(hr)
	s.count(r.op)
	w.Header().Set("Server", "sealift")
	w.Header().Set("X-Amz-Request-Id", r.id)
	w.Header().Set("X-Amz-Id-2", "sealift")

	faulty := fault.Cut || fault.Status != 0
	if faulty && !fault.After {
		if !fault.Cut {
			swallow(hr)
		}
		fault.happen(w, r)
		return
	}
	to := w
	if faulty {
		to = &unheard{header: http.Header{}}
	}
	if failed == nil {
		failed = s.handle(to, r)
	}
	if failed != nil {
		if failed.status >= 500 {
			s.cfg.Log.Error("object request failed", "op", r.op, "bucket", r.bucket, "key", r.key, "err", failed)
		}
		swallow(hr)
		writeError(to, r, failed)
	}
	if faulty {
		fault.happen(w, r)
	}
}

func (s *Server) handle(w http.ResponseWriter, r *request) *apiError {
	if failed := s.authenticate(r); failed != nil {
		return failed
	}
	handler := handlers[r.op]
	if handler == nil {
		return notImplemented(r.Method + " " + r.URL.RequestURI())
	}
	return handler(s, w, r)
}

// swallow reads what a client still sends, within reason, so that it gets to
// read the refusal: a client that is cut off while it writes may never see
// it. One that waits for 100 Continue sends nothing.
func swallow(r *http.Request) {
	if r.Header.Get("Expect") == "" {
		_, _ = io.CopyN(io.Discard, r.Body, 8<<20)
	}
}

// bucketFor finds the bucket of a request and refuses whom it must: a wrong
// region, a wrong expected owner, a principal without the right to do action.
func (s *Server) bucketFor(r *request, actions ...string) (*bucket, *apiError) {
	s.mu.RLock()
	b := s.buckets[r.bucket]
	s.mu.RUnlock()
	if b == nil {
		return nil, fail(http.StatusNotFound, "NoSuchBucket", "The specified bucket does not exist")
	}
	meta := b.described()
	// GetBucketLocation is how clients find the region: any will do.
	if r.auth.region != meta.Region && r.op != "GetBucketLocation" {
		e := fail(http.StatusMovedPermanently, "PermanentRedirect",
			"The bucket you are attempting to access must be addressed using the specified endpoint: it is in %s, the request is signed for %s", meta.Region, r.auth.region)
		e.region = meta.Region
		return nil, e
	}
	if want := r.Header.Get("X-Amz-Expected-Bucket-Owner"); want != "" && meta.Owner != "" && want != meta.Owner {
		return nil, fail(http.StatusForbidden, "AccessDenied", "The bucket is not owned by the expected account %s", want)
	}
	for _, action := range actions {
		if failed := s.authorize(r.auth.principal, access{action: action, bucket: r.bucket, key: r.key, header: r.Header}); failed != nil {
			return nil, failed
		}
	}
	return b, nil
}

// objectError is the answer to a failure of the disk, or to a missing object.
func objectError(err error) *apiError {
	if errors.Is(err, fs.ErrNotExist) {
		return fail(http.StatusNotFound, "NoSuchKey", "The specified key does not exist.")
	}
	return internal(err)
}
