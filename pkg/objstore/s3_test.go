package objstore_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/netguard"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/objstore/conformance"
	"github.com/sealift/sealift/pkg/s3server"
	"github.com/sealift/sealift/pkg/secret"
)

const accessKey, secretKey = "AKIATESTTESTTESTTEST", "a-secret"

func staticCredentials(context.Context) (objstore.Credentials, error) {
	return objstore.Credentials{AccessKeyID: accessKey, SecretAccessKey: secret.New(secretKey)}, nil
}

// serve starts the embedded server.
func serve(t *testing.T) (*s3server.Server, string) {
	server, err := s3server.Open(s3server.Config{Dir: t.TempDir(), AccessKey: accessKey, SecretKey: secretKey})
	require.NoError(t, err)
	h := httptest.NewServer(server)
	t.Cleanup(func() { h.Close(); require.NoError(t, server.Close()) })
	return server, h.URL
}

func open(t *testing.T, endpoint, bucket string) *objstore.S3 {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32}}
	t.Cleanup(client.CloseIdleConnections)
	return objstore.NewS3(objstore.S3Config{
		Bucket: bucket, Region: "us-east-1", Endpoint: endpoint, PathStyle: true, Credentials: staticCredentials, HTTPClient: client,
	})
}

func TestS3Conforms(t *testing.T) {
	server, endpoint := serve(t)
	var n atomic.Int64
	next := func(t *testing.T) *objstore.S3 {
		bucket := fmt.Sprintf("bucket-%d", n.Add(1))
		require.NoError(t, server.CreateBucket(bucket))
		return open(t, endpoint, bucket)
	}
	conformance.Run(t, func(t *testing.T) objstore.Store { return next(t) })
	conformance.RunReader(t, next)
}

func TestS3WithTheGuardedClient(t *testing.T) {
	server, endpoint := serve(t)
	require.NoError(t, server.CreateBucket("bucket"))
	client := netguard.Client([]string{"127.0.0.0/8"}, nil)
	t.Cleanup(client.CloseIdleConnections)
	s := objstore.NewS3(objstore.S3Config{
		Bucket: "bucket", Region: "us-east-1", Endpoint: endpoint, PathStyle: true, Credentials: staticCredentials, HTTPClient: client,
	})
	require.NoError(t, objstore.Probe(t.Context(), s))
}

