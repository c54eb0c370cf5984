package s3server

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The GET Object example of
// https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html.
func TestSignatureOfTheDocumentation(t *testing.T) {
	hr := httptest.NewRequest(http.MethodGet, "https://examplebucket.s3.amazonaws.com/test.txt", nil)
	hr.Header.Set("Range", "bytes=0-9")
	hr.Header.Set("X-Amz-Content-Sha256", emptySHA256)
	hr.Header.Set("X-Amz-Date", "20130524T000000Z")
	hr.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"+
		"SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41")
	s := &Server{
		cfg: Config{AccessKey: "AKIAIOSFODNN7EXAMPLE", SecretKey: exampleSecret},
		now: func() time.Time { return time.Date(2013, 5, 24, 0, 10, 0, 0, time.UTC) },
	}
	r, failed := parse(hr)
	require.Nil(t, failed)
	require.Nil(t, s.authenticate(r))
	require.True(t, r.auth.principal.isOperator)

	hr.Header.Set("Range", "bytes=0-10")
	require.Equal(t, "SignatureDoesNotMatch", s.authenticate(r).code)
	hr.Header.Set("Range", "bytes=0-9")
	hr.Header.Set("X-Amz-Acl", "public-read")
	require.Equal(t, "AccessDenied", s.authenticate(r).code, "a header that was added")
}

// The presigned example of
// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html.
func TestPresignedOfTheDocumentation(t *testing.T) {
	hr := httptest.NewRequest(http.MethodGet, "https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256"+
		"&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400"+
		"&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404", nil)
	at := time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		now  time.Time
		want string
	}{
		"at_once":   {at, ""},
		"last_hour": {at.Add(24 * time.Hour), ""},
		"expired":   {at.Add(24*time.Hour + time.Second), "AccessDenied"},
		"too_early": {at.Add(-16 * time.Minute), "RequestTimeTooSkewed"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &Server{cfg: Config{AccessKey: "AKIAIOSFODNN7EXAMPLE", SecretKey: exampleSecret}, now: func() time.Time { return c.now }}
			r, failed := parse(hr)
			require.Nil(t, failed)
			failed = s.authenticate(r)
			if c.want == "" {
				require.Nil(t, failed)
				return
			}
			require.NotNil(t, failed)
			require.Equal(t, c.want, failed.code)
		})
	}
}

func TestCanonicalQuery(t *testing.T) {
	for raw, want := range map[string]string{
		"":                          "",
		"delete":                    "delete=",
		"b=2&a=1":                   "a=1&b=2",
		"a=2&a=1&a=10":              "a=1&a=10&a=2",
		"a-b=1&a=2":                 "a=2&a-b=1",
		"prefix=a/b%20c+d&x=%2B~*":  "prefix=a%2Fb%20c%20d&x=%2B~%2A",
		"X-Amz-Signature=abc&x=%C3": "x=%C3",
	} {
		q, err := url.ParseQuery(raw)
		require.NoError(t, err)
		require.Equal(t, want, canonicalQuery(q), raw)
	}
}

func TestMalformedAuthorization(t *testing.T) {
	s := &Server{cfg: Config{AccessKey: "AKIA", SecretKey: "s"}, now: time.Now}
	now := time.Now().UTC()
	for name, c := range map[string]struct{ header, want string }{
		"nothing":        {"", "AccessDenied"},
		"version_2":      {"AWS AKIA:abcd", "InvalidRequest"},
		"basic":          {"Basic YTpi", "InvalidRequest"},
		"empty":          {"AWS4-HMAC-SHA256 ", "AuthorizationHeaderMalformed"},
		"short_scope":    {"AWS4-HMAC-SHA256 Credential=AKIA/20130524/s3, SignedHeaders=host, Signature=ab", "AuthorizationHeaderMalformed"},
		"no_signature":   {"AWS4-HMAC-SHA256 Credential=AKIA/20130524/us-east-1/s3/aws4_request, SignedHeaders=host", "AuthorizationHeaderMalformed"},
		"other_day":      {"AWS4-HMAC-SHA256 Credential=AKIA/20130524/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=ab", "AuthorizationHeaderMalformed"},
		"other_service":  {"AWS4-HMAC-SHA256 Credential=AKIA/" + now.Format("20060102") + "/us-east-1/ec2/aws4_request, SignedHeaders=host, Signature=ab", "AuthorizationHeaderMalformed"},
		"host_unsigned":  {"AWS4-HMAC-SHA256 Credential=AKIA/" + now.Format("20060102") + "/us-east-1/s3/aws4_request, SignedHeaders=x-amz-date, Signature=ab", "SignatureDoesNotMatch"},
		"wrong_sig":      {"AWS4-HMAC-SHA256 Credential=AKIA/" + now.Format("20060102") + "/us-east-1/s3/aws4_request, SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature=ab", "SignatureDoesNotMatch"},
		"unknown_access": {"AWS4-HMAC-SHA256 Credential=AKIB/" + now.Format("20060102") + "/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=ab", "InvalidAccessKeyId"},
	} {
		t.Run(name, func(t *testing.T) {
			hr := httptest.NewRequest(http.MethodGet, "/bucket/key", nil)
			hr.Header.Set("X-Amz-Date", now.Format(amzTime))
			hr.Header.Set("X-Amz-Content-Sha256", emptySHA256)
			if c.header != "" {
				hr.Header.Set("Authorization", c.header)
			}
			r, failed := parse(hr)
			require.Nil(t, failed)
			failed = s.authenticate(r)
			require.NotNil(t, failed)
			require.Equal(t, c.want, failed.code)
		})
	}
}
