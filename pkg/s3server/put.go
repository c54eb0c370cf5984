package s3server

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"unicode/utf8"
)

// storedHeaders lists the headers that are stored with an object, in addition to x-amz-meta-*.
var storedHeaders = []string{
	"Content-Type", "Content-Encoding", "Content-Disposition", "Content-Language", "Cache-Control", "Expires",
	headerSSE, headerKMSKey,
}

const (
	headerSSE       = "X-Amz-Server-Side-Encryption"
	headerKMSKey    = "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id"
	headerBucketKey = "X-Amz-Server-Side-Encryption-Bucket-Key-Enabled"
	metaPrefix      = "X-Amz-Meta-"
	maxUserMeta     = 2 << 10 // bytes of names and values, counted as in S3
)

// putObject is s3:PutObject. It refuses in S3's order: first callers without permission, then what
// the bucket does not accept, then the use of the key. Only then does it read the body and check
// whether the object exists.
func (s *Server) putObject(w http.ResponseWriter, r *request) *apiError {
	actions := []string{"s3:PutObject"}
	if r.Header.Get("X-Amz-Acl") != "" {
		actions = append(actions, "s3:PutObjectAcl")
	}
	if r.Header.Get("If-Match") != "" {
		actions = append(actions, "s3:GetObject") // it would reveal what is there
	}
	b, failed := s.bucketFor(r, actions...)
	if failed != nil {
		return failed
	}
	meta, when, failed := readPut(r)
	if failed != nil {
		return failed
	}
	described := b.metadata()
	if failed := applyOwnership(r, described, meta); failed != nil {
		return failed
	}
	if failed := s.applyEncryption(r, described, meta); failed != nil {
		return failed
	}
	if failed := s.storeObject(b, r, meta, when); failed != nil {
		return failed
	}
	h := w.Header()
	h.Set("ETag", `"`+meta.ETag+`"`)
	for _, name := range []string{headerSSE, headerKMSKey, headerBucketKey} {
		if v := meta.Header[name]; v != "" {
			h.Set(name, v)
		}
	}
	writeChecksums(h, meta)
	w.WriteHeader(http.StatusOK)
	return nil
}

// readPut reads the properties of the new object, and the PUT's condition.
func readPut(r *request) (*objectMeta, condition, *apiError) {
	var when condition
	if !utf8.ValidString(r.key) {
		return nil, when, invalidArgument("The key is not UTF-8")
	}
	if len(r.key) > 1024 {
		return nil, when, apiErrorf(http.StatusBadRequest, "KeyTooLongError", "Your key is too long")
	}
	switch v := r.Header.Get("If-None-Match"); v {
	case "":
	case "*":
		when.absent = true
	default:
		return nil, when, notImplemented("If-None-Match with an etag")
	}
	when.etag = strings.Trim(r.Header.Get("If-Match"), `"`)
	meta := &objectMeta{Key: r.key, ACL: r.Header.Get("X-Amz-Acl"), Header: map[string]string{}}
	for _, name := range storedHeaders {
		if v := r.Header.Get(name); v != "" {
			meta.Header[name] = v
		}
	}
	if encoding := withoutChunked(meta.Header["Content-Encoding"]); encoding != "" {
		meta.Header["Content-Encoding"] = encoding
	} else {
		delete(meta.Header, "Content-Encoding")
	}
	userBytes := 0
	for name, values := range r.Header {
		if short, ok := strings.CutPrefix(name, metaPrefix); ok {
			meta.Header[name] = strings.Join(values, ",")
			userBytes += len(short) + len(meta.Header[name])
		}
	}
	if userBytes > maxUserMeta {
		return nil, when, apiErrorf(http.StatusBadRequest, "MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size")
	}
	return meta, when, checkEncryption(meta)
}

// withoutChunked removes the transfer framing from a Content-Encoding.
func withoutChunked(encoding string) string {
	var out []string
	for part := range strings.SplitSeq(encoding, ",") {
		if part = strings.TrimSpace(part); part != "" && part != "aws-chunked" {
			out = append(out, part)
		}
	}
	return strings.Join(out, ",")
}

// storeObject receives the body and stores it as the object.
func (s *Server) storeObject(b *bucket, r *request, meta *objectMeta, when condition) *apiError {
	digests, failed := newDigests(r)
	if failed != nil {
		return failed
	}
	body, failed := r.body()
	if failed != nil {
		return failed
	}
	temp, err := os.CreateTemp(s.tempDir(), "put-*")
	if err != nil {
		return internalError(err)
	}
	// 1. bytes and description in a temporary file  2. rename
	err = s.receive(temp, body, digests, meta)
	if err == nil {
		err = b.commit(temp.Name(), meta, when)
	} else {
		err = errors.Join(err, os.Remove(temp.Name()))
	}
	var refused *apiError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refused):
		return refused
	}
	return internalError(err)
}

// receive writes the body and the description, and closes the file.
func (s *Server) receive(temp *os.File, body *payload, digests *digests, meta *objectMeta) (err error) {
	defer func() { err = errors.Join(err, temp.Close()) }()
	n, err := io.Copy(digests.writer(temp), body)
	if err != nil {
		var refused *apiError
		if !errors.As(err, &refused) && !isDiskError(err) {
			return errIncomplete
		}
		return err
	}
	if failed := digests.verify(body.trailers); failed != nil {
		return failed
	}
	keyed := strings.HasPrefix(meta.Header[headerSSE], sseKMS)
	meta.Size, meta.ETag, meta.Checksum, meta.Modified = n, digests.etag(keyed), digests.checksums(), s.now().UnixMilli()
	return appendMeta(temp, meta)
}

// isDiskError reports whether the disk failed, rather than the client.
func isDiskError(err error) bool {
	var path *os.PathError
	return errors.As(err, &path)
}
