package objstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/middleware"
	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/secret"
)

// recordedRequest records the last request as it would be sent.
type recordedRequest struct {
	method, url, host string
	header            http.Header
	length            int64
	token             string // "": listings have one page; otherwise where the second page begins
}

func (c *recordedRequest) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		_, _ = io.Copy(io.Discard, r.Body)
		_ = r.Body.Close()
	}
	*c = recordedRequest{r.Method, r.URL.Scheme + "://" + r.URL.Host + r.URL.EscapedPath() + "?" + r.URL.RawQuery, r.Host, r.Header, r.ContentLength, c.token}
	answer := &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Header: http.Header{"Etag": {`"e"`}}, Request: r}
	if r.Method == http.MethodGet {
		more := ""
		if c.token != "" && !r.URL.Query().Has("continuation-token") {
			var escaped strings.Builder
			_ = xml.EscapeText(&escaped, []byte(c.token))
			more = "<IsTruncated>true</IsTruncated><NextContinuationToken>" + escaped.String() + "</NextContinuationToken>"
		}
		answer.Body, answer.ContentLength = io.NopCloser(strings.NewReader("<ListBucketResult>"+more+"</ListBucketResult>")), -1
	}
	return answer, nil
}

// What only the SDK sends: its tracing and the names of operations, which S3 does not need.
var (
	sdkOnly   = regexp.MustCompile(`^(Amz-Sdk-.*|User-Agent|Authorization|X-Amz-Date|Accept-Encoding)$`)
	sdkQuery  = regexp.MustCompile(`x-id=[A-Za-z]+&?`)
	signedFor = regexp.MustCompile(`Credential=[^/]+/\d+/([^,]+),`)
)

func (c *recordedRequest) comparable() recordedRequest {
	h := c.header.Clone()
	for name := range h {
		if sdkOnly.MatchString(name) {
			h.Del(name)
		}
	}
	h["signed for"] = signedFor.FindStringSubmatch(c.header.Get("Authorization"))[1:]
	return recordedRequest{c.method, strings.TrimSuffix(sdkQuery.ReplaceAllString(c.url, ""), "&"), c.host, h, c.length, ""}
}

