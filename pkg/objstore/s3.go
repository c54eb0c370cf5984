package objstore

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// S3Config says which bucket to open, where, and as whom.
type S3Config struct {
	// Bucket is the bucket's name. Required.
	Bucket string
	// Region is where the bucket is. Default: that of the AWS SDK, else us-east-1.
	Region string
	// Endpoint is the URL of a VPC endpoint or an S3-compatible server. Default: AWS's own endpoint
	// of the region.
	Endpoint string
	// PathStyle puts the bucket into the path instead of the host name. Most S3-compatible servers
	// need it.
	PathStyle bool
	// Credentials is called for every request, so it should cache. Default: DefaultCredentials.
	Credentials func(context.Context) (Credentials, error)
	// ExpectedOwner is the 12-digit account that must own the bucket
	// (x-amz-expected-bucket-owner on every request). Default: not checked.
	ExpectedOwner string
	// Section is the section of the configuration that names this bucket, such as "staging". It is
	// used in errors. Default: none, as for customers' buckets.
	Section string
	// HTTPClient sends the requests. Its redirect policy is not used, because no redirect is
	// followed. Its transport should have an ExpectContinueTimeout; otherwise a large body is sent
	// even if the store refuses it, or the refusal gets lost. Default: a client with its own
	// connections.
	HTTPClient *http.Client
	// UseFIPS and DualStack choose among AWS's own endpoints. Only used when Endpoint is empty.
	UseFIPS   bool
	DualStack bool
}

// S3 is a bucket of S3 or of a compatible server.
type S3 struct {
	bucket, owner    string
	region, endpoint string
	pathStyle        bool
	section          string
	credentials      func(context.Context) (Credentials, error)
	*wire            // shared by all buckets at the same place
}

var (
	_ Store  = (*S3)(nil)
	_ Reader = (*S3)(nil)
)

// NewS3 opens a bucket, without connecting.
func NewS3(cfg S3Config) *S3 {
	if cfg.Region == "" {
		cfg.Region = DefaultRegion(context.Background())
	}
	if cfg.Credentials == nil {
		cfg.Credentials = DefaultCredentials()
	}
	params := s3.EndpointParameters{Region: &cfg.Region, ForcePathStyle: &cfg.PathStyle}
	if cfg.Endpoint != "" {
		params.Endpoint = &cfg.Endpoint
	} else {
		params.UseFIPS, params.UseDualStack = &cfg.UseFIPS, &cfg.DualStack
	}
	s := &S3{region: cfg.Region, endpoint: cfg.Endpoint, pathStyle: cfg.PathStyle, section: cfg.Section, wire: newWire(cfg.HTTPClient, params)}
	return s.At(cfg.Bucket, cfg.ExpectedOwner, cfg.Credentials)
}

// At returns another bucket at the same place, with other credentials. It shares what is expensive
// to set up, and holds no memory of its own when it is no longer used. expectedOwner and
// credentials are as in S3Config, except that credentials are required.
func (s *S3) At(bucket, expectedOwner string, credentials func(context.Context) (Credentials, error)) *S3 {
	other := *s
	other.bucket, other.owner, other.credentials = bucket, expectedOwner, credentials
	return &other
}

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
		return Info{}, &Error{Op: "put", Bucket: s.bucket, Key: key, Kind: ErrBody, Err: err}
	}
	sent, release, err := sendableBody(body, size)
	if err != nil {
		return Info{}, &Error{Op: "put", Bucket: s.bucket, Key: key, Kind: ErrBody, Err: err}
	}
	r := &request{op: "put", method: http.MethodPut, key: key, header: putHeader(sum, opts), body: sent, size: size, sha256: hex.EncodeToString(sum[:])}
	answer, err := s.sendWithoutBody(ctx, r)
	// If the body could not be read, the store is not at fault, and cannot have stored the object.
	if broken := release(); broken != nil && errors.Is(err, ErrUnavailable) {
		return Info{}, s.requestError(ctx, r, ErrBody, broken)
	}
	if err != nil {
		return Info{}, err
	}
	return Info{
		Key: key, Size: size, ETag: etag(answer),
		ContentType: opts.ContentType, ContentEncoding: opts.ContentEncoding, Metadata: lowerKeys(opts.Metadata),
		DataKey: strings.HasPrefix(answer.Get("X-Amz-Server-Side-Encryption"), "aws:kms") && answer.Get("X-Amz-Server-Side-Encryption-Bucket-Key-Enabled") != "true",
	}, nil
}

