// Package transport holds how Sealift connects to HTTP servers of S3 and STS:
// the limits of connections and of waiting for answers.
//
// It is for pkg/objstore, and for pkg/netguard, which guards the same towards
// endpoints that customers chose. It promises that nothing waits without end
// for a server that is silent, and that bytes come as they are stored. How long
// a body may take is its caller's matter, and so is whether an address may be
// connected to.
package transport

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"time"
)

// New returns a transport of its own connections, through the environment's
// proxy if there is one. It trusts servers that roots have signed for, nil: the
// system's, by TLS 1.2 or newer.
func New(roots *x509.CertPool) *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           Dialer().DialContext,
		TLSClientConfig:       &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(mostSessions)},
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: time.Second,
		ResponseHeaderTimeout: time.Minute, // counts from the end of the body
		IdleConnTimeout:       30 * time.Second,
		MaxIdleConns:          128,
		MaxIdleConnsPerHost:   64,
		// S3's have some KiB; Go's bound is 10 MB, and the server may be anybody's.
		MaxResponseHeaderBytes: 64 << 10,

		ReadBufferSize:     32 << 10, // 32 KiB: a small file, with its headers, in one system call
		WriteBufferSize:    32 << 10,
		DisableCompression: true, // bytes as stored
	}
}

// mostSessions are kept, of a server each, so that a new connection takes no full
// handshake. At AWS each bucket is a server, and files for one come minutes apart,
// when connections have long been closed. A session has some 2 KB.
const mostSessions = 10_000

// Dialer returns what New connects by.
func Dialer() *net.Dialer { return &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second} }

// Stay is a client's CheckRedirect that follows none: the answer is handed to the
// caller. A signed request must not be carried elsewhere, S3's 301 and 307 name
// the bucket's region, and a guarded endpoint must not lead to another.
func Stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
