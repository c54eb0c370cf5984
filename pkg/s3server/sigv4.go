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
	algorithm       = "AWS4-HMAC-SHA256"
	amzTime         = "20060102T150405Z"
	maxSkew         = 15 * time.Minute
	maxPresigned    = 7 * 24 * time.Hour
	unsignedPayload = "UNSIGNED-PAYLOAD"
	streamPrefix    = "STREAMING-"
	emptySHA256     = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	contentSHA256   = "X-Amz-Content-Sha256"
)

// authentication is what a request's signature proves.
type authentication struct {
	principal principal
	region    string // for which it was signed
	payload   string // x-amz-content-sha256, or what replaces it

	// For chunks, whose signatures continue from the request's.
	signingKey []byte
	scope      string
	time       string
	signature  string
}

// authenticate verifies the request's signature and fills r.auth.
func (s *Server) authenticate(r *request) *apiError {
	c, failed := readClaim(r)
	if failed != nil {
		return failed
	}
	if c.service != r.service || c.date != c.time.Format("20060102") {
		return apiErrorf(http.StatusBadRequest, "AuthorizationHeaderMalformed", "The credential scope %q does not fit service %q and the request's date", c.scope(), r.service)
	}
	if failed := s.checkTime(c); failed != nil {
		return failed
	}
	caller, secret, failed := s.principalOf(c, r.service)
	if failed != nil {
		return failed
	}
	payload := r.Header.Get(contentSHA256)
	switch {
	case r.service == serviceSTS:
		sum := sha256.Sum256(r.formRaw)
		payload = hex.EncodeToString(sum[:])
	case c.presigned && !slices.Contains(c.signedHeaders, "x-amz-content-sha256"):
		payload = unsignedPayload
	case payload == "":
		return apiErrorf(http.StatusBadRequest, "MissingSecurityHeader", "Your request was missing a required header: x-amz-content-sha256")
	}
	if failed := checkSignedHeaders(r, c); failed != nil {
		return failed
	}
	key := signingKey(secret, c)
	toSign := strings.Join([]string{algorithm, c.time.Format(amzTime), c.scope(), hashHex(canonicalRequest(r, c, payload))}, "\n")
	want := hex.EncodeToString(mac(key, toSign))
	if !hmac.Equal([]byte(want), []byte(c.signature)) {
		return apiErrorf(http.StatusForbidden, "SignatureDoesNotMatch",
			"The request signature we calculated does not match the signature you provided. Check your key and signing method.")
	}
	r.auth = authentication{
		principal: caller, region: c.region, payload: payload,
		signingKey: key, scope: c.scope(), time: c.time.Format(amzTime), signature: c.signature,
	}
	return nil
}

func (s *Server) checkTime(c *claim) *apiError {
	now := s.now()
	if c.time.After(now.Add(maxSkew)) || !c.presigned && c.time.Before(now.Add(-maxSkew)) {
		return apiErrorf(http.StatusForbidden, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large.")
	}
	if c.presigned && now.After(c.time.Add(c.expires)) {
		return apiErrorf(http.StatusForbidden, "AccessDenied", "Request has expired")
	}
	return nil
}

// checkSignedHeaders refuses a request whose signature leaves out a header that changes its
// meaning.
func checkSignedHeaders(r *request, c *claim) *apiError {
	missing := func(name string) bool { return !slices.Contains(c.signedHeaders, name) }
	if missing("host") {
		return apiErrorf(http.StatusForbidden, "SignatureDoesNotMatch", "The Host header must be signed.")
	}
	for name := range r.Header {
		name = strings.ToLower(name)
		if strings.HasPrefix(name, "x-amz-") && missing(name) && !(r.service == serviceSTS || c.presigned && name == "x-amz-content-sha256") {
			return apiErrorf(http.StatusForbidden, "AccessDenied", "There were headers present in the request which were not signed: %s", name)
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

// headerValue returns a header as it is signed: values joined, spaces collapsed.
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

// escape is AWS's URI encoding: it escapes everything except unreserved characters.
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
