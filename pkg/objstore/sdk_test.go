package objstore_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/s3server"
)

// The AWS SDK as others use it, against the embedded server: it sends what this package never sends
// but a customer's tools do (trailers, presigned URLs, ranges). These tests are here because the
// SDK may be imported here.
func newSDK(t *testing.T, secure bool) *s3.Client {
	server, err := s3server.Open(s3server.Config{Dir: t.TempDir(), AccessKey: accessKey, SecretKey: secretKey})
	require.NoError(t, err)
	require.NoError(t, server.CreateBucket("bucket"))
	h := httptest.NewUnstartedServer(server)
	transport := &http.Transport{}
	if secure {
		h.StartTLS()
		transport.TLSClientConfig = &tls.Config{RootCAs: h.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs, MinVersion: tls.VersionTLS12}
	} else {
		h.Start()
	}
	t.Cleanup(func() { transport.CloseIdleConnections(); h.Close(); require.NoError(t, server.Close()) })
	return s3.New(s3.Options{
		BaseEndpoint: &h.URL, Region: "us-east-1", UsePathStyle: true, HTTPClient: &http.Client{Transport: transport},
		Credentials: credentials.NewStaticCredentialsProvider(accessKey, secretKey, ""), RetryMaxAttempts: 1,
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenSupported, ResponseChecksumValidation: aws.ResponseChecksumValidationWhenSupported,
	})
}

func TestSDKChecksums(t *testing.T) {
	for _, secure := range []bool{false, true} { // in a header; in a trailer
		c := newSDK(t, secure)
		for _, algorithm := range types.ChecksumAlgorithm("").Values() {
			switch algorithm {
			case types.ChecksumAlgorithmCrc32, types.ChecksumAlgorithmCrc32c, types.ChecksumAlgorithmCrc64nvme, types.ChecksumAlgorithmSha1, types.ChecksumAlgorithmSha256:
			default:
				continue // this server does not have it
			}
			t.Run(fmt.Sprintf("%s_tls_%v", algorithm, secure), func(t *testing.T) {
				body := bytes.Repeat([]byte("0123456789"), 50_000)
				key := aws.String(string(algorithm))
				_, err := c.PutObject(t.Context(), &s3.PutObjectInput{
					Bucket: aws.String("bucket"), Key: key, Body: bytes.NewReader(body), ChecksumAlgorithm: algorithm, ContentEncoding: aws.String("gzip"),
				})
				require.NoError(t, err)
				out, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("bucket"), Key: key, ChecksumMode: types.ChecksumModeEnabled})
				require.NoError(t, err)
				got, err := io.ReadAll(out.Body) // this verifies the checksum
				require.NoError(t, err)
				require.Equal(t, body, got)
				require.Equal(t, "gzip", aws.ToString(out.ContentEncoding), "without aws-chunked")
			})
		}
	}
}

func TestSDKConditions(t *testing.T) {
	c := newSDK(t, true)
	put := func(in s3.PutObjectInput) error {
		in.Bucket, in.Key, in.Body = aws.String("bucket"), aws.String("k"), strings.NewReader("body")
		_, err := c.PutObject(t.Context(), &in)
		return err
	}
	code := func(err error) string {
		var e smithy.APIError
		require.ErrorAs(t, err, &e)
		return e.ErrorCode()
	}
	require.NoError(t, put(s3.PutObjectInput{IfNoneMatch: aws.String("*")}))
	require.Equal(t, "PreconditionFailed", code(put(s3.PutObjectInput{IfNoneMatch: aws.String("*")})))
	require.Equal(t, "PreconditionFailed", code(put(s3.PutObjectInput{IfMatch: aws.String(`"other"`)})))
	head, err := c.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String("bucket"), Key: aws.String("k")})
	require.NoError(t, err)
	require.NoError(t, put(s3.PutObjectInput{IfMatch: head.ETag}))
	require.Equal(t, "BadDigest", code(put(s3.PutObjectInput{ContentMD5: aws.String("AAAAAAAAAAAAAAAAAAAAAA==")})))

	_, err = c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("bucket"), Key: aws.String("k"), IfNoneMatch: head.ETag})
	require.ErrorContains(t, err, "304")
	_, err = c.CopyObject(t.Context(), &s3.CopyObjectInput{Bucket: aws.String("bucket"), Key: aws.String("k2"), CopySource: aws.String("bucket/k")})
	require.Equal(t, "NotImplemented", code(err))
	_, err = c.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: aws.String("bucket"), Key: aws.String("k2")})
	require.Equal(t, "NotImplemented", code(err))
}

