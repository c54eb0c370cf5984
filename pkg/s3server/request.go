package s3server

import (
	"crypto/rand"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Names of the services in signatures.
const (
	serviceS3  = "s3"
	serviceSTS = "sts"
)

// request is a request while it is being handled.
type request struct {
	*http.Request
	id      string
	service string
	op      string // the API's name of the operation, such as "PutObject"
	bucket  string // "" for the service itself
	key     string // "" for the bucket itself
	query   url.Values
	form    url.Values // for STS
	formRaw []byte     // for STS, unparsed, because it is signed

	auth authentication
}

// unsupported lists the query parameters that turn a request into an operation that this server
// does not have.
var unsupported = []string{
	"accelerate", "acl", "analytics", "attributes", "cors", "encryption", "intelligent-tiering", "inventory", "legal-hold", "lifecycle",
	"logging", "metadataTable", "metrics", "notification", "object-lock", "ownershipControls", "partNumber", "policy", "policyStatus",
	"publicAccessBlock", "replication", "requestPayment", "restore", "retention", "select", "session", "tagging", "torrent", "uploadId",
	"uploads", "versioning", "versionId", "versions", "website",
}

// parse determines what a request asks for. It only parses, and verifies nothing.
func parse(r *http.Request) (*request, *apiError) {
	out := &request{Request: r, id: newRequestID(), service: serviceS3, op: "Unknown"}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return out, apiErrorf(http.StatusBadRequest, "InvalidURI", "couldn't parse the query: %v", err)
	}
	out.query = query
	out.bucket, out.key = bucketAndKey(r)
	if out.bucket == "" && r.Method == http.MethodPost {
		return out, out.parseForm()
	}
	out.op = out.operation()
	if slices.ContainsFunc(strings.Split(out.key, "/"), func(part string) bool { return part == "." || part == ".." }) {
		// S3 accepts some of these. MinIO accepts none, so that what works here works there.
		return out, apiErrorf(http.StatusBadRequest, "InvalidURI", "a part of the key is . or ..")
	}
	return out, nil
}

// bucketAndKey splits the path, or the host "bucket.localhost" and the path, into bucket and key.
func bucketAndKey(r *http.Request) (bucket, key string) {
	path := strings.TrimPrefix(r.URL.Path, "/")
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if b, ok := strings.CutSuffix(host, ".localhost"); ok && b != "" {
		return b, path
	}
	bucket, key, _ = strings.Cut(path, "/")
	return bucket, key
}

// parseForm reads the form of an STS request.
func (r *request) parseForm() *apiError {
	r.service = serviceSTS
	raw, err := io.ReadAll(io.LimitReader(r.Body, 64<<10+1))
	if err != nil || len(raw) > 64<<10 {
		return apiErrorf(http.StatusBadRequest, "InvalidRequest", "the form can't be read, or is longer than 64 KiB")
	}
	form, err := url.ParseQuery(string(raw))
	if err != nil {
		return apiErrorf(http.StatusBadRequest, "MalformedQueryString", "couldn't parse the form: %v", err)
	}
	r.form, r.formRaw = form, raw
	switch action := form.Get("Action"); action {
	case "AssumeRole", "GetCallerIdentity":
		r.op = action
	}
	return nil
}

// operation returns the API's name of the requested operation.
func (r *request) operation() string {
	for _, sub := range unsupported {
		if r.query.Has(sub) {
			return "Unknown"
		}
	}
	switch {
	case r.bucket == "":
		if r.Method == http.MethodGet {
			return "ListBuckets"
		}
	case r.key == "":
		switch r.Method {
		case http.MethodGet:
			switch {
			case r.query.Has("location"):
				return "GetBucketLocation"
			case r.query.Get("list-type") == "2":
				return "ListObjectsV2"
			}
			return "ListObjects"
		case http.MethodHead:
			return "HeadBucket"
		case http.MethodPut:
			return "CreateBucket"
		case http.MethodDelete:
			return "DeleteBucket"
		case http.MethodPost:
			if r.query.Has("delete") {
				return "DeleteObjects"
			}
		}
	default:
		switch r.Method {
		case http.MethodGet:
			return "GetObject"
		case http.MethodHead:
			return "HeadObject"
		case http.MethodPut:
			if r.Header.Get("X-Amz-Copy-Source") != "" {
				return "CopyObject"
			}
			return "PutObject"
		case http.MethodDelete:
			return "DeleteObject"
		}
	}
	return "Unknown"
}

func newRequestID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return strings.ToUpper(hex.EncodeToString(b[:]))
}