func putHeader(sum [32]byte, opts PutOptions) http.Header {
	h := make(http.Header, 16)
	h["X-Amz-Checksum-Sha256"] = []string{base64.StdEncoding.EncodeToString(sum[:])}
	h["Content-Type"] = []string{cmp.Or(opts.ContentType, "application/octet-stream")}
	for name, value := range map[string]string{
		"Content-Encoding": opts.ContentEncoding, "X-Amz-Server-Side-Encryption": opts.ServerSideEncryption, "X-Amz-Acl": opts.ACL,
	} {
		if value != "" {
			h[name] = []string{value}
		}
	}
	if opts.IfAbsent {
		h["If-None-Match"] = []string{"*"}
	}
	for name, value := range opts.Metadata {
		h.Set(metadataPrefix+name, value)
	}
	return h
}

// Get implements Store.
func (s *S3) Get(ctx context.Context, key string) (io.ReadCloser, Info, error) {
	r := &request{op: "get", method: http.MethodGet, key: key, header: http.Header{"X-Amz-Checksum-Mode": {"ENABLED"}}}
	answer, err := s.send(ctx, r)
	if err != nil {
		return nil, Info{}, err
	}
	return s.reader(ctx, r, answer, true), describe(key, answer), nil
}

// Head implements Store. It is one request, or two if the answer "no such object" may not come from
// the store.
func (s *S3) Head(ctx context.Context, key string) (Info, error) {
	r := &request{op: "head", method: http.MethodHead, key: key, header: http.Header{}}
	answer, err := s.send(ctx, r)
	var e *Error
	if errors.As(err, &e) && e.Status == http.StatusNotFound && errors.Is(e.Kind, ErrUnavailable) {
		body, missing := s.GetRange(ctx, key, 0, 1)
		if missing != nil {
			return Info{}, missing
		}
		_ = body.Close()
	}
	if err != nil {
		return Info{}, err
	}
	_ = answer.Body.Close()
	if answer.ContentLength < 0 {
		return Info{}, s.badAnswerError(ctx, r, answer, errors.New("the answer does not state the object's size"))
	}
	return describe(key, answer), nil
}

// Delete implements Store.
func (s *S3) Delete(ctx context.Context, key string) error {
	_, err := s.sendWithoutBody(ctx, &request{op: "delete", method: http.MethodDelete, key: key, header: http.Header{}})
	if errors.Is(err, ErrNotFound) { // some stores say so; S3 does not
		return nil
	}
	return err
}

// sendWithoutBody makes a request and returns the header of its answer, which is accepted only if
// it looks like S3's.
func (s *S3) sendWithoutBody(ctx context.Context, r *request) (http.Header, error) {
	answer, err := s.send(ctx, r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.ContentLength != 0 {
		document, size, err := parseError(answer)
		if err == nil { // S3 sends the 200 of some answers before it knows the outcome
			return nil, s.answerError(ctx, r, answer, http.StatusInternalServerError, document)
		}
		if size > 0 || !errors.Is(err, io.EOF) {
			return nil, s.badAnswerError(ctx, r, answer, fmt.Errorf("the answer is neither empty nor an error of S3: %s", clip(err.Error(), maxMessageBytes)))
		}
	}
	// A proxy's page also has status 200.
	if tag := etag(answer.Header); r.method == http.MethodPut && (tag == "" || len(tag) > maxETagBytes) {
		return nil, s.badAnswerError(ctx, r, answer, errors.New("the answer has no ETag, as S3's have"))
	}
	return answer.Header, nil
}

// maxETagBytes limits ETags, which go into receipts. S3's are 32 hexadecimal digits and the number
// of parts; other servers may send anything.
const maxETagBytes = 1_000

const metadataPrefix = "X-Amz-Meta-"

// describe returns what the answer to a GET or HEAD says about the object.
func describe(key string, answer *http.Response) Info {
	h := answer.Header
	info := Info{Key: key, Size: answer.ContentLength, ETag: etag(h), ContentType: h.Get("Content-Type"), ContentEncoding: h.Get("Content-Encoding")}
	info.LastModified, _ = http.ParseTime(h.Get("Last-Modified"))
	info.KeyedETag = strings.HasPrefix(h.Get("X-Amz-Server-Side-Encryption"), "aws:kms") || // also :dsse
		h.Get("X-Amz-Server-Side-Encryption-Customer-Algorithm") != ""
	for name, values := range h {
		if strings.HasPrefix(name, metadataPrefix) {
			if info.Metadata == nil {
				info.Metadata = map[string]string{}
			}
			info.Metadata[strings.ToLower(name[len(metadataPrefix):])] = values[0]
		}
	}
	return info
}

func etag(h http.Header) string { return plain(strings.Trim(h.Get("Etag"), `"`)) }

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
