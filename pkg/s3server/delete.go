package s3server

import (
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"strings"
)

// deleteObject is s3:DeleteObject.
func (s *Server) deleteObject(w http.ResponseWriter, r *request) *apiError {
	b, failed := s.bucketFor(r, "s3:DeleteObject")
	if failed != nil {
		return failed
	}
	if err := b.delete(r.key); err != nil {
		return internalError(err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

type deletedKey struct {
	Key string
}

type failedKey struct {
	Key, Code, Message string
}

// deleteObjects deletes many objects; each key is authorized separately.
func (s *Server) deleteObjects(w http.ResponseWriter, r *request) *apiError {
	b, failed := s.bucketFor(r)
	if failed != nil {
		return failed
	}
	var order struct {
		Quiet   bool
		Objects []deletedKey `xml:"Object"`
	}
	if failed := readXML(r, &order); failed != nil {
		return failed
	}
	if len(order.Objects) == 0 || len(order.Objects) > 1000 {
		return apiErrorf(http.StatusBadRequest, "MalformedXML", "Between 1 and 1000 objects can be deleted at once")
	}
	var answer struct {
		XMLName xml.Name     `xml:"http://s3.amazonaws.com/doc/2006-03-01/ DeleteResult"`
		Deleted []deletedKey `xml:"Deleted"`
		Errors  []failedKey  `xml:"Error"`
	}
	for _, o := range order.Objects {
		meta := b.metadata()
		refused := s.authorize(r, meta, "s3:DeleteObject", objectARN(meta.Region, r.bucket, o.Key))
		if refused == nil {
			if err := b.delete(o.Key); err != nil {
				refused = internalError(err)
			}
		}
		switch {
		case refused != nil:
			answer.Errors = append(answer.Errors, failedKey{o.Key, refused.code, refused.message})
		case !order.Quiet:
			answer.Deleted = append(answer.Deleted, o)
		}
	}
	writeXML(w, http.StatusOK, answer)
	return nil
}

// readXML reads a small XML body, and verifies its signature and checksums.
func readXML(r *request, into any) *apiError {
	digests, failed := newDigests(r)
	if failed != nil {
		return failed
	}
	body, failed := r.body()
	if failed != nil {
		return failed
	}
	if body.size > 2<<20 {
		return apiErrorf(http.StatusBadRequest, "MalformedXML", "The body is longer than 2 MiB")
	}
	var raw strings.Builder
	if _, err := io.Copy(digests.writer(&raw), body); err != nil {
		var refused *apiError
		if errors.As(err, &refused) {
			return refused
		}
		return errIncomplete
	}
	if failed := digests.verify(body.trailers); failed != nil {
		return failed
	}
	if raw.Len() == 0 {
		return nil
	}
	if err := xml.Unmarshal([]byte(raw.String()), into); err != nil {
		return apiErrorf(http.StatusBadRequest, "MalformedXML", "The XML you provided was not well-formed: %v", err)
	}
	return nil
}