func TestSDKRanges(t *testing.T) {
	c := newSDK(t, false)
	_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: aws.String("k"), Body: strings.NewReader("0123456789")})
	require.NoError(t, err)
	for header, want := range map[string]string{
		"bytes=0-0": "0", "bytes=2-5": "2345", "bytes=7-": "789", "bytes=-3": "789", "bytes=5-100": "56789", "bytes=-100": "0123456789",
		"bytes=5-2": "0123456789", "bytes=x": "0123456789", "bytes=0-1,3-4": "0123456789",
	} {
		out, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("bucket"), Key: aws.String("k"), Range: &header})
		require.NoError(t, err, header)
		got, err := io.ReadAll(out.Body)
		require.NoError(t, err)
		require.Equal(t, want, string(got), header)
	}
	for _, header := range []string{"bytes=10-", "bytes=-0"} {
		_, err = c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("bucket"), Key: aws.String("k"), Range: &header})
		require.ErrorContains(t, err, "InvalidRange", header)
	}
}

func TestSDKListPagination(t *testing.T) {
	c := newSDK(t, false)
	for i := range 25 {
		for _, key := range []string{fmt.Sprintf("logs/%02d/a b+c.gz", i), fmt.Sprintf("logs/%02d/z.gz", i), fmt.Sprintf("top-%02d", i)} {
			_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: &key, Body: strings.NewReader("x")})
			require.NoError(t, err)
		}
	}
	list := func(in s3.ListObjectsV2Input) (keys, prefixes []string) {
		in.Bucket = aws.String("bucket")
		pages := s3.NewListObjectsV2Paginator(c, &in)
		for pages.HasMorePages() {
			page, err := pages.NextPage(t.Context())
			require.NoError(t, err)
			for _, o := range page.Contents {
				keys = append(keys, aws.ToString(o.Key))
			}
			for _, p := range page.CommonPrefixes {
				prefixes = append(prefixes, aws.ToString(p.Prefix))
			}
			require.EqualValues(t, len(page.Contents)+len(page.CommonPrefixes), aws.ToInt32(page.KeyCount))
		}
		return keys, prefixes
	}
	keys, prefixes := list(s3.ListObjectsV2Input{MaxKeys: aws.Int32(7)})
	require.Len(t, keys, 75)
	require.Empty(t, prefixes)
	keys, prefixes = list(s3.ListObjectsV2Input{MaxKeys: aws.Int32(4), Prefix: aws.String("logs/"), Delimiter: aws.String("/")})
	require.Empty(t, keys)
	require.Len(t, prefixes, 25)
	keys, prefixes = list(s3.ListObjectsV2Input{MaxKeys: aws.Int32(3), Delimiter: aws.String("/")})
	require.Len(t, keys, 25)
	require.Equal(t, []string{"logs/"}, prefixes)
	keys, _ = list(s3.ListObjectsV2Input{StartAfter: aws.String("logs/24/a"), Prefix: aws.String("logs/"), EncodingType: types.EncodingTypeUrl})
	require.Equal(t, []string{"logs/24/a+b%2Bc.gz", "logs/24/z.gz"}, keys, "the SDK does not decode")

	// Version 1, as used by old tools.
	var marker *string
	var seen []string
	for {
		page, err := c.ListObjects(t.Context(), &s3.ListObjectsInput{Bucket: aws.String("bucket"), Delimiter: aws.String("/"), MaxKeys: aws.Int32(2), Marker: marker})
		require.NoError(t, err)
		for _, p := range page.CommonPrefixes {
			seen = append(seen, aws.ToString(p.Prefix))
		}
		for _, o := range page.Contents {
			seen = append(seen, aws.ToString(o.Key))
		}
		if !aws.ToBool(page.IsTruncated) {
			break
		}
		marker = page.NextMarker
	}
	require.Len(t, seen, 26)
}