// Our requests are those that the SDK's client would make, of every kind, to every kind of place,
// for keys of all sorts.
func TestRequestsAreThoseOfTheSDK(t *testing.T) {
	keys := Credentials{AccessKeyID: "AKIA", SecretAccessKey: secret.New("secret"), SessionToken: secret.New("session")}
	for place, c := range map[string]S3Config{
		"aws":              {Region: "eu-west-1"},
		"first_region":     {Region: "us-east-1"},
		"china":            {Region: "cn-north-1"},
		"fips":             {Region: "us-east-1", UseFIPS: true},
		"dual_stack":       {Region: "us-east-1", DualStack: true},
		"path_style":       {Region: "eu-west-1", PathStyle: true},
		"endpoint":         {Region: "us-east-1", Endpoint: "http://minio.example:9000"},
		"endpoint_path":    {Region: "us-east-1", Endpoint: "https://minio.example:9000/s3/", PathStyle: true},
		"default_port":     {Region: "us-east-1", Endpoint: "https://minio.example:443", PathStyle: true},
		"loopback":         {Region: "us-east-1", Endpoint: "http://127.0.0.1:9000"},
		"fips_is_for_aws":  {Region: "us-east-1", Endpoint: "http://minio.example:9000", UseFIPS: true, DualStack: true},
		"address_ipv6":     {Region: "us-east-1", Endpoint: "http://[::1]:9000", PathStyle: true},
		"expected_account": {Region: "us-east-1", ExpectedOwner: "123456789012"},
	} {
		t.Run(place, func(t *testing.T) {
			var ours, theirs recordedRequest
			c.Credentials = func(context.Context) (Credentials, error) { return keys, nil }
			c.HTTPClient = &http.Client{Transport: &ours}
			opts := s3.Options{
				Region: c.Region, UsePathStyle: c.PathStyle, HTTPClient: &http.Client{Transport: &theirs}, Retryer: aws.NopRetryer{},
				Credentials:                 credentials.NewStaticCredentialsProvider(keys.AccessKeyID, keys.SecretAccessKey.Reveal(), keys.SessionToken.Reveal()),
				DisableS3ExpressSessionAuth: aws.Bool(true), ResponseChecksumValidation: aws.ResponseChecksumValidationWhenSupported,
			}
			if c.Endpoint != "" {
				opts.BaseEndpoint = &c.Endpoint
			} else if c.UseFIPS {
				opts.EndpointOptions.UseFIPSEndpoint = aws.FIPSEndpointStateEnabled
			} else if c.DualStack {
				opts.EndpointOptions.UseDualStackEndpoint = aws.DualStackEndpointStateEnabled
			}
			unverified := func(o *s3.Options) { o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired }
			sdk, owner := s3.New(opts), optional(c.ExpectedOwner)
			same := func(hazard string, a, b error) {
				require.NoError(t, a, hazard)
				require.NoError(t, b, hazard)
				require.Equal(t, theirs.comparable(), ours.comparable(), hazard)
			}
			const token = "1+2/3= <&"
			for _, bucket := range []string{"logs", "with.dots", "No_DNS_name"} {
				c.Bucket = bucket
				store := NewS3(c)
				for range 2 { // the second time from the cache
					for _, key := range []string{
						"k", "segment-logs/web/0/f.gz", "a b+c", "ü/€/😀", "per%20cent%", "/leading", "trailing/", "two//slashes", "./..", "a/../b", "=&?#;:@!$'()*,~[]{}|\\^`\"<>",
						"\x01\x7f", "line\nfeed",
					} {
						what := fmt.Sprintf("%q in %q", key, bucket)
						_, ourErr := store.Head(t.Context(), key)
						_, err := sdk.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &bucket, Key: &key, ExpectedBucketOwner: owner})
						same("head "+what, err, ourErr)
						_, _, ourErr = store.Get(t.Context(), key)
						_, err = sdk.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &key, ExpectedBucketOwner: owner})
						same("get "+what, err, ourErr)
						ourErr = store.Delete(t.Context(), key)
						_, err = sdk.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &bucket, Key: &key, ExpectedBucketOwner: owner})
						same("delete "+what, err, ourErr)
						_, ourErr = store.List(t.Context(), key, key, 7)
						_, err = sdk.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &key, EncodingType: types.EncodingTypeUrl, StartAfter: &key, MaxKeys: aws.Int32(7), ExpectedBucketOwner: owner})
						same("list "+what, err, ourErr)
						_, ourErr = store.Folders(t.Context(), key)
						_, err = sdk.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &key, EncodingType: types.EncodingTypeUrl, Delimiter: aws.String("/"), ExpectedBucketOwner: owner})
						same("folders "+what, err, ourErr)
						ours.token = token
						_, ourErr = store.List(t.Context(), key, key, 7)
						ours.token = ""
						_, err = sdk.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &key, EncodingType: types.EncodingTypeUrl, ContinuationToken: aws.String(token), MaxKeys: aws.Int32(7), ExpectedBucketOwner: owner})
						same("list on "+what, err, ourErr)
						_, ourErr = store.GetRange(t.Context(), key, 4, 3)
						_, err = sdk.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &key, Range: aws.String("bytes=4-6"), ExpectedBucketOwner: owner}, unverified)
						same("get a range of "+what, err, ourErr)
						_, _, ourErr = store.GetFrom(t.Context(), key, "e", 4)
						_, err = sdk.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &key, Range: aws.String("bytes=4-"), IfMatch: aws.String(`"e"`), ExpectedBucketOwner: owner}, unverified)
						same("get the rest of "+what, err, ourErr)
					}
					for what, size := range map[string]int{"empty": 0, "small": 10, "asks_first": 2 << 20} {
						content := make([]byte, size)
						sum := sha256.Sum256(content)
						metadata := map[string]string{"first-offset": "1", "Upper": "x"}
						_, ourErr := store.Put(t.Context(), "key", bytes.NewReader(content), PutOptions{
							IfAbsent: true, SHA256: sum, ContentType: "text/plain", ContentEncoding: "gzip", ServerSideEncryption: "aws:kms", ACL: "private", Metadata: metadata,
						})
						_, err := sdk.PutObject(t.Context(), &s3.PutObjectInput{
							Bucket: &bucket, Key: aws.String("key"), ExpectedBucketOwner: owner, Body: bytes.NewReader(content), ContentLength: aws.Int64(int64(size)),
							ChecksumSHA256: aws.String(base64.StdEncoding.EncodeToString(sum[:])), IfNoneMatch: aws.String("*"), ContentType: aws.String("text/plain"),
							ContentEncoding: aws.String("gzip"), ServerSideEncryption: types.ServerSideEncryptionAwsKms, ACL: types.ObjectCannedACLPrivate, Metadata: metadata,
						}, func(o *s3.Options) {
							o.APIOptions = append(o.APIOptions, v4Payload(fmt.Sprintf("%x", sum)))
						})
						same("put "+what, err, ourErr)
						_, ourErr = store.Put(t.Context(), "key", bytes.NewReader(content), PutOptions{})
						_, err = sdk.PutObject(t.Context(), &s3.PutObjectInput{
							Bucket: &bucket, Key: aws.String("key"), ExpectedBucketOwner: owner, Body: bytes.NewReader(content), ContentLength: aws.Int64(int64(size)),
							ChecksumSHA256: aws.String(base64.StdEncoding.EncodeToString(sum[:])),
						}, func(o *s3.Options) {
							o.APIOptions = append(o.APIOptions, v4Payload(fmt.Sprintf("%x", sum)))
						})
						same("plain put "+what, err, ourErr)
					}
				}
			}
		})
	}
}

func TestEndpointsAreBounded(t *testing.T) {
	e := newEndpoints(s3.EndpointParameters{Region: aws.String("eu-west-1")})
	for i := range maxEndpoints + 10 {
		_, err := e.resolve(fmt.Sprintf("logs-%d", i))
		require.NoError(t, err)
	}
	require.Len(t, e.known, 10)
}

func TestEndpointsConcurrently(t *testing.T) { // for the race detector
	e := newEndpoints(s3.EndpointParameters{Region: aws.String("eu-west-1")})
	var users sync.WaitGroup
	for range 8 {
		users.Go(func() {
			for range 100 {
				if _, err := e.resolve("logs"); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	users.Wait()
}

// A multi-region access point is refused, because it needs another signature.
func TestEndpointsWithAnotherSignature(t *testing.T) {
	s := NewS3(S3Config{Bucket: "arn:aws:s3::123456789012:accesspoint:mfzwi23gnjvgw.mrap", Region: "eu-west-1", Credentials: func(context.Context) (Credentials, error) { return Credentials{}, nil }})
	_, err := s.Head(t.Context(), "k")
	require.ErrorIs(t, err, ErrInvalid)
	require.ErrorContains(t, err, "another signature")
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// v4Payload makes the SDK sign the known checksum, which it does by itself only over plain http.
func v4Payload(sum string) func(*middleware.Stack) error {
	return func(stack *middleware.Stack) error {
		return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("payload",
			func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
				return next.HandleInitialize(v4.SetPayloadHash(ctx, sum), in)
			}), middleware.Before)
	}
}
