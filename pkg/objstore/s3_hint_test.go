package objstore_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/objstore"
)

// If a bucket from the configuration refuses, the error names the key to change; for customers'
// buckets there is none.
func TestRefusalsNameTheKey(t *testing.T) {
	for name, c := range map[string]struct {
		status       int
		code, region string
		owner        string
		want         string
	}{
		"access_key":   {status: 403, code: "InvalidAccessKeyId", want: "correct AWS_ACCESS_KEY_ID"},
		"secret":       {status: 403, code: "SignatureDoesNotMatch", want: "correct AWS_SECRET_ACCESS_KEY"},
		"expired":      {status: 400, code: "ExpiredToken", want: "AWS_SESSION_TOKEN"},
		"clock":        {status: 403, code: "RequestTimeTooSkewed", want: "correct the clock"},
		"no_bucket":    {status: 404, code: "NoSuchBucket", want: `create bucket "stage", or correct staging.bucket`},
		"region":       {status: 301, code: "PermanentRedirect", region: "eu-west-1", want: "set staging.region: eu-west-1"},
		"rights":       {status: 403, code: "AccessDenied", want: "has to allow s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket on the bucket of staging.bucket"},
		"owner":        {status: 403, code: "AccessDenied", owner: "123456789012", want: "account 123456789012 of staging.expected_bucket_owner has to own the bucket"},
		"https_wanted": {status: 400, want: "write staging.endpoint with https"},
		"kms_disabled": {status: 400, code: "KMS.DisabledException", want: "enable the KMS key that encrypts the bucket of staging.bucket"},
		"kms_deleted":  {status: 400, code: "KMS.KMSInvalidStateException", want: "cancel its deletion"},
		"too_large":    {status: 413, want: "let what stands before the server of staging.endpoint take bodies of appender.max_bytes"},
		"slow_down":    {status: 503, code: "SlowDown"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if c.region != "" {
					w.Header().Set("X-Amz-Bucket-Region", c.region)
				}
				w.WriteHeader(c.status)
				if c.code != "" {
					_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>m</Message></Error>", c.code)
				}
			}))
			defer server.Close()
			for section, want := range map[string]string{"staging": c.want, "": ""} {
				store := objstore.NewS3(objstore.S3Config{
					Bucket: "stage", Region: "us-east-1", Endpoint: server.URL, PathStyle: true, Credentials: staticCredentials,
					ExpectedOwner: c.owner, Section: section,
				})
				_, err := store.List(t.Context(), "", "", 1)
				var e *objstore.Error
				require.ErrorAs(t, err, &e)
				if want == "" {
					require.Empty(t, e.Hint)
				}
				require.Contains(t, e.Hint, want)
				require.ErrorContains(t, err, want)
			}
		})
	}
}

// If nothing answers at all, the error names the address, which is mostly wrong.
func TestUnreachableNamesTheKey(t *testing.T) {
	unknown := &net.DNSError{Err: "no such host", Name: "x", IsNotFound: true}
	for name, c := range map[string]struct {
		endpoint  string
		pathStyle bool
		err       error
		want      string
	}{
		"no_host_for_the_bucket": {"http://minio:9000", false, unknown, "; set staging.force_path_style: true, if that server has no host name for each bucket, or correct staging.endpoint"},
		"no_host":                {"http://minio:9000", true, unknown, "; correct staging.endpoint, or look at this machine's DNS"},
		"no_such_region":         {"", false, unknown, "; correct staging.region, or look at this machine's DNS"},
		"not_started":            {"http://minio:9000", true, syscall.ECONNREFUSED, "; start that server, or correct staging.endpoint"},
		"no_answer_of_aws":       {"", false, context.DeadlineExceeded, "; no answer in time; if that lasts, look at the network between here and S3, and at staging.region"},
		"no_answer":              {"http://minio:9000", true, context.DeadlineExceeded, "; no answer in time; if that lasts, look at that server, the network on the way to it, and staging.endpoint"},
		"proxy_away":             {"http://minio:9000", true, &net.OpError{Op: "proxyconnect", Err: syscall.ECONNREFUSED}, "; start the proxy that this process's environment names (HTTPS_PROXY, or HTTP_PROXY for http), correct it, or name the host in NO_PROXY"},
		"dns_away":               {"http://minio:9000", false, &net.DNSError{Err: "timeout", IsTimeout: true}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			store := objstore.NewS3(objstore.S3Config{
				Bucket: "stage", Region: "us-east-1", Endpoint: c.endpoint, PathStyle: c.pathStyle, Credentials: staticCredentials, Section: "staging",
				HTTPClient: &http.Client{Transport: failingTransport{c.err}},
			})
			_, err := store.List(t.Context(), "", "", 1)
			var e *objstore.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, strings.TrimPrefix(c.want, "; "), e.Hint)
			require.True(t, strings.HasSuffix(err.Error(), c.want), err)
		})
	}
}

type failingTransport struct{ err error }

func (f failingTransport) RoundTrip(*http.Request) (*http.Response, error) { return nil, f.err }
