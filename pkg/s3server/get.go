package s3server

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// overrides maps the query parameters with which a GET replaces response headers.
var overrides = map[string]string{
	"response-content-type": "Content-Type", "response-content-encoding": "Content-Encoding",
	"response-content-disposition": "Content-Disposition", "response-content-language": "Content-Language",
	"response-cache-control": "Cache-Control", "response-expires": "Expires",
}

// getObject is s3:GetObject, for GET and HEAD.
func (s *Server) getObject(w http.ResponseWriter, r *request) (failed *apiError) {
	b, failed := s.bucketFor(r, "s3:GetObject")
	if failed != nil {
		return failed
	}
	o, err := b.open(r.key)
	if err != nil {
		return s.objectFailed(r, b, err)
	}
	defer o.Close()
	if failed := s.checkRead(r, b.metadata(), &o.meta); failed != nil {
		return failed
	}
	h := w.Header()
	h.Set("ETag", `"`+o.meta.ETag+`"`)
	h.Set("Last-Modified", o.meta.modified().Format(http.TimeFormat))
	if failed := checkConditions(r, &o.meta); failed != nil {
		return failed
	}
	part, failed := readRange(r.Header.Get("Range"), o.meta.Size)
	if failed != nil {
		h.Set("Content-Range", fmt.Sprintf("bytes */%d", o.meta.Size))
		return failed
	}
	h.Set("Content-Type", "binary/octet-stream")
	for name, value := range o.meta.Header {
		h.Set(name, value)
	}
	for parameter, name := range overrides {
		if v := r.query.Get(parameter); v != "" {
			h.Set(name, v)
		}
	}
	h.Set("Accept-Ranges", "bytes")
	h.Set("Content-Length", strconv.FormatInt(part.length, 10))
	status := http.StatusOK
	if part.partial {
		status = http.StatusPartialContent
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", part.from, part.from+part.length-1, o.meta.Size))
	} else if strings.EqualFold(r.Header.Get("X-Amz-Checksum-Mode"), "ENABLED") {
		writeChecksums(h, &o.meta)
	}
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return nil
	}
	if _, err := o.Seek(part.from, io.SeekStart); err == nil {
		_, err = io.CopyN(w, o.File, part.length) // sendfile
		if err != nil {
			// It is too late for a status: the client sees a short body.
			s.cfg.Log.Debug("object was not sent whole", "bucket", r.bucket, "key", r.key, "err", err)
		}
	}
	return nil
}

func writeChecksums(h http.Header, meta *objectMeta) {
	for algorithm, sum := range meta.Checksum {
		h.Set(checksumPrefix+algorithm, sum)
		h.Set("X-Amz-Checksum-Type", "FULL_OBJECT")
	}
}

// checkConditions evaluates If-Match and the others, in RFC 9110's order.
func checkConditions(r *request, meta *objectMeta) *apiError {
	modified := meta.modified().Truncate(time.Second)
	if v := r.Header.Get("If-Match"); v != "" {
		if !etagMatches(v, meta.ETag) {
			return preconditionFailed
		}
	} else if t, err := http.ParseTime(r.Header.Get("If-Unmodified-Since")); err == nil && modified.After(t) {
		return preconditionFailed
	}
	if v := r.Header.Get("If-None-Match"); v != "" {
		if etagMatches(v, meta.ETag) {
			return apiErrorf(http.StatusNotModified, "NotModified", "")
		}
	} else if t, err := http.ParseTime(r.Header.Get("If-Modified-Since")); err == nil && !modified.After(t) {
		return apiErrorf(http.StatusNotModified, "NotModified", "")
	}
	return nil
}

func etagMatches(list, etag string) bool {
	for v := range strings.SplitSeq(list, ",") {
		if v = strings.Trim(strings.TrimSpace(v), `"`); v == "*" || v == etag {
			return true
		}
	}
	return false
}

// span is a part of an object.
type span struct {
	from, length int64
	partial      bool
}

// readRange supports a single range, as S3 does, and ignores what it does not understand.
func readRange(header string, size int64) (span, *apiError) {
	whole := span{length: size}
	spec, ok := strings.CutPrefix(header, "bytes=")
	first, last, dash := strings.Cut(spec, "-")
	if !ok || !dash {
		return whole, nil
	}
	from, hasFrom := parseNonNegative(first)
	to, hasTo := parseNonNegative(last)
	switch {
	case first == "" && hasTo: // the last n bytes
		from, to = max(0, size-to), size-1
	case hasFrom && last == "":
		to = size - 1
	case hasFrom && hasTo && from <= to:
		to = min(to, size-1)
	default:
		return whole, nil
	}
	if from >= size {
		return span{}, apiErrorf(http.StatusRequestedRangeNotSatisfiable, "InvalidRange", "The requested range is not satisfiable")
	}
	return span{from: from, length: to - from + 1, partial: true}, nil
}

func parseNonNegative(s string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n >= 0
}
