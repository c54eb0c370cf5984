package s3server

import (
	"bytes"
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Signature Version 4, as in
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
// and https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html.

const (
	algorithm     = "AWS4-HMAC-SHA256"
	amzTime       = "20060102T150405Z"
	maxSkew       = 15 * time.Minute
	maxPresigned  = 7 * 24 * time.Hour
	unsigned      = "UNSIGNED-PAYLOAD"
	streamPrefix  = "STREAMING-"
	emptySHA256   = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	contentSHA256 = "X-Amz-Content-Sha256"
)

// authentication is what a request's signature proves.
type authentication struct {
	principal principal
	region    string // that it was signed for
	payload   string // x-amz-content-sha256, or what stands for it

	// For chunks that are signed on from the request's signature.
	signingKey []byte
	scope      string
	time       string
	signature  string
}

// claim is a signature as a request states it.
type claim struct {
	accessKey, date, region, service string
	signedHeaders                    []string
	signature                        string
	time                             time.Time
	expires                          time.Duration // of a presigned request
	presigned                        bool
	token                            string
}

func (c *claim) scope() string {
	return strings.Join([]string{c.date, c.region, c.service, "aws4_request"}, "/")
}

// authenticate verifies the request's signature and fills r.auth.
func (s *Server) authenticate(r *request) *apiError {
	c, failed := readClaim(r)
	if failed != nil {
		return failed
	}
	if c.service != r.service || c.date != c.time.Format("20060102") {
		return fail(http.StatusBadRequest, "AuthorizationHeaderMalformed", "The credential scope %q does not fit service %q and the request's date", c.scope(), r.service)
	}
	if failed := s.checkTime(c); failed != nil {
		return failed
	}
	who, secret, failed := s.principalOf(c, r.service)
	if failed != nil {
		return failed
	}
	payload := r.Header.Get(contentSHA256)
	switch {
	case r.service == serviceSTS:
		sum := sha256.Sum256(r.formRaw)
		payload = hex.EncodeToString(sum[:])
	case c.presigned && !slices.Contains(c.signedHeaders, "x-amz-content-sha256"):
		payload = unsigned
	case payload == "":
		return fail(http.StatusBadRequest, "MissingSecurityHeader", "Your request was missing a required header: x-amz-content-sha256")
	}
	if failed := mustBeSigned(r, c); failed != nil {
		return failed
	}
	key := signingKey(secret, c)
	toSign := strings.Join([]string{algorithm, c.time.Format(amzTime), c.scope(), hashHex(canonicalRequest(r, c, payload))}, "\n")
	want := hex.EncodeToString(mac(key, toSign))
	if !hmac.Equal([]byte(want), []byte(c.signature)) {
		return fail(http.StatusForbidden, "SignatureDoesNotMatch",
			"The request signature we calculated does not match the signature you provided. Check your key and signing method.")
	}
	r.auth = authentication{
		principal: who, region: c.region, payload: payload,
		signingKey: key, scope: c.scope(), time: c.time.Format(amzTime), signature: c.signature,
	}
	return nil
}

func readClaim(r *request) (*claim, *apiError) {
	if r.Header.Get("Authorization") != "" {
		return readHeaderClaim(r)
	}
	if r.query.Has("X-Amz-Signature") {
		return readQueryClaim(r)
	}
	if r.service == serviceSTS {
		return nil, fail(http.StatusForbidden, "MissingAuthenticationToken", "Request is missing Authentication Token")
	}
	return nil, fail(http.StatusForbidden, "AccessDenied", "Access Denied")
}

func readHeaderClaim(r *request) (*claim, *apiError) {
	malformed := func(why string) (*claim, *apiError) {
		return nil, fail(http.StatusBadRequest, "AuthorizationHeaderMalformed", "The authorization header is malformed; %s", why)
	}
	rest, ok := strings.CutPrefix(r.Header.Get("Authorization"), algorithm+" ")
	if !ok {
		return nil, fail(http.StatusBadRequest, "InvalidRequest", "The authorization mechanism you have provided is not supported. Please use %s.", algorithm)
	}
	c := &claim{token: r.Header.Get("X-Amz-Security-Token")}
	for part := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch name {
		case "Credential":
			if !c.readCredential(value) {
				return malformed("the Credential is not access-key/date/region/service/aws4_request")
			}
		case "SignedHeaders":
			c.signedHeaders = strings.Split(value, ";")
		case "Signature":
			c.signature = value
		}
	}
	if c.accessKey == "" || len(c.signedHeaders) == 0 || c.signature == "" {
		return malformed("it needs Credential, SignedHeaders and Signature")
	}
	var err error
	if c.time, err = time.Parse(amzTime, r.Header.Get("X-Amz-Date")); err != nil {
		if c.time, err = http.ParseTime(r.Header.Get("Date")); err != nil {
			return nil, fail(http.StatusForbidden, "AccessDenied", "AWS authentication requires a valid Date or x-amz-date header")
		}
		c.time = c.time.UTC()
	}
	return c, nil
}

