package objstore_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/objstore"
)

// A bucket of the configuration that refuses is told with the key to change;
// customers' buckets have no keys.
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
					Bucket: "stage", Region: "us-east-1", Endpoint: server.URL, PathStyle: true, Credentials: static,
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