func TestSDKBuckets(t *testing.T) {
	c := newSDK(t, false)
	_, err := c.CreateBucket(t.Context(), &s3.CreateBucketInput{
		Bucket: aws.String("frankfurt"), CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: types.BucketLocationConstraintEuCentral1},
	})
	require.NoError(t, err)
	_, err = c.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("bucket")})
	require.ErrorContains(t, err, "BucketAlreadyOwnedByYou")
	list, err := c.ListBuckets(t.Context(), &s3.ListBucketsInput{})
	require.NoError(t, err)
	require.Len(t, list.Buckets, 2)
	location, err := c.GetBucketLocation(t.Context(), &s3.GetBucketLocationInput{Bucket: aws.String("frankfurt")})
	require.NoError(t, err)
	require.Equal(t, types.BucketLocationConstraintEuCentral1, location.LocationConstraint)
	head, err := c.HeadBucket(t.Context(), &s3.HeadBucketInput{Bucket: aws.String("bucket")})
	require.NoError(t, err)
	require.Equal(t, "us-east-1", aws.ToString(head.BucketRegion))

	for _, key := range []string{"a", "b", "c"} {
		_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: &key, Body: strings.NewReader("x")})
		require.NoError(t, err)
	}
	_, err = c.DeleteBucket(t.Context(), &s3.DeleteBucketInput{Bucket: aws.String("bucket")})
	require.ErrorContains(t, err, "BucketNotEmpty")
	deleted, err := c.DeleteObjects(t.Context(), &s3.DeleteObjectsInput{Bucket: aws.String("bucket"), Delete: &types.Delete{
		Objects: []types.ObjectIdentifier{{Key: aws.String("a")}, {Key: aws.String("b")}, {Key: aws.String("c")}, {Key: aws.String("never")}},
	}})
	require.NoError(t, err)
	require.Len(t, deleted.Deleted, 4)
	_, err = c.DeleteBucket(t.Context(), &s3.DeleteBucketInput{Bucket: aws.String("bucket")})
	require.NoError(t, err)
}

func TestSDKPresigned(t *testing.T) {
	c := newSDK(t, false)
	p := s3.NewPresignClient(c)
	fetch := func(method, target, body string) (int, string) {
		r, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
		require.NoError(t, err)
		response, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		got, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		return response.StatusCode, string(got)
	}
	put, err := p.PresignPutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: aws.String("a b/ü+.gz")})
	require.NoError(t, err)
	status, answer := fetch(http.MethodPut, put.URL, "body")
	require.Equal(t, 200, status, answer)

	get, err := p.PresignGetObject(t.Context(), &s3.GetObjectInput{
		Bucket: aws.String("bucket"), Key: aws.String("a b/ü+.gz"), ResponseContentDisposition: aws.String(`attachment; filename="x.gz"`),
	}, s3.WithPresignExpires(time.Minute))
	require.NoError(t, err)
	status, answer = fetch(http.MethodGet, get.URL, "")
	require.Equal(t, 200, status, answer)
	require.Equal(t, "body", answer)
	status, answer = fetch(http.MethodGet, strings.Replace(get.URL, "X-Amz-Expires=60", "X-Amz-Expires=600", 1), "")
	require.Equal(t, 403, status)
	require.Contains(t, answer, "SignatureDoesNotMatch")
}