// Every answer of S3 gets the right class.
func TestS3Classification(t *testing.T) {
	xml := func(code, message string) string {
		return "<Error><Code>" + code + "</Code><Message>" + message + "</Message></Error>"
	}
	for name, c := range map[string]struct {
		op     string // "put" if empty
		status int
		region string // x-amz-bucket-region
		to     string // Location
		id     string // x-amz-request-id
		body   string
		want   error
		code   string
		moved  string // Error.Region
	}{
		"exists":                  {status: 412, body: xml("PreconditionFailed", ""), want: objstore.ErrExists, code: "PreconditionFailed"},
		"proxy_412":               {status: 412, body: "<html>blocked</html>", want: objstore.ErrUnavailable},
		"proxy_404":               {op: "get", status: 404, body: "404 page not found", want: objstore.ErrUnavailable},
		"region_that_is_long":     {status: 301, region: strings.Repeat("a", 10_000), body: xml("PermanentRedirect", ""), want: objstore.ErrWrongRegion},
		"region_that_is_none":     {status: 301, region: "EU/../x", body: xml("PermanentRedirect", ""), want: objstore.ErrWrongRegion},
		"conflict":                {status: 409, body: xml("ConditionalRequestConflict", ""), want: objstore.ErrConflict},
		"conflict_operation":      {status: 409, body: xml("OperationAborted", ""), want: objstore.ErrConflict},
		"conflict_other":          {status: 409, body: xml("InvalidBucketState", ""), want: objstore.ErrInvalid},
		"denied":                  {status: 403, body: xml("AccessDenied", "no"), want: objstore.ErrDenied, code: "AccessDenied"},
		"denied_unauthorized":     {status: 401, body: xml("Unauthorized", ""), want: objstore.ErrDenied},
		"denied_empty_head":       {op: "head", status: 403, want: objstore.ErrDenied},
		"expired_token":           {status: 400, body: xml("ExpiredToken", "The provided token has expired."), want: objstore.ErrDenied, code: "ExpiredToken"},
		"invalid_token":           {status: 400, body: xml("InvalidToken", ""), want: objstore.ErrDenied, code: "InvalidToken"},
		"expired_token_other":     {status: 400, region: "eu-west-1", body: xml("ExpiredToken", ""), want: objstore.ErrDenied},
		"clock":                   {status: 403, body: xml("RequestTimeTooSkewed", ""), want: objstore.ErrDenied, code: "RequestTimeTooSkewed"},
		"no_bucket":               {status: 404, body: xml("NoSuchBucket", ""), want: objstore.ErrNoBucket},
		"proxy_404_on_list":       {op: "list", status: 404, want: objstore.ErrUnavailable},
		"proxy_404_on_put":        {status: 404, body: "404 page not found", want: objstore.ErrUnavailable},
		"no_bucket_on_get":        {op: "get", status: 404, body: xml("NoSuchBucket", ""), want: objstore.ErrNoBucket},
		"no_key":                  {op: "get", status: 404, body: xml("NoSuchKey", ""), want: objstore.ErrNotFound},
		"no_key_on_head":          {op: "head", status: 404, id: "4442587FB7D0A2F9", want: objstore.ErrNotFound},
		"no_key_on_delete":        {op: "delete", status: 404, body: xml("NoSuchKey", "")},
		"no_key_on_delete_bare":   {op: "delete", status: 404, id: "4442587FB7D0A2F9"},
		"proxy_404_on_delete":     {op: "delete", status: 404, body: "404 page not found", want: objstore.ErrUnavailable},
		"region_301":              {status: 301, region: "eu-west-1", body: xml("PermanentRedirect", ""), want: objstore.ErrWrongRegion, moved: "eu-west-1"},
		"region_301_head":         {op: "head", status: 301, region: "eu-west-1", want: objstore.ErrWrongRegion, moved: "eu-west-1"},
		"region_301_unnamed":      {status: 301, body: xml("PermanentRedirect", ""), want: objstore.ErrWrongRegion},
		"region_307":              {status: 307, region: "eu-west-1", body: xml("TemporaryRedirect", ""), want: objstore.ErrWrongRegion, moved: "eu-west-1"},
		"dns_307":                 {status: 307, region: "us-east-1", body: xml("TemporaryRedirect", ""), want: objstore.ErrUnavailable},
		"region_400":              {status: 400, region: "eu-west-1", body: xml("AuthorizationHeaderMalformed", ""), want: objstore.ErrWrongRegion, moved: "eu-west-1"},
		"region_400_head":         {op: "head", status: 400, region: "eu-west-1", want: objstore.ErrWrongRegion, moved: "eu-west-1"},
		"region_400_message":      {status: 400, body: xml("AuthorizationHeaderMalformed", "the region 'us-east-1' is wrong; expecting 'ap-south-1'"), want: objstore.ErrWrongRegion, moved: "ap-south-1"},
		"region_400_illegal":      {status: 400, body: xml("IllegalLocationConstraintException", "The ap-east-1 location constraint is incompatible for the region specific endpoint this request was sent to."), want: objstore.ErrWrongRegion, moved: "ap-east-1"},
		"region_400_unspecified":  {status: 400, body: xml("IllegalLocationConstraintException", "The unspecified location constraint is incompatible for the region specific endpoint this request was sent to."), want: objstore.ErrWrongRegion},
		"region_301_location":     {status: 301, to: "https://b.s3-eu-west-1.amazonaws.com/k", body: xml("PermanentRedirect", ""), want: objstore.ErrWrongRegion, moved: "eu-west-1"},
		"region_307_location":     {status: 307, to: "https://b.s3.us-west-2.amazonaws.com/k", body: xml("TemporaryRedirect", "Please re-send this request to the specified temporary endpoint."), want: objstore.ErrWrongRegion, moved: "us-west-2"},
		"region_307_dual_stack":   {status: 307, to: "https://s3.dualstack.us-gov-west-1.amazonaws.com/b/k", want: objstore.ErrWrongRegion, moved: "us-gov-west-1"},
		"dns_307_location":        {status: 307, to: "https://b.s3.amazonaws.com/k", body: xml("TemporaryRedirect", ""), want: objstore.ErrUnavailable},
		"dns_307_external":        {status: 307, to: "https://b.s3-external-1.amazonaws.com/k", body: xml("TemporaryRedirect", ""), want: objstore.ErrUnavailable},
		"region_307_china":        {status: 307, to: "https://b.s3.cn-northwest-1.amazonaws.com.cn/k", want: objstore.ErrWrongRegion, moved: "cn-northwest-1"},
		"region_307_sovereign":    {status: 307, to: "https://b.s3.eusc-de-east-1.amazonaws.eu/k", want: objstore.ErrWrongRegion, moved: "eusc-de-east-1"},
		"region_307_isolated":     {status: 307, to: "https://s3.us-iso-west-1.c2s.ic.gov/b/k", want: objstore.ErrWrongRegion, moved: "us-iso-west-1"},
		"region_307_elsewhere":    {status: 307, to: "https://s3.eu-west-1.amazonaws.com.evil.example/k", body: xml("TemporaryRedirect", ""), want: objstore.ErrUnavailable},
		"invalid_same_region":     {status: 400, region: "us-east-1", body: xml("InvalidArgument", "bad"), want: objstore.ErrInvalid, code: "InvalidArgument"},
		"bad_digest":              {status: 400, body: xml("BadDigest", ""), want: objstore.ErrInvalid, code: "BadDigest"},
		"kms_disabled":            {status: 400, body: xml("KMS.DisabledException", ""), want: objstore.ErrInvalid, code: "KMS.DisabledException"},
		"method":                  {status: 405, body: xml("MethodNotAllowed", ""), want: objstore.ErrInvalid},
		"request_timeout":         {status: 400, body: xml("RequestTimeout", ""), want: objstore.ErrUnavailable},
		"slow_down":               {status: 503, body: xml("SlowDown", "Please reduce your request rate."), want: objstore.ErrUnavailable, code: "SlowDown"},
		"too_many":                {status: 429, body: xml("TooManyRequests", ""), want: objstore.ErrUnavailable},
		"internal":                {status: 500, body: xml("InternalError", ""), want: objstore.ErrUnavailable},
		"not_implemented":         {status: 501, body: xml("NotImplemented", "A header you provided implies functionality that is not implemented"), want: objstore.ErrInvalid, code: "NotImplemented"},
		"proxy_html":              {status: 502, body: "<html><body>Bad Gateway", want: objstore.ErrUnavailable},
		"proxy_html_503":          {op: "list", status: 503, body: "upstream connect error", want: objstore.ErrUnavailable},
		"portal_page_on_put":      {status: 200, body: "<html>log in</html>", want: objstore.ErrUnavailable},
		"portal_page_on_delete":   {op: "delete", status: 200, body: "<html>log in</html>", want: objstore.ErrUnavailable},
		"text_on_delete":          {op: "delete", status: 200, body: "log in", want: objstore.ErrUnavailable},
		"bare_200_on_put":         {status: 200, want: objstore.ErrUnavailable},
		"bare_200_on_delete":      {op: "delete", status: 200},
		"cut_document":            {status: 400, body: "<Error><Code>SlowDown</Code><Message>" + strings.Repeat("x", 1<<20), want: objstore.ErrUnavailable, code: "SlowDown"},
		"empty_403":               {status: 403, want: objstore.ErrDenied},
		"portal_page_on_get_list": {op: "list", status: 200, body: "<html>log in</html", want: objstore.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			var requests atomic.Int64
			h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				requests.Add(1)
				if c.region != "" {
					w.Header().Set("X-Amz-Bucket-Region", c.region)
				}
				if c.id != "" {
					w.Header().Set("X-Amz-Request-Id", c.id)
				}
				w.Header().Set("Location", cmp.Or(c.to, "http://169.254.169.254/"))
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			}))
			defer h.Close()
			err := do(t.Context(), open(t, h.URL, "b"), c.op)
			if c.want == nil {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, c.want)
			var e *objstore.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, c.moved, e.Region)
			require.Equal(t, "b", e.Bucket)
			if c.status != 200 {
				require.Equal(t, c.status, e.Status)
			}
			require.Less(t, len(err.Error()), 3_000)
			if c.code != "" {
				require.Equal(t, c.code, e.Code)
			}
			require.EqualValues(t, 1, requests.Load(), "one operation is one request")
		})
	}
}

