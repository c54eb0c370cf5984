package objstore

import (
	"context"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"unicode"

	"github.com/sealift/sealift/pkg/iam"
)

// requestError returns an error for a request without an answer.
func (s *S3) requestError(ctx context.Context, r *request, kind, err error) *Error {
	e := &Error{Op: r.op, Bucket: s.bucket, Key: r.errorKey(), Kind: kind, Err: err}
	// The context takes precedence: a request that was cut short reports whatever it was doing.
	if cause := context.Cause(ctx); cause != nil {
		e.Kind, e.Err = ErrUnavailable, cause
	}
	if redacted := r.redact(e.Err.Error()); redacted != e.Err.Error() { // the error quotes an answer that contains secrets
		e.Err = &redactedError{redacted, e.Err}
	}
	e.Hint = s.hint(e)
	return e
}

// redactedError is an error that is shown with other words.
type redactedError struct {
	text string
	err  error
}

func (q *redactedError) Error() string { return q.text }
func (q *redactedError) Unwrap() error { return q.err }

// badAnswerError returns the error for an answer that S3 does not give, such as a proxy's page, or
// one that was cut short. What happened to the request is unknown.
func (s *S3) badAnswerError(ctx context.Context, r *request, answer *http.Response, err error) error {
	e := s.requestError(ctx, r, ErrUnavailable, err)
	e.Status = answer.StatusCode
	return e
}

// answerError returns the error for an answer other than success.
func (s *S3) answerError(ctx context.Context, r *request, answer *http.Response, status int, document errorDocument) error {
	if ctx.Err() != nil { // the answer may have been cut short
		return s.requestError(ctx, r, ErrUnavailable, ctx.Err())
	}
	e := &Error{Op: r.op, Bucket: s.bucket, Key: r.errorKey(), Status: status, Code: clip(Redact(r.redact(document.Code)), maxCodeBytes), Message: clip(Redact(r.redact(document.Message)), maxMessageBytes)}
	region := bucketRegion(answer.Header, e.Message)
	if region == s.region {
		region = ""
	}
	e.Kind = kindOf(r.op, status, e.Code, region)
	// Some 404s of S3 have no document, and an ingress answers the same while the store is down. S3
	// sends a request id. If there is none, this is not taken for "not found"; Head then asks with
	// a GET.
	if errors.Is(e.Kind, ErrNotFound) && e.Code == "" && answer.Header.Get("X-Amz-Request-Id") == "" {
		e.Kind = ErrUnavailable
	}
	if errors.Is(e.Kind, ErrWrongRegion) {
		e.Region = region
	}
	if e.Code == "" { // answers to HEAD have no body, and those of proxies make no sense
		e.Message = http.StatusText(status)
		e.Code = strings.ReplaceAll(e.Message, " ", "")
	}
	e.Hint = s.hint(e)
	return e
}

// errorDocument is the body of S3's errors.
type errorDocument struct {
	XMLName xml.Name `xml:"Error"`
	Code    string
	Message string
}

// Invariant: a bucket's server is a customer's, who may say anything. What it says can neither
// bloat the notes, logs and reports that it gets into nor add lines to them.
const (
	maxDocumentBytes = 64 << 10 // 64 KiB: S3's have a few hundred bytes, or a few thousand if they echo what was signed
	maxCodeBytes     = 100
	// maxMessageBytes is enough for AWS messages that name a key of 1,024 bytes, a bucket and a
	// session, and give the reason at the end.
	maxMessageBytes = 2_000
)

// parseError reads an answer to its end, so that the connection can be reused, and parses the
// document at its beginning. With an error, d is what could be parsed.
func parseError(answer *http.Response) (d errorDocument, size int64, err error) {
	all := &io.LimitedReader{R: answer.Body, N: maxAnswerBytes}
	err = xml.NewDecoder(io.LimitReader(all, maxDocumentBytes)).Decode(&d)
	_, _ = io.Copy(io.Discard, all)
	return d, maxAnswerBytes - all.N, err
}

// clip returns what a server said as plain text, cut to most bytes.
func clip(s string, most int) string {
	if s = plain(s); len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// plain returns what a server said as a single line without terminal control characters, so that an
// operator does not take a part of it for a line of ours.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsGraphic(r) {
			return r
		}
		return ' '
	}, s)
}

