package s3server

import (
	"errors"
	"io"
	"io/fs"
	"net/http"
)

// handlers by operation. Each checks its own authorization, because only it knows what it accesses.
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
	s.count(r.op, r.bucket)
	if fault == (Fault{}) {
		fault = s.standingFault(r)
	}
	fault.wait(hr.Context())
	w.Header().Set("Server", "sealift")
	w.Header().Set("X-Amz-Request-Id", r.id)
	w.Header().Set("X-Amz-Id-2", "sealift")

	faulty := fault.Cut || fault.Status != 0
	if faulty && !fault.After {
		if !fault.Cut {
			drainBody(hr)
		}
		fault.answer(w, r)
		return
	}
	to := w
	if faulty {
		to = &discardResponse{header: http.Header{}}
	}
	if failed == nil {
		failed = s.handle(to, r)
	}
	if failed != nil {
		if failed.status >= 500 {
			s.cfg.Log.Error("object request failed", "op", r.op, "bucket", r.bucket, "key", r.key, "err", failed)
		}
		drainBody(hr)
		writeError(to, r, failed)
	}
	if faulty {
		fault.answer(w, r)
	}
}

func (s *Server) handle(w http.ResponseWriter, r *request) *apiError {
	if failed := s.authenticate(r); failed != nil {
		return failed
	}
	if r.service == serviceSTS && s.stsDisabled(r.auth.region) {
		return apiErrorf(http.StatusForbidden, "RegionDisabledException", "STS is not activated in this region for account:%s. "+
			"Your account administrator can activate STS in this region using the IAM Console.", r.auth.principal.Account)
	}
	handler := handlers[r.op]
	if handler == nil {
		return notImplemented(r.Method + " " + r.URL.RequestURI())
	}
	return handler(s, w, r)
}

// drainBody reads what the client is still sending, up to a limit, so that it gets to read the
// refusal: a client that is cut off while it writes may never see it. A client that waits for 100
// Continue sends nothing.
func drainBody(r *http.Request) {
	if r.Header.Get("Expect") == "" {
		_, _ = io.CopyN(io.Discard, r.Body, 8<<20)
	}
}

// bucketFor returns the request's bucket. It refuses, in S3's order, a wrong region, a wrong
// expected owner, and a principal without permission for the actions. If it refuses, the bucket (if
// there is one) is only returned for its region.
func (s *Server) bucketFor(r *request, actions ...string) (*bucket, *apiError) {
	s.mu.RLock()
	b := s.buckets[r.bucket]
	s.mu.RUnlock()
	if b == nil {
		return nil, noSuchBucket
	}
	meta := b.metadata()
	// Clients find out the region with GetBucketLocation, so it is accepted for any region.
	if r.auth.region != meta.Region && r.op != "GetBucketLocation" {
		return b, wrongRegion(r, meta)
	}
	if want := r.Header.Get("X-Amz-Expected-Bucket-Owner"); want != "" && meta.Owner != "" && want != meta.Owner {
		return b, accessDenied
	}
	resource := bucketARN(meta.Region, r.bucket)
	if r.key != "" {
		resource += "/" + r.key
	}
	for _, action := range actions {
		if failed := s.authorize(r, meta, action, resource); failed != nil {
			return b, failed
		}
	}
	return b, nil
}

// objectFailed returns the answer to a disk failure or a missing object. Callers without permission
// to list do not learn that the object is missing.
func (s *Server) objectFailed(r *request, b *bucket, err error) *apiError {
	if !errors.Is(err, fs.ErrNotExist) {
		return internalError(err)
	}
	meta := b.metadata()
	if failed := s.authorize(r, meta, "s3:ListBucket", bucketARN(meta.Region, r.bucket)); failed != nil {
		return failed
	}
	return noSuchKey
}