func do(ctx context.Context, s objstore.Store, op string) (err error) {
	switch op {
	case "get":
		_, _, err = s.Get(ctx, "k")
	case "head":
		_, err = s.Head(ctx, "k")
	case "list":
		_, err = s.List(ctx, "k", "", 1)
	case "delete":
		err = s.Delete(ctx, "k")
	default:
		_, err = s.Put(ctx, "k", strings.NewReader("body"), objstore.PutOptions{IfAbsent: true})
	}
	return err
}

func TestS3ConnectionFailures(t *testing.T) {
	t.Run("nobody_listens", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		require.NoError(t, l.Close())
		require.ErrorIs(t, do(t.Context(), open(t, "http://"+l.Addr().String(), "b"), "put"), objstore.ErrUnavailable)
	})
	t.Run("reply_lost_after_the_effect", func(t *testing.T) {
		server, endpoint := serve(t)
		require.NoError(t, server.CreateBucket("bucket"))
		server.SetFault(func(r *http.Request) s3server.Fault {
			return s3server.Fault{After: true, Cut: r.Method == http.MethodPut}
		})
		s := open(t, endpoint, "bucket")
		require.ErrorIs(t, do(t.Context(), s, "head"), objstore.ErrNotFound) // if at all, net/http retries on a connection that was used before
		used := false
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) { used = c.Reused }})
		require.ErrorIs(t, do(ctx, s, "put"), objstore.ErrUnavailable, "not ErrExists: nothing was repeated")
		require.True(t, used)
		require.EqualValues(t, 1, server.Requests()["PutObject"])
		server.SetFault(nil)
		require.ErrorIs(t, do(t.Context(), s, "put"), objstore.ErrExists)
	})
	t.Run("deadline", func(t *testing.T) {
		stop := make(chan struct{})
		h := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-stop }))
		defer h.Close()
		defer close(stop)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		err := do(ctx, open(t, h.URL, "b"), "put")
		require.ErrorIs(t, err, objstore.ErrUnavailable)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
	t.Run("body_cut_while_reading", func(t *testing.T) {
		h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "short")
		}))
		defer h.Close()
		r, _, err := open(t, h.URL, "b").Get(t.Context(), "k")
		require.NoError(t, err)
		_, err = io.ReadAll(r)
		require.ErrorIs(t, err, objstore.ErrUnavailable)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		require.NoError(t, r.Close())
	})
	t.Run("damaged_on_the_way", func(t *testing.T) {
		h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Amz-Checksum-Crc32", "AAAAAA==")
			_, _ = io.WriteString(w, "damaged")
		}))
		defer h.Close()
		r, _, err := open(t, h.URL, "b").Get(t.Context(), "k")
		require.NoError(t, err)
		_, err = io.ReadAll(r)
		require.ErrorIs(t, err, objstore.ErrUnavailable)
		require.NoError(t, r.Close())
	})
	t.Run("guarded_endpoint", func(t *testing.T) {
		_, endpoint := serve(t)
		s := objstore.NewS3(objstore.S3Config{
			Bucket: "bucket", Region: "us-east-1", Endpoint: endpoint, PathStyle: true, Credentials: staticCredentials, HTTPClient: netguard.Client(nil, nil),
		})
		err := do(t.Context(), s, "put")
		require.ErrorIs(t, err, objstore.ErrInvalid)
		require.ErrorIs(t, err, netguard.ErrRefused)
	})
}

