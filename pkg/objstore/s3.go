package objstore

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// S3Config says which bucket, where and as whom.
type S3Config struct {
	// Bucket is its name. Required.
	Bucket string
	// Region is where it lives. Default: the SDK's, else us-east-1.
	Region string
	// Endpoint is the URL of a VPC endpoint or an S3-compatible server.
	// Default: AWS's own of the region.
	Endpoint string
	// PathStyle puts the bucket into the path instead of the host name. Most
	// S3-compatible servers need it.
	PathStyle bool
	// Credentials are asked for at every request, so the function caches.
	// Default: DefaultCredentials.
	Credentials func(context.Context) (Credentials, error)
	// ExpectedOwner is the 12-digit account that must own the bucket
	// (x-amz-expected-bucket-owner on every request). Default: not checked.
	ExpectedOwner string
	// Section of the configuration that names this bucket, for errors: "staging".
	// Default: none, as of customers' buckets.
	Section string
	// HTTPClient carries the requests; its redirect policy is not used, since
	// no redirect is followed. Its transport should have an
	// ExpectContinueTimeout, so that a large body is not sent, or its refusal
	// lost, when the store refuses. Default: one with its own connections.
	HTTPClient *http.Client
	// UseFIPS and DualStack choose among AWS's own endpoints. Only used
	// without Endpoint.
	UseFIPS   bool
	DualStack bool
}

// S3 is a bucket of S3 or a compatible server.
type S3 struct {
	bucket, region, endpoint string
	section                  string
	owner                    *string
	credentials              aws.CredentialsProvider
	client                   *s3.Client // of all buckets there
}

var (
	_ Store  = (*S3)(nil)
	_ Reader = (*S3)(nil)
)

// NewS3 opens a bucket. It does not connect.
func NewS3(cfg S3Config) *S3 {
	if cfg.Region == "" {
		cfg.Region = DefaultRegion(context.Background())
	}
	if cfg.Credentials == nil {
		cfg.Credentials = DefaultCredentials()
	}
	opts := s3.Options{
		Region:       cfg.Region,
		HTTPClient:   newDoer(cfg.HTTPClient),
		UsePathStyle: cfg.PathStyle,
		// One request, one answer: the SDK's retries report 412 for one's own
		// success when the first reply was lost.
		Retryer:                    aws.NopRetryer{},
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenSupported,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenSupported,
		// Stores that keep no checksum are no news at every read.
		DisableLogOutputChecksumValidationSkipped: true,
		// Directory buckets sign by sessions; nothing here is one.
		DisableS3ExpressSessionAuth: aws.Bool(true),
		AppID:                       "sealift",
		EndpointResolverV2:          newEndpoints(),
	}
	if cfg.Endpoint != "" {
		opts.BaseEndpoint = aws.String(cfg.Endpoint)
	} else {
		if cfg.UseFIPS {
			opts.EndpointOptions.UseFIPSEndpoint = aws.FIPSEndpointStateEnabled
		}
		if cfg.DualStack {
			opts.EndpointOptions.UseDualStackEndpoint = aws.DualStackEndpointStateEnabled
		}
	}
	s := &S3{region: cfg.Region, endpoint: cfg.Endpoint, section: cfg.Section, client: s3.New(opts)}
	return s.At(cfg.Bucket, cfg.ExpectedOwner, cfg.Credentials)
}

// At returns another bucket at the same place, as somebody else. It shares what
// is expensive to set up, and keeps no memory busy when it is not used any more.
// ExpectedOwner and credentials are those of S3Config; credentials are required.
func (s *S3) At(bucket, expectedOwner string, credentials func(context.Context) (Credentials, error)) *S3 {
	other := *s
	other.bucket, other.owner, other.credentials = bucket, optional(expectedOwner), provider(credentials)
	return &other
}

// as makes a request the bucket's own.
func (s *S3) as(o *s3.Options) { o.Credentials = s.credentials }

func (s *S3) String() string {
	if s.endpoint != "" {
		return fmt.Sprintf("bucket %q at %s", s.bucket, s.endpoint)
	}
	return fmt.Sprintf("bucket %q in %s", s.bucket, s.region)
}

