package objstore

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/encoding/httpbinding"

	"github.com/sealift/sealift/pkg/transport"
)

const (
	// expectContinueBytes is the size from which the store is asked first whether it will accept
	// the body, as in the SDK.
	expectContinueBytes = 2 << 20 // 2 MiB
	// maxAnswerBytes limits what is read of an answer that is not an object.
	maxAnswerBytes = 16 << 20 // 16 MiB: a page of 1,000 keys of 1 kB, escaped
	// minSkew is how wrong our clock may be before requests are dated by the store's clock. S3
	// refuses requests that are off by 15 minutes.
	minSkew = time.Minute

	emptySHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

// wire makes the requests for all buckets at one place. The SDK finds credentials and endpoints and
// signs. Its client is not used: it takes three times as long for a request as all of that and
// net/http together, see DESIGN.md.
type wire struct {
	client    *http.Client
	signer    *v4.Signer
	endpoints *endpoints
	skew      atomic.Int64 // ns added to our clock when dating requests; 0 if less than minSkew
}

func newWire(client *http.Client, p s3.EndpointParameters) *wire {
	if client == nil {
		client = NewHTTPClient(nil)
	}
	own := *client
	own.CheckRedirect = transport.NoRedirects
	return &wire{
		client: &own, endpoints: newEndpoints(p),
		signer: v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }), // the path is already escaped
	}
}

// request is one request. Its header belongs to it.
type request struct {
	op     string // for Error.Op
	method string
	key    string // "" only for listings
	query  url.Values
	header http.Header
	body   io.ReadCloser // nil for none
	size   int64
	sha256 string // of the body, in hex; "" for none
	// secrets are the secrets in the request as it was sent: the session token and the signature.
	// They are removed from whatever the server says.
	secrets []string
}

// errorKey returns the key that errors name.
func (r *request) errorKey() string {
	if r.op == "list" {
		return r.query.Get("prefix")
	}
	return r.key
}

// send makes one request and returns an answer with status 2xx, whose body the caller closes. Every
// error is an *Error.
func (s *S3) send(ctx context.Context, r *request) (*http.Response, error) {
	if r.key == "" && r.op != "list" { // a DELETE without a key would delete the bucket
		return nil, s.requestError(ctx, r, ErrInvalid, errors.New("the key is empty"))
	}
	to, err := s.endpoints.resolve(s.bucket)
	if err != nil {
		return nil, s.requestError(ctx, r, ErrInvalid, err)
	}
	c, err := s.credentials(ctx)
	if err != nil {
		return nil, s.requestError(ctx, r, credentialsKind(err), err)
	}
	if s.owner != "" {
		r.header["X-Amz-Expected-Bucket-Owner"] = []string{s.owner}
	}
	payload := r.sha256
	if payload == "" {
		payload = emptySHA256
	}
	r.header["X-Amz-Content-Sha256"] = []string{payload}
	skew := time.Duration(s.skew.Load())
	h := (&http.Request{
		Method: r.method, URL: to.url(r.key, r.query), Header: r.header, Body: r.body, ContentLength: r.size,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(ctx)
	err = s.signer.SignHTTP(ctx, aws.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey.Reveal(), SessionToken: c.SessionToken.Reveal()},
		h, payload, to.service, to.region, time.Now().Add(skew))
	if err != nil {
		return nil, s.requestError(ctx, r, ErrInvalid, err)
	}
	r.secrets = requestSecrets(h.Header)
	// These headers are not signed, because proxies change them.
	h.Header["User-Agent"] = []string{"sealift"}
	h.Header["Accept-Encoding"] = []string{"identity"} // bytes as stored
	if r.size >= expectContinueBytes {
		h.Header["Expect"] = []string{"100-continue"}
	}
	answer, err := s.client.Do(h)
	if err != nil {
		return nil, s.requestError(ctx, r, unsentKind(err), err)
	}
	for _, values := range answer.Header { // for example an ETag, which receipts keep
		for i, v := range values {
			values[i] = r.redact(v)
		}
	}
	if answer.StatusCode/100 == 2 {
		return answer, nil
	}
	defer answer.Body.Close()
	document, _, _ := parseError(answer)
	if isSkewCode(document.Code) || r.method == http.MethodHead && answer.StatusCode == http.StatusForbidden { // answers to HEAD do not say why
		s.updateSkew(answer.Header, skew)
	}
	old := isExpiredCode(document.Code) || r.method == http.MethodHead && answer.StatusCode == http.StatusBadRequest
	if old && c.chain != nil {
		c.chain.markExpired(c.AccessKeyID)
	}
	return nil, s.answerError(ctx, r, answer, answer.StatusCode, document)
}

// updateSkew compares clocks after the store refused a request that was dated with the skew
// refused, so that a wrong clock costs one request. Other answers are ignored: their dates may be a
// proxy's.
func (w *wire) updateSkew(h http.Header, refused time.Duration) {
	serverTime, err := http.ParseTime(h.Get("Date"))
	if err != nil || h.Get("Age") != "" { // dated by a cache
		return
	}
	skew := time.Until(serverTime)
	if skew.Abs() < minSkew || (skew-refused).Abs() < minSkew { // the request was dated as the answer is: that is not the store's clock
		skew = 0
	}
	w.skew.Store(int64(skew))
}

// url returns the object's URL, escaped as for signing: S3 expects all bytes of a key to be escaped
// once, except unreserved characters and slashes.
func (e *endpoint) url(key string, query url.Values) *url.URL {
	u := &url.URL{Scheme: e.Scheme, Host: e.Host, Path: e.Path, RawPath: e.RawPath, RawQuery: query.Encode()}
	switch {
	case key != "":
		u.Path, u.RawPath = e.Path+"/"+key, e.RawPath+"/"+httpbinding.EscapePath(key, false)
	case u.Path == "":
		u.Path = "/"
	}
	return u
}

// NewHTTPClient returns a client like NewS3's default, for buckets that share connections. It
// trusts servers signed by roots (nil: the system's) and follows no redirect.
func NewHTTPClient(roots *x509.CertPool) *http.Client {
	return &http.Client{CheckRedirect: transport.NoRedirects, Transport: transport.New(roots)}
}