func TestS3Credentials(t *testing.T) {
	get := func(err error) *objstore.S3 {
		return objstore.NewS3(objstore.S3Config{
			Bucket: "b", Region: "us-east-1", Endpoint: "http://127.0.0.1:1", PathStyle: true,
			Credentials: func(context.Context) (objstore.Credentials, error) { return objstore.Credentials{}, err },
		})
	}
	t.Run("denied_stays_denied", func(t *testing.T) {
		err := do(t.Context(), get(fmt.Errorf("assume role: %w", objstore.ErrDenied)), "put")
		require.ErrorIs(t, err, objstore.ErrDenied)
		require.ErrorContains(t, err, "assume role")
	})
	t.Run("other_failures_are_transient", func(t *testing.T) {
		cause := errors.New("metadata service is away")
		err := do(t.Context(), get(cause), "put")
		require.ErrorIs(t, err, objstore.ErrUnavailable)
		require.ErrorIs(t, err, cause)
	})
	t.Run("default_chain", func(t *testing.T) {
		server, endpoint := serve(t)
		require.NoError(t, server.CreateBucket("bucket"))
		t.Setenv("AWS_ACCESS_KEY_ID", accessKey)
		t.Setenv("AWS_SECRET_ACCESS_KEY", secretKey)
		t.Setenv("AWS_REGION", "us-east-1")
		s := objstore.NewS3(objstore.S3Config{Bucket: "bucket", Endpoint: endpoint, PathStyle: true})
		require.NoError(t, do(t.Context(), s, "put"))
	})
	t.Run("secrets_are_not_printed", func(t *testing.T) {
		c := objstore.Credentials{AccessKeyID: "AKIA", SecretAccessKey: secret.New("hush"), SessionToken: secret.New("hush")}
		for name, v := range map[string]any{"itself": c, "pointer": &c, "unexported": struct{ is objstore.Credentials }{c}, "cached": map[string]struct{ is any }{"a": {c}}} {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
				out := fmt.Sprintf(verb, v)
				require.NotContains(t, out, "hush", name+verb)
				require.NotContains(t, out, "68757368", name+verb)
			}
		}
		require.Contains(t, fmt.Sprint(c), "AKIA")
	})
}