// Put implements Store.
func (s *S3) Put(ctx context.Context, key string, body io.ReadSeeker, opts PutOptions) (Info, error) {
	size, sum, err := measure(body, opts.SHA256)
	if err != nil {
		return Info{}, &Error{Op: "put", Bucket: s.bucket, Key: key, Kind: ErrInvalid, Err: fmt.Errorf("read the body: %w", err)}
	}
	in := &s3.PutObjectInput{
		Bucket:               &s.bucket,
		Key:                  &key,
		ExpectedBucketOwner:  s.owner,
		ContentLength:        &size,
		ChecksumSHA256:       aws.String(base64.StdEncoding.EncodeToString(sum[:])),
		ContentType:          optional(opts.ContentType),
		ContentEncoding:      optional(opts.ContentEncoding),
		Metadata:             opts.Metadata,
		ServerSideEncryption: types.ServerSideEncryption(opts.ServerSideEncryption),
		ACL:                  types.ObjectCannedACL(opts.ACL),
	}
	if opts.IfAbsent {
		in.IfNoneMatch = aws.String("*")
	}
	guarded := &guardedBody{body: body}
	defer guarded.release()
	in.Body = guarded
	out, err := s.client.PutObject(ctx, in, s.as, signedPayload(sum))
	if err != nil {
		return Info{}, s.classify(ctx, "put", key, err)
	}
	return Info{
		Key: key, Size: size, ETag: unquote(out.ETag),
		ContentType: opts.ContentType, ContentEncoding: opts.ContentEncoding, Metadata: lowerKeys(opts.Metadata),
		DataKey: strings.HasPrefix(string(out.ServerSideEncryption), "aws:kms") && !aws.ToBool(out.BucketKeyEnabled),
	}, nil
}

// Get implements Store.
func (s *S3) Get(ctx context.Context, key string) (io.ReadCloser, Info, error) {
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.bucket, Key: &key, ExpectedBucketOwner: s.owner}, s.as)
	if err != nil {
		return nil, Info{}, s.classify(ctx, "get", key, err)
	}
	return &objectReader{ReadCloser: out.Body, fail: func(err error) error { return s.classify(ctx, "get", key, err) }}, s.describe(key, out), nil
}

// Head implements Store.
func (s *S3) Head(ctx context.Context, key string) (Info, error) {
	out, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.bucket, Key: &key, ExpectedBucketOwner: s.owner}, s.as)
	if err != nil {
		return Info{}, s.classify(ctx, "head", key, err)
	}
	return Info{
		Key: key, Size: aws.ToInt64(out.ContentLength), ETag: unquote(out.ETag), LastModified: aws.ToTime(out.LastModified),
		ContentType: aws.ToString(out.ContentType), ContentEncoding: aws.ToString(out.ContentEncoding), Metadata: lowerKeys(out.Metadata),
	}, nil
}

// List implements Store. It is one request unless the store answers with a
// short page although there is more, as S3 may when it skips deleted keys.
func (s *S3) List(ctx context.Context, prefix, startAfter string, limit int) ([]Info, error) {
	limit = clampList(limit)
	in := &s3.ListObjectsV2Input{
		Bucket: &s.bucket, Prefix: optional(prefix), StartAfter: optional(startAfter), ExpectedBucketOwner: s.owner,
	}
	var infos []Info
	for {
		in.MaxKeys = aws.Int32(int32(limit - len(infos)))
		out, err := s.client.ListObjectsV2(ctx, in, s.as)
		if err != nil {
			return nil, s.classify(ctx, "list", prefix, err)
		}
		for _, o := range out.Contents {
			infos = append(infos, Info{
				Key: aws.ToString(o.Key), Size: aws.ToInt64(o.Size), ETag: unquote(o.ETag), LastModified: aws.ToTime(o.LastModified),
			})
		}
		if !aws.ToBool(out.IsTruncated) || len(infos) >= limit || out.NextContinuationToken == nil {
			return infos, nil
		}
		in.ContinuationToken, in.StartAfter = out.NextContinuationToken, nil
	}
}

// Delete implements Store.
func (s *S3) Delete(ctx context.Context, key string) error {
	_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.bucket, Key: &key, ExpectedBucketOwner: s.owner}, s.as)
	if err != nil {
		return s.classify(ctx, "delete", key, err)
	}
	return nil
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func unquote(etag *string) string { return strings.Trim(aws.ToString(etag), `"`) }

func lowerKeys(m map[string]string) map[string]string {
	out := maps.Clone(m)
	for k, v := range m {
		if l := strings.ToLower(k); l != k {
			delete(out, k)
			out[l] = v
		}
	}
	return out
}

func clampList(limit int) int {
	if limit <= 0 || limit > 1000 {
		return 1000
	}
	return limit
}
