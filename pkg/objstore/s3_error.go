package objstore

import (
	"context"
	"errors"
	"net/http"
	"regexp"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// classify turns what the SDK returned into an *Error.
func (s *S3) classify(ctx context.Context, op, key string, err error) error {
	e := s.classified(ctx, op, key, err)
	e.Hint = s.hint(e)
	return e
}

func (s *S3) classified(ctx context.Context, op, key string, err error) *Error {
	e := &Error{Op: op, Bucket: s.bucket, Key: key, Err: err}
	// The context goes first: a request cut short reports whatever it was
	// doing just then.
	if cause := context.Cause(ctx); cause != nil {
		e.Kind, e.Err = ErrUnavailable, cause
		return e
	}
	var failed *credentialsError
	if errors.As(err, &failed) {
		e.Kind, e.Err = credentialsKind(failed.err), failed.err
		return e
	}
	var api smithy.APIError
	if errors.As(err, &api) {
		e.Code, e.Message = api.ErrorCode(), Redact(api.ErrorMessage())
	}
	var response *smithyhttp.ResponseError
	if !errors.As(err, &response) || response.HTTPStatusCode() == 0 {
		e.Kind = unsentKind(err)
		return e
	}
	e.Status = response.Response.StatusCode
	region := bucketRegion(response.Response.Header, e.Message)
	if region == s.region {
		region = ""
	}
	e.Kind = kindOf(op, e.Status, e.Code, region)
	if errors.Is(e.Kind, ErrWrongRegion) {
		e.Region = region
	}
	return e
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
	var (
		params *smithy.InvalidParamsError
		form   *smithy.SerializationError
		sent   *smithyhttp.RequestSendError
		target interface{ RefusedEndpoint() bool } // pkg/netguard
	)
	switch {
	case errors.As(err, &target) && target.RefusedEndpoint():
		return ErrInvalid
	case errors.As(err, &sent):
		return ErrUnavailable
	case errors.As(err, &params), errors.As(err, &form):
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
		if op == "get" || op == "head" || op == "delete" {
			return ErrNotFound
		}
		return ErrNoBucket
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusTooEarly:
		return ErrUnavailable
	case http.StatusConflict:
		if code == "ConditionalRequestConflict" || code == "OperationAborted" || code == "" {
			return ErrConflict
		}
		return ErrInvalid
	case http.StatusPreconditionFailed:
		if op == "get" {
			return ErrChanged
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

// How S3 says a bucket's region where it does not say it in a header.
var (
	expecting = regexp.MustCompile(`expecting '([a-z0-9-]+)'`)                    // AuthorizationHeaderMalformed
	located   = regexp.MustCompile(`^The ([a-z0-9-]+) location constraint is in`) // IllegalLocationConstraintException
	// sentTo is the host that a redirect leads to, such as
	// bucket.s3.eu-west-1.amazonaws.com or bucket.s3-eu-west-1.amazonaws.com.
	sentTo = regexp.MustCompile(`^https?://(?:[a-z0-9.-]+\.)?s3(?:-fips)?[.-](?:dualstack\.)?([a-z]{2}(?:-[a-z]+)+-[0-9]+)\.amazonaws\.com(?:\.cn)?(?:[:/]|$)`)
)

func bucketRegion(h http.Header, message string) string {
	if r := h.Get("X-Amz-Bucket-Region"); r != "" {
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
	if m := sentTo.FindStringSubmatch(h.Get("Location")); m != nil {
		return m[1]
	}
	return ""
}
