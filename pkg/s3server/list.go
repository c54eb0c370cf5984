package s3server

import (
	"encoding/base64"
	"encoding/xml"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

type listedObject struct {
	Key          string
	LastModified string
	ETag         string
	Size         int64
	StorageClass string
}

type listedPrefix struct {
	Prefix string
}

// listing has the elements of both versions of the answer.
type listing struct {
	XMLName               xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListBucketResult"`
	Name                  string
	Prefix                string
	Marker                *string // version 1
	NextMarker            string  `xml:",omitempty"`
	StartAfter            string  `xml:",omitempty"`
	ContinuationToken     string  `xml:",omitempty"`
	NextContinuationToken string  `xml:",omitempty"`
	KeyCount              *int    // version 2
	MaxKeys               int
	Delimiter             string `xml:",omitempty"`
	EncodingType          string `xml:",omitempty"`
	IsTruncated           bool
	Contents              []listedObject
	CommonPrefixes        []listedPrefix
}

// listObjectsV2 is s3:ListBucket.
func (s *Server) listObjectsV2(w http.ResponseWriter, r *request) *apiError {
	token := r.query.Get("continuation-token")
	from := position{after: r.query.Get("start-after")}
	if token != "" {
		var ok bool
		if from, ok = parseToken(token); !ok {
			return invalidArgument("The continuation token provided is incorrect")
		}
	}
	return s.listInto(w, r, from, func(out *listing, last position, encode func(string) string) {
		count := len(out.Contents) + len(out.CommonPrefixes)
		out.KeyCount, out.ContinuationToken, out.StartAfter = &count, token, encode(r.query.Get("start-after"))
		if out.IsTruncated {
			out.NextContinuationToken = writeToken(last)
		}
	})
}

// listObjects is version 1, which old tools still use.
func (s *Server) listObjects(w http.ResponseWriter, r *request) *apiError {
	marker, delimiter := r.query.Get("marker"), r.query.Get("delimiter")
	from := position{after: marker, prefix: delimiter != "" && strings.HasSuffix(marker, delimiter)}
	return s.listInto(w, r, from, func(out *listing, last position, encode func(string) string) {
		encoded := encode(marker)
		out.Marker = &encoded
		if out.IsTruncated && delimiter != "" {
			out.NextMarker = encode(last.after)
		}
	})
}

// listInto lists and answers. finish fills in what differs between the versions.
func (s *Server) listInto(w http.ResponseWriter, r *request, from position, finish func(*listing, position, func(string) string)) *apiError {
	b, failed := s.bucketFor(r, "s3:ListBucket")
	if failed != nil {
		return failed
	}
	limit := 1000
	if v := r.query.Get("max-keys"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 {
			return invalidArgument("Argument maxKeys must be an integer between 0 and 2147483647")
		}
		limit = min(n, 1000)
	}
	encode := func(s string) string { return s }
	switch v := r.query.Get("encoding-type"); v {
	case "":
	case "url":
		encode = func(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "%2F", "/") }
	default:
		return invalidArgument("Invalid Encoding Method specified in Request")
	}
	prefix, delimiter := r.query.Get("prefix"), r.query.Get("delimiter")
	var found page
	if limit > 0 {
		found = b.list(prefix, delimiter, from, limit)
	}
	out := &listing{
		Name: b.name, Prefix: encode(prefix), Delimiter: encode(delimiter), MaxKeys: limit,
		EncodingType: r.query.Get("encoding-type"), IsTruncated: found.truncated,
	}
	var last position
	for _, i := range found.items {
		last = position{after: i.key, prefix: i.entry == nil}
		if i.entry == nil {
			out.CommonPrefixes = append(out.CommonPrefixes, listedPrefix{encode(i.key)})
			continue
		}
		out.Contents = append(out.Contents, listedObject{
			Key: encode(i.key), Size: i.entry.size, ETag: `"` + i.entry.etag + `"`, StorageClass: "STANDARD",
			LastModified: time.UnixMilli(i.entry.modified).UTC().Format("2006-01-02T15:04:05.000Z"),
		})
	}
	finish(out, last, encode)
	writeXML(w, http.StatusOK, out)
	return nil
}

func writeToken(p position) string {
	kind := "k"
	if p.prefix {
		kind = "p"
	}
	return base64.RawURLEncoding.EncodeToString([]byte(kind + p.after))
}

func parseToken(token string) (position, bool) {
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(raw) < 2 || raw[0] != 'k' && raw[0] != 'p' {
		return position{}, false
	}
	return position{after: string(raw[1:]), prefix: raw[0] == 'p'}, true
}