// Every request has the headers that it must have, and none that it must not.
func TestS3Requests(t *testing.T) {
	var last atomic.Pointer[http.Request]
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		last.Store(r)
		w.Header().Set("Etag", `"e"`)
		if r.Method == http.MethodHead {
			w.Header().Set("Content-Length", "4")
		}
		if r.Method == http.MethodGet && r.URL.Query().Has("list-type") {
			_, _ = io.WriteString(w, "<ListBucketResult></ListBucketResult>")
		}
	}))
	defer h.Close()
	s := objstore.NewS3(objstore.S3Config{
		Bucket: "b", Region: "eu-west-1", Endpoint: h.URL, PathStyle: true, Credentials: staticCredentials, ExpectedOwner: "123456789012",
	})
	for _, op := range []string{"put", "get", "head", "list", "delete"} {
		require.NoError(t, do(t.Context(), s, op), op)
		r := last.Load()
		require.Equal(t, "123456789012", r.Header.Get("X-Amz-Expected-Bucket-Owner"), op)
		require.Contains(t, r.Header.Get("Authorization"), "/eu-west-1/s3/aws4_request", op)
		require.Contains(t, r.Header.Get("User-Agent"), "sealift", op)
		require.NotContains(t, r.Header.Get("Accept-Encoding"), "gzip", op)
	}

	body := &countingReader{r: bytes.NewReader([]byte("some bytes"))}
	sum := sha256.Sum256([]byte("some bytes"))
	_, err := s.Put(t.Context(), "k", body, objstore.PutOptions{
		IfAbsent: true, SHA256: sum, ContentType: "text/plain", ContentEncoding: "gzip", ServerSideEncryption: "AES256",
		ACL: "bucket-owner-full-control", Metadata: map[string]string{"topic": "events"},
	})
	require.NoError(t, err)
	r := last.Load()
	require.Equal(t, "*", r.Header.Get("If-None-Match"))
	require.Equal(t, fmt.Sprintf("%x", sum), r.Header.Get("X-Amz-Content-Sha256"), "the known checksum is what is signed")
	require.NotEmpty(t, r.Header.Get("X-Amz-Checksum-Sha256"))
	require.Empty(t, r.Header.Get("X-Amz-Trailer"))
	require.Equal(t, "gzip", r.Header.Get("Content-Encoding"))
	require.Equal(t, "text/plain", r.Header.Get("Content-Type"))
	require.Equal(t, "AES256", r.Header.Get("X-Amz-Server-Side-Encryption"))
	require.Equal(t, "bucket-owner-full-control", r.Header.Get("X-Amz-Acl"))
	require.Equal(t, "events", r.Header.Get("X-Amz-Meta-Topic"))
	require.EqualValues(t, len("some bytes"), r.ContentLength)
	require.EqualValues(t, len("some bytes"), body.n, "the body was read more than once")
}

