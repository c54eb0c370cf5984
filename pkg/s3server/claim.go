package s3server

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// claim is a signature with its parameters, as stated in a request.
type claim struct {
	accessKey, date, region, service string
	signedHeaders                    []string
	signature                        string
	time                             time.Time
	expires                          time.Duration // for a presigned request
	presigned                        bool
	token                            string
}

func (c *claim) scope() string {
	return strings.Join([]string{c.date, c.region, c.service, "aws4_request"}, "/")
}

func readClaim(r *request) (*claim, *apiError) {
	if r.Header.Get("Authorization") != "" {
		return readHeaderClaim(r)
	}
	if r.query.Has("X-Amz-Signature") {
		return readQueryClaim(r)
	}
	if r.service == serviceSTS {
		return nil, apiErrorf(http.StatusForbidden, "MissingAuthenticationToken", "Request is missing Authentication Token")
	}
	return nil, accessDenied
}

func readHeaderClaim(r *request) (*claim, *apiError) {
	malformed := func(why string) *apiError {
		return apiErrorf(http.StatusBadRequest, "AuthorizationHeaderMalformed", "The authorization header is malformed; %s", why)
	}
	rest, ok := strings.CutPrefix(r.Header.Get("Authorization"), algorithm+" ")
	if !ok {
		return nil, apiErrorf(http.StatusBadRequest, "InvalidRequest", "The authorization mechanism you have provided is not supported. Please use %s.", algorithm)
	}
	c := &claim{token: r.Header.Get("X-Amz-Security-Token")}
	for part := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch name {
		case "Credential":
			if !c.readCredential(value) {
				return nil, malformed("the Credential is not access-key/date/region/service/aws4_request")
			}
		case "SignedHeaders":
			c.signedHeaders = strings.Split(value, ";")
		case "Signature":
			c.signature = value
		}
	}
	if c.accessKey == "" || len(c.signedHeaders) == 0 || c.signature == "" {
		return nil, malformed("it needs Credential, SignedHeaders and Signature")
	}
	var err error
	if c.time, err = time.Parse(amzTime, r.Header.Get("X-Amz-Date")); err != nil {
		if c.time, err = http.ParseTime(r.Header.Get("Date")); err != nil {
			return nil, apiErrorf(http.StatusForbidden, "AccessDenied", "AWS authentication requires a valid Date or x-amz-date header")
		}
		c.time = c.time.UTC()
	}
	return c, nil
}

func readQueryClaim(r *request) (*claim, *apiError) {
	malformed := func(why string) *apiError {
		return apiErrorf(http.StatusBadRequest, "AuthorizationQueryParametersError", "%s", why)
	}
	q := r.query
	if q.Get("X-Amz-Algorithm") != algorithm {
		return nil, malformed("X-Amz-Algorithm only supports " + algorithm)
	}
	c := &claim{presigned: true, signature: q.Get("X-Amz-Signature"), token: q.Get("X-Amz-Security-Token")}
	c.signedHeaders = strings.Split(q.Get("X-Amz-SignedHeaders"), ";")
	if !c.readCredential(q.Get("X-Amz-Credential")) {
		return nil, malformed("the X-Amz-Credential is not access-key/date/region/service/aws4_request")
	}
	var err error
	if c.time, err = time.Parse(amzTime, q.Get("X-Amz-Date")); err != nil {
		return nil, malformed("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
	}
	seconds, err := strconv.Atoi(q.Get("X-Amz-Expires"))
	if err != nil || seconds < 1 || time.Duration(seconds)*time.Second > maxPresigned {
		return nil, malformed("X-Amz-Expires must be between 1 and 604800 seconds")
	}
	c.expires = time.Duration(seconds) * time.Second
	return c, nil
}

func (c *claim) readCredential(s string) bool {
	parts := strings.Split(s, "/")
	if len(parts) != 5 || parts[0] == "" || parts[4] != "aws4_request" {
		return false
	}
	c.accessKey, c.date, c.region, c.service = parts[0], parts[1], parts[2], parts[3]
	return true
}
