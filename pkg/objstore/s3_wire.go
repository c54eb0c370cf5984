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
	// expectFrom is the size of a body from which on the store is asked first
	// whether it will take it, as the SDK does.
	expectFrom = 2 << 20 // 2 MiB
	// mostOfAnAnswer bounds what is read of an answer that is no object.
	mostOfAnAnswer = 16 << 20 // 16 MiB: a page of 1,000 keys of 1 kB, escaped
	// mostSkew is how wrong our clock may be before requests are dated by the
	// store's. S3 refuses those that are off by 15 minutes.
	mostSkew = time.Minute

	emptySHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

// wire is what the buckets at one place share: it makes their requests. The SDK
// finds credentials and endpoints and signs; its client, which spends three
// times as much on a request as all that and net/http, is not used: DESIGN.md.
type wire struct {
	client    *http.Client
	signer    *v4.Signer
	endpoints *endpoints
	skew      atomic.Int64 // ns that requests are dated ahead of our clock, 0 if it would be less than mostSkew
}

func newWire(client *http.Client, p s3.EndpointParameters) *wire {
	if client == nil {
		client = NewHTTPClient(nil)
	}
	own := *client
	own.CheckRedirect = transport.Stay
	return &wire{
		client: &own, endpoints: newEndpoints(p),
		signer: v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }), // the path is escaped once
	}
}

// request is one request. Its header belongs to it.
type request struct {
	op     string // of Error
	method string
	key    string // "" for listings alone
	query  url.Values
	header http.Header
	body   io.ReadCloser // nil for none
	size   int64
	sha256 string // of the body, in hex; "" for none
	// proofs are what proves who asks, as it was sent: the session token and the
	// signature. Nothing that the server says shows them.
	proofs []string
}

// about is the key that an error names.
func (r *request) about() string {
	if r.op == "list" {
		return r.query.Get("prefix")
	}
	return r.key
}

// send makes one request and returns an answer of 2xx, whose body its caller
// closes. Every error is an *Error.
func (s *S3) send(ctx context.Context, r *request) (*http.Response, error) {
	if r.key == "" && r.op != "list" { // it would be the bucket that is deleted
		return nil, s.failed(ctx, r, ErrInvalid, errors.New("the key is empty"))
	}
	to, err := s.endpoints.of(s.bucket)
	if err != nil {
		return nil, s.failed(ctx, r, ErrInvalid, err)
	}
	c, err := s.credentials(ctx)
	if err != nil {
		return nil, s.failed(ctx, r, credentialsKind(err), err)
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
		return nil, s.failed(ctx, r, ErrInvalid, err)
	}
	r.proofs = proofs(h.Header)
	// Not signed: proxies change them.
	h.Header["User-Agent"] = []string{"sealift"}
	h.Header["Accept-Encoding"] = []string{"identity"} // bytes as stored
	if r.size >= expectFrom {
		h.Header["Expect"] = []string{"100-continue"}
	}
	answer, err := s.client.Do(h)
	if err != nil {
		return nil, s.failed(ctx, r, unsentKind(err), err)
	}
	for _, values := range answer.Header { // receipts keep what an ETag says
		for i, v := range values {
			values[i] = r.conceal(v)
		}
	}
	if answer.StatusCode/100 == 2 {
		return answer, nil
	}
	defer answer.Body.Close()
	document, _, _ := parseError(answer)
	if skewed(document.Code) || r.method == http.MethodHead && answer.StatusCode == http.StatusForbidden { // answers to HEAD do not say why
		s.observe(answer.Header, skew)
	}
	old := outlived(document.Code) || r.method == http.MethodHead && answer.StatusCode == http.StatusBadRequest
	if old && c.from != nil {
		c.from.expired(c.AccessKeyID)
	}
	return nil, s.refused(ctx, r, answer, answer.StatusCode, document)
}

// observe compares clocks, so that one that is wrong costs one request, when a
// request was refused that was dated with the skew. Answers that take no offence
// say nothing: their dates may be a proxy's.
func (w *wire) observe(h http.Header, refused time.Duration) {
	theirs, err := http.ParseTime(h.Get("Date"))
	if err != nil || h.Get("Age") != "" { // a cache's
		return
	}
	skew := time.Until(theirs)
	if skew.Abs() < mostSkew || (skew-refused).Abs() < mostSkew { // it was what they say: they are not the store's clock
		skew = 0
	}
	w.skew.Store(int64(skew))
}

// url is where the object lies, escaped as it is signed: S3 wants a key's
// bytes escaped once, all but unreserved ones and slashes.
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

// NewHTTPClient returns a client as NewS3 makes one by default, for buckets
// that are to share their connections. It trusts servers that roots have signed
// for, nil: the system's, and follows no redirect.
func NewHTTPClient(roots *x509.CertPool) *http.Client {
	return &http.Client{CheckRedirect: transport.Stay, Transport: transport.New(roots)}
}