type countingReader struct {
	r *bytes.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

func (c *countingReader) Seek(offset int64, whence int) (int64, error) {
	return c.r.Seek(offset, whence)
}

// Only the answer shows whether KMS was asked for a key.
func TestS3ReportsDataKeys(t *testing.T) {
	for hazard, c := range map[string]struct {
		header map[string]string
		want   bool
	}{
		"plain":      {nil, false},
		"s3":         {map[string]string{"x-amz-server-side-encryption": "AES256"}, false},
		"kms":        {map[string]string{"x-amz-server-side-encryption": "aws:kms"}, true},
		"dual_layer": {map[string]string{"x-amz-server-side-encryption": "aws:kms:dsse"}, true},
		"bucket_key": {map[string]string{"x-amz-server-side-encryption": "aws:kms", "x-amz-server-side-encryption-bucket-key-enabled": "true"}, false},
	} {
		t.Run(hazard, func(t *testing.T) {
			h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				w.Header().Set("Etag", `"e"`)
				for k, v := range c.header {
					w.Header().Set(k, v)
				}
			}))
			t.Cleanup(h.Close)
			info, err := open(t, h.URL, "logs").Put(t.Context(), "key", strings.NewReader("x"), objstore.PutOptions{})
			require.NoError(t, err)
			require.Equal(t, c.want, info.DataKey)
		})
	}
}

// A refusal of a large body is heard without sending the body: 412 is the usual answer for a file
// that was delivered before.
func TestS3RefusalOfLargeBodies(t *testing.T) {
	server, endpoint := serve(t)
	require.NoError(t, server.CreateBucket("bucket"))
	client := &http.Client{Transport: &http.Transport{ExpectContinueTimeout: time.Minute}}
	defer client.CloseIdleConnections()
	for range 50 {
		s := objstore.NewS3(objstore.S3Config{
			Bucket: "missing", Region: "us-east-1", Endpoint: endpoint, PathStyle: true, Credentials: staticCredentials, HTTPClient: client,
		})
		content := make([]byte, 3<<20)
		body := &countingReader{r: bytes.NewReader(content)}
		_, err := s.Put(t.Context(), "k", body, objstore.PutOptions{SHA256: sha256.Sum256(content)})
		require.ErrorIs(t, err, objstore.ErrNoBucket)
		require.Zero(t, body.n, "nothing was sent")
	}
}

// When a store answers before it has read the body, nothing reads the body any more, because the
// caller seeks and sends it again. The race detector would notice a reader.
func TestS3BodyIsReleased(t *testing.T) {
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer h.Close()
	s := open(t, h.URL, "b")
	content := bytes.Repeat([]byte("x"), 8<<20)
	body, sum := &countingReader{r: bytes.NewReader(content)}, sha256.Sum256(content)
	for range 20 {
		_, err := s.Put(t.Context(), "k", body, objstore.PutOptions{SHA256: sum})
		require.ErrorIs(t, err, objstore.ErrUnavailable)
		_, err = body.Seek(0, io.SeekStart)
		require.NoError(t, err)
		body.n = 0
	}
}

// List continues after a short page, which S3 may send although there is more.
func TestS3ListContinuesAfterShortPages(t *testing.T) {
	var requests atomic.Int64
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page := requests.Add(1)
		if page < 3 {
			_, _ = fmt.Fprintf(w, "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>%d</NextContinuationToken></ListBucketResult>", page)
			return
		}
		_, _ = io.WriteString(w, "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>x</NextContinuationToken><Contents><Key>k</Key></Contents></ListBucketResult>")
	}))
	defer h.Close()
	infos, err := open(t, h.URL, "b").List(t.Context(), "", "", 1)
	require.NoError(t, err)
	require.Len(t, infos, 1)
	require.EqualValues(t, 3, requests.Load())
}
