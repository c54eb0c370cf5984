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

// failed is an error without an answer.
func (s *S3) failed(ctx context.Context, r *request, kind, err error) *Error {
	e := &Error{Op: r.op, Bucket: s.bucket, Key: r.about(), Kind: kind, Err: err}
	// The context goes first: a request cut short reports whatever it was
	// doing just then.
	if cause := context.Cause(ctx); cause != nil {
		e.Kind, e.Err = ErrUnavailable, cause
	}
	if said := r.conceal(e.Err.Error()); said != e.Err.Error() { // it quotes an answer
		e.Err = &quoting{said, e.Err}
	}
	e.Hint = s.hint(e)
	return e
}

// quoting is an error of which other words are shown.
type quoting struct {
	said string
	err  error
}

func (q *quoting) Error() string { return q.said }
func (q *quoting) Unwrap() error { return q.err }

// senseless is an answer that S3 does not give: of a proxy's page, or cut short.
// What it means for the request is not known.
func (s *S3) senseless(ctx context.Context, r *request, answer *http.Response, err error) error {
	e := s.failed(ctx, r, ErrUnavailable, err)
	e.Status = answer.StatusCode
	return e
}

// refused is what an answer says that is no success.
func (s *S3) refused(ctx context.Context, r *request, answer *http.Response, status int, document errorDocument) error {
	if ctx.Err() != nil { // it may have been cut short
		return s.failed(ctx, r, ErrUnavailable, ctx.Err())
	}
	e := &Error{Op: r.op, Bucket: s.bucket, Key: r.about(), Status: status, Code: clip(Redact(r.conceal(document.Code)), mostOfACode), Message: clip(Redact(r.conceal(document.Message)), mostOfAMessage)}
	region := bucketRegion(answer.Header, e.Message)
	if region == s.region {
		region = ""
	}
	e.Kind = kindOf(r.op, status, e.Code, region)
	// Where S3 sends no document, an ingress says the same while the store is away.
	// S3 names its requests; of others that do not, a GET tells.
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

// errorDocument is the body of S3's refusals.
type errorDocument struct {
	XMLName xml.Name `xml:"Error"`
	Code    string
	Message string
}

// Invariant: what a bucket's server says cannot grow the notes, logs and reports
// that it goes into, nor add lines to them: it is a customer's, who may say anything.
const (
	mostOfADocument = 64 << 10 // 64 KiB: S3's have a few hundred bytes, those that echo what was signed a few thousand
	mostOfACode     = 100
	// mostOfAMessage is more than those of AWS have that name a key of 1,024
	// bytes, a bucket and a session, and end in why.
	mostOfAMessage = 2_000
)

// parseError reads an answer to its end, so that its connection can be used
// again, and of it what comes first. With an error it is what could be understood.
func parseError(answer *http.Response) (d errorDocument, size int64, err error) {
	all := &io.LimitedReader{R: answer.Body, N: mostOfAnAnswer}
	err = xml.NewDecoder(io.LimitReader(all, mostOfADocument)).Decode(&d)
	_, _ = io.Copy(io.Discard, all)
	return d, mostOfAnAnswer - all.N, err
}

// clip returns what a server said, or its beginning, as plain text.
func clip(s string, most int) string {
	if s = plain(s); len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// plain returns what a server said on one line, without what a terminal would obey:
// an operator reads it, and must not take a part of it for a line of ours.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsGraphic(r) {
			return r
		}
		return ' '
	}, s)
}

// credentialsKind is the class of a failure to get credentials: what the
// source said, if it spoke of a class, else that they are out of reach.
func credentialsKind(err error) error {
	for _, kind := range []error{ErrDenied, ErrInvalid} {
		if errors.Is(err, kind) {
			return kind
		}
	}
	return ErrUnavailable
}

// unsentKind is the class of a failure without an answer.
func unsentKind(err error) error {
	var target interface{ RefusedEndpoint() bool } // pkg/netguard
	if errors.As(err, &target) && target.RefusedEndpoint() {
		return ErrInvalid
	}
	return ErrUnavailable
}

// kindOf is the class of an answer. elsewhere is the bucket's region if the
// answer named one that is not ours.
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
		// Without another region it is a new bucket whose name is still on
		// its way through the DNS.
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
		case op == "head" || op == "delete": // may have no document
			return ErrNotFound
		case code == "": // it is not S3 that says so
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
		case code != "PreconditionFailed": // nor is it, and a receipt would follow
			return ErrUnavailable
		}
		return ErrExists
	case http.StatusNotImplemented:
		return ErrInvalid
	}
	if status >= 400 && status < 500 {
		return ErrInvalid
	}
	return ErrUnavailable // 5xx, and answers that make no sense, as of a captive portal
}

var regionName = regexp.MustCompile(`^[a-z0-9-]{1,63}$`)

// How S3 says a bucket's region where it does not say it in a header.
var (
	expecting = regexp.MustCompile(`expecting '([a-z0-9-]+)'`)                    // AuthorizationHeaderMalformed
	located   = regexp.MustCompile(`^The ([a-z0-9-]+) location constraint is in`) // IllegalLocationConstraintException
	// sentTo is the host that a redirect leads to, before AWS's domain, such as
	// bucket.s3.eu-west-1 or bucket.s3-eu-west-1.
	sentTo = regexp.MustCompile(`^(?:[a-z0-9.-]+\.)?s3(?:-fips)?[.-](?:dualstack\.)?([a-z]{2,4}(?:-[a-z]+)+-[0-9]+)$`)
)

func bucketRegion(h http.Header, message string) string {
	if r := h.Get("X-Amz-Bucket-Region"); regionName.MatchString(r) {
		return r
	}
	if m := expecting.FindStringSubmatch(message); m != nil {
		return m[1]
	}
	if m := located.FindStringSubmatch(message); m != nil {
		if m[1] == "unspecified" { // as buckets of the first region are
			return "us-east-1"
		}
		return m[1]
	}
	to, err := url.Parse(h.Get("Location"))
	if err != nil {
		return ""
	}
	host, _ := iam.CutDomain(to.Hostname())
	if m := sentTo.FindStringSubmatch(host); m != nil {
		return m[1]
	}
	return ""
}
