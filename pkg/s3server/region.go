package s3server

import (
	"fmt"
	"net/http"
)

// WrongRegionAnswer is how a bucket answers requests that are signed for another region. With AWS
// this depends on the endpoint, on the age of the bucket, and on whether the region is opt-in.
type WrongRegionAnswer string

// Values of WrongRegionAnswer.
const (
	// RedirectPermanently is 301 PermanentRedirect with the region in a header. This is the
	// default.
	RedirectPermanently WrongRegionAnswer = ""
	// RedirectTemporarily is 307 TemporaryRedirect, as for a bucket whose name has not spread
	// through the DNS yet.
	RedirectTemporarily WrongRegionAnswer = "temporarily"
	// RefuseAsMalformed is 400 AuthorizationHeaderMalformed with the region in the
	// message.
	RefuseAsMalformed WrongRegionAnswer = "malformed"
	// RefuseLocation is 400 IllegalLocationConstraintException with the region in the message, as
	// for opt-in regions.
	RefuseLocation WrongRegionAnswer = "illegal"
)

// wrongRegion refuses a request for another region.
//
// https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html and
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/Redirects.html
func wrongRegion(r *request, meta bucketMeta) *apiError {
	var e *apiError
	switch meta.WrongRegion {
	case RefuseAsMalformed:
		e = apiErrorf(http.StatusBadRequest, "AuthorizationHeaderMalformed",
			"The authorization header is malformed; the region '%s' is wrong; expecting '%s'", r.auth.region, meta.Region)
		e.expected = meta.Region
		if r.Method == http.MethodHead {
			e.region = meta.Region // the answer has no body for it
		}
		return e
	case RefuseLocation:
		return illegalLocation(meta.Region)
	case RedirectTemporarily:
		e = apiErrorf(http.StatusTemporaryRedirect, "TemporaryRedirect",
			"Please re-send this request to the specified temporary endpoint. Continue to use the original request endpoint for future requests.")
	default:
		e = apiErrorf(http.StatusMovedPermanently, "PermanentRedirect",
			"The bucket you are attempting to access must be addressed using the specified endpoint. Please send all future requests to this endpoint.")
	}
	e.region, e.endpoint = meta.Region, fmt.Sprintf("%s.s3.%s.amazonaws.com", r.bucket, meta.Region)
	return e
}

func illegalLocation(region string) *apiError {
	return apiErrorf(http.StatusBadRequest, "IllegalLocationConstraintException",
		"The %s location constraint is incompatible for the region specific endpoint this request was sent to.", region)
}
