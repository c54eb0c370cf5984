package s3server

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
)

// apiError is an answer other than success, with S3's or STS's code.
type apiError struct {
	status  int
	code    string
	message string
	region  string // the bucket's region, sent in a header if another one was used
	// expected is the region that the request should have been signed for, sent in the body.
	expected string
	endpoint string // for redirects
}

func (e *apiError) Error() string { return fmt.Sprintf("%d %s: %s", e.status, e.code, e.message) }

func apiErrorf(status int, code, format string, args ...any) *apiError {
	return &apiError{status: status, code: code, message: fmt.Sprintf(format, args...)}
}

// Answers that several operations give.
var (
	accessDenied       = apiErrorf(http.StatusForbidden, "AccessDenied", "Access Denied")
	noSuchBucket       = apiErrorf(http.StatusNotFound, "NoSuchBucket", "The specified bucket does not exist")
	noSuchKey          = apiErrorf(http.StatusNotFound, "NoSuchKey", "The specified key does not exist.")
	preconditionFailed = apiErrorf(http.StatusPreconditionFailed, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
)

// internalError returns the answer to a failure of this server.
func internalError(err error) *apiError {
	return apiErrorf(http.StatusInternalServerError, "InternalError", "%v", err)
}

func notImplemented(what string) *apiError {
	return apiErrorf(http.StatusNotImplemented, "NotImplemented", "%s is not implemented by this server", what)
}

func invalidArgument(format string, args ...any) *apiError {
	return apiErrorf(http.StatusBadRequest, "InvalidArgument", format, args...)
}

type s3ErrorBody struct {
	XMLName   xml.Name `xml:"Error"`
	Code      string
	Message   string
	Resource  string
	Region    string `xml:",omitempty"`
	Bucket    string `xml:",omitempty"`
	Endpoint  string `xml:",omitempty"`
	RequestID string `xml:"RequestId"`
	HostID    string `xml:"HostId"`
}

type stsErrorBody struct {
	XMLName   xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ ErrorResponse"`
	Type      string   `xml:"Error>Type"`
	Code      string   `xml:"Error>Code"`
	Message   string   `xml:"Error>Message"`
	RequestID string   `xml:"RequestId"`
}

// writeError writes the answer to a refused request.
func writeError(w http.ResponseWriter, r *request, e *apiError) {
	if e.region != "" {
		w.Header().Set("X-Amz-Bucket-Region", e.region)
	}
	if e.status == http.StatusTemporaryRedirect {
		to := url.URL{Scheme: "https", Host: e.endpoint, Path: "/" + r.key, RawQuery: r.URL.RawQuery}
		w.Header().Set("Location", to.String())
	}
	if e.status == http.StatusNotModified || r.Method == http.MethodHead {
		w.WriteHeader(e.status)
		return
	}
	if r.service == serviceSTS {
		kind := "Sender"
		if e.status >= 500 {
			kind = "Receiver"
		}
		writeXML(w, e.status, stsErrorBody{Type: kind, Code: e.code, Message: e.message, RequestID: r.id})
		return
	}
	body := s3ErrorBody{Code: e.code, Message: e.message, Resource: r.URL.Path, Region: e.expected, RequestID: r.id, HostID: "sealift"}
	if e.endpoint != "" {
		body.Bucket, body.Endpoint = r.bucket, e.endpoint
	}
	writeXML(w, e.status, body)
}

func writeXML(w http.ResponseWriter, status int, body any) {
	raw, err := xml.Marshal(body)
	if err != nil {
		panic(err) // the types are ours and marshal
	}
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = w.Write(append([]byte(xml.Header), raw...)) // the client may be gone
}