// credentialsKind returns the class of a failure to get credentials: that of the source's error, or
// else ErrUnavailable.
func credentialsKind(err error) error {
	for _, kind := range []error{ErrDenied, ErrInvalid} {
		if errors.Is(err, kind) {
			return kind
		}
	}
	return ErrUnavailable
}

// unsentKind returns the class of a failure without an answer.
func unsentKind(err error) error {
	var target interface{ RefusedEndpoint() bool } // pkg/netguard
	if errors.As(err, &target) && target.RefusedEndpoint() {
		return ErrInvalid
	}
	return ErrUnavailable
}

// kindOf returns the class of an answer. elsewhere is the bucket's region if the answer named one
// that is not ours.
//
// Codes are from https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html.
func kindOf(op string, status int, code, elsewhere string) error {
	switch code {
	case "ExpiredToken", "InvalidToken", "TokenRefreshRequired", "InvalidAccessKeyId", "SignatureDoesNotMatch", "RequestTimeTooSkewed":
		return ErrDenied // ExpiredToken and InvalidToken come with 400
	case "RequestTimeout", "SlowDown", "IncompleteBody", "ThrottlingException", "Throttling", "RequestLimitExceeded":
		return ErrUnavailable // RequestTimeout and IncompleteBody come with 400
	case "NoSuchBucket":
		return ErrNoBucket
	case "PermanentRedirect", "IllegalLocationConstraintException":
		return ErrWrongRegion
	}
	switch status {
	case http.StatusMovedPermanently:
		return ErrWrongRegion
	case http.StatusTemporaryRedirect:
		// Without another region, this is a new bucket whose name has not spread through the DNS
		// yet.
		if elsewhere != "" {
			return ErrWrongRegion
		}
		return ErrUnavailable
	case http.StatusBadRequest:
		if elsewhere != "" {
			return ErrWrongRegion
		}
		return ErrInvalid
	case http.StatusUnauthorized, http.StatusForbidden:
		return ErrDenied
	case http.StatusNotFound:
		switch {
		case op == "head" || op == "delete": // these may have no document
			return ErrNotFound
		case code == "": // the answer is not S3's
			return ErrUnavailable
		case op != "get":
			return ErrNoBucket
		}
		return ErrNotFound
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusTooEarly:
		return ErrUnavailable
	case http.StatusConflict:
		if code == "ConditionalRequestConflict" || code == "OperationAborted" || code == "" {
			return ErrConflict
		}
		return ErrInvalid
	case http.StatusPreconditionFailed:
		switch {
		case op == "get":
			return ErrChanged
		case code != "PreconditionFailed": // not S3's answer; taking it for S3's would end in a receipt
			return ErrUnavailable
		}
		return ErrExists
	case http.StatusNotImplemented:
		return ErrInvalid
	}
	if status >= 400 && status < 500 {
		return ErrInvalid
	}
	return ErrUnavailable // 5xx, and answers that make no sense, such as a captive portal's
}

var regionName = regexp.MustCompile(`^[a-z0-9-]{1,63}$`)

// How S3 names a bucket's region if not in a header.
var (
	expectedRegion     = regexp.MustCompile(`expecting '([a-z0-9-]+)'`)                    // AuthorizationHeaderMalformed
	locationConstraint = regexp.MustCompile(`^The ([a-z0-9-]+) location constraint is in`) // IllegalLocationConstraintException
	// redirectHost matches the host of a redirect, without AWS's domain, such as
	// bucket.s3.eu-west-1 or bucket.s3-eu-west-1.
	redirectHost = regexp.MustCompile(`^(?:[a-z0-9.-]+\.)?s3(?:-fips)?[.-](?:dualstack\.)?([a-z]{2,4}(?:-[a-z]+)+-[0-9]+)$`)
)

func bucketRegion(h http.Header, message string) string {
	if r := h.Get("X-Amz-Bucket-Region"); regionName.MatchString(r) {
		return r
	}
	if m := expectedRegion.FindStringSubmatch(message); m != nil {
		return m[1]
	}
	if m := locationConstraint.FindStringSubmatch(message); m != nil {
		if m[1] == "unspecified" { // for buckets in the first region
			return "us-east-1"
		}
		return m[1]
	}
	to, err := url.Parse(h.Get("Location"))
	if err != nil {
		return ""
	}
	host, _ := iam.CutDomain(to.Hostname())
	if m := redirectHost.FindStringSubmatch(host); m != nil {
		return m[1]
	}
	return ""
}