func readQueryClaim(r *request) (*claim, *apiError) {
	malformed := func(why string) (*claim, *apiError) {
		return nil, fail(http.StatusBadRequest, "AuthorizationQueryParametersError", "%s", why)
	}
	q := r.query
	if q.Get("X-Amz-Algorithm") != algorithm {
		return malformed("X-Amz-Algorithm only supports " + algorithm)
	}
	c := &claim{presigned: true, signature: q.Get("X-Amz-Signature"), token: q.Get("X-Amz-Security-Token")}
	c.signedHeaders = strings.Split(q.Get("X-Amz-SignedHeaders"), ";")
	if !c.readCredential(q.Get("X-Amz-Credential")) {
		return malformed("the X-Amz-Credential is not access-key/date/region/service/aws4_request")
	}
	var err error
	if c.time, err = time.Parse(amzTime, q.Get("X-Amz-Date")); err != nil {
		return malformed("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
	}
	seconds, err := strconv.Atoi(q.Get("X-Amz-Expires"))
	if err != nil || seconds < 1 || time.Duration(seconds)*time.Second > maxPresigned {
		return malformed("X-Amz-Expires must be between 1 and 604800 seconds")
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

func (s *Server) checkTime(c *claim) *apiError {
	now := s.now()
	if c.time.After(now.Add(maxSkew)) || !c.presigned && c.time.Before(now.Add(-maxSkew)) {
		return fail(http.StatusForbidden, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large.")
	}
	if c.presigned && now.After(c.time.Add(c.expires)) {
		return fail(http.StatusForbidden, "AccessDenied", "Request has expired")
	}
	return nil
}

// mustBeSigned refuses a request whose signature leaves out what changes its
// meaning.
func mustBeSigned(r *request, c *claim) *apiError {
	left := func(name string) bool { return !slices.Contains(c.signedHeaders, name) }
	if left("host") {
		return fail(http.StatusForbidden, "SignatureDoesNotMatch", "The Host header must be signed.")
	}
	for name := range r.Header {
		name = strings.ToLower(name)
		if strings.HasPrefix(name, "x-amz-") && left(name) && !(r.service == serviceSTS || c.presigned && name == "x-amz-content-sha256") {
			return fail(http.StatusForbidden, "AccessDenied", "There were headers present in the request which were not signed: %s", name)
		}
	}
	return nil
}

func canonicalRequest(r *request, c *claim, payload string) string {
	var b bytes.Buffer
	b.WriteString(r.Method + "\n")
	path := r.URL.Path
	if path == "" {
		path = "/"
	}
	b.WriteString(escape(path, true) + "\n")
	b.WriteString(canonicalQuery(r.query) + "\n")
	for _, name := range c.signedHeaders {
		b.WriteString(name + ":" + headerValue(r, name) + "\n")
	}
	b.WriteString("\n" + strings.Join(c.signedHeaders, ";") + "\n" + payload)
	return b.String()
}

func canonicalQuery(query url.Values) string {
	type pair struct{ name, value string }
	var pairs []pair
	for name, values := range query {
		if name == "X-Amz-Signature" {
			continue
		}
		for _, v := range values {
			pairs = append(pairs, pair{escape(name, false), escape(v, false)})
		}
	}
	slices.SortFunc(pairs, func(a, b pair) int {
		return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.value, b.value))
	})
	parts := make([]string, len(pairs))
	for i, p := range pairs {
		parts[i] = p.name + "=" + p.value
	}
	return strings.Join(parts, "&")
}

// headerValue is a header as it is signed: values joined, spaces collapsed.
func headerValue(r *request, name string) string {
	switch name {
	case "host":
		return r.Host
	case "content-length":
		if r.ContentLength >= 0 {
			return strconv.FormatInt(r.ContentLength, 10)
		}
	case "transfer-encoding":
		return strings.Join(r.TransferEncoding, ",")
	}
	values := r.Header.Values(http.CanonicalHeaderKey(name))
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = strings.Join(strings.Fields(v), " ")
	}
	return strings.Join(out, ",")
}

// escape is AWS's URI encoding: everything but unreserved characters.
func escape(s string, path bool) string {
	const hexDigits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9',
			c == '-', c == '.', c == '_', c == '~', path && c == '/':
			b.WriteByte(c)
		default:
			b.Write([]byte{'%', hexDigits[c>>4], hexDigits[c&15]})
		}
	}
	return b.String()
}

func signingKey(secret string, c *claim) []byte {
	key := []byte("AWS4" + secret)
	for _, part := range []string{c.date, c.region, c.service, "aws4_request"} {
		key = mac(key, part)
	}
	return key
}

func mac(key []byte, message string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(message))
	return h.Sum(nil)
}

func hashHex(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}
