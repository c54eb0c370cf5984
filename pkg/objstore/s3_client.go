package objstore

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"time"
)

// NewHTTPClient returns a client as NewS3 makes one by default, for buckets
// that are to share their connections. It trusts servers that roots have signed
// for, nil: the system's, and follows no redirect.
func NewHTTPClient(roots *x509.CertPool) *http.Client {
	return &http.Client{CheckRedirect: stay, Transport: &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:       &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: time.Second,
		ResponseHeaderTimeout: time.Minute, // counts from the end of the body
		IdleConnTimeout:       30 * time.Second,
		MaxIdleConns:          128,
		MaxIdleConnsPerHost:   64,
		ReadBufferSize:        32 << 10, // 32 KiB: a small file, with its headers, in one system call
		WriteBufferSize:       32 << 10,
		DisableCompression:    true, // bytes as stored
	}}
}

func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// doer carries the SDK's requests.
type doer struct{ client *http.Client }

// newDoer hands redirects to its caller: a signed request must not be carried
// elsewhere, and S3's 301 and 307 name the bucket's region, which the caller
// wants to know.
func newDoer(c *http.Client) *doer {
	if c == nil {
		c = NewHTTPClient(nil)
	}
	own := *c
	own.CheckRedirect = stay
	return &doer{client: &own}
}

// Do implements the SDK's HTTPClient.
func (d *doer) Do(r *http.Request) (*http.Response, error) {
	// The SDK asks for 100 Continue before a body of 2 MiB and more, but its
	// requests are of protocol 0.0 (smithy-go's NewStackRequest), for which
	// net/http does not wait: it sends 100 MB to be told 412, and when the
	// store refuses and closes, the refusal is lost to "connection reset by
	// peer" (every second time on loopback) and a 403 looks like an outage.
	r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1.1", 1, 1
	return d.client.Do(r) //nolint:gosec // customers' endpoints come with netguard's client
}
