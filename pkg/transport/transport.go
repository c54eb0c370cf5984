// Package transport defines how Sealift connects to the HTTP servers of S3 and STS: limits for
// connections and for waiting for answers.
//
// It is for pkg/objstore, for pkg/netguard, which guards connections to endpoints that customers
// chose, and for commands that somebody waits for. It promises that nothing waits forever for a silent server, and that bytes
// arrive as they are stored. How long a body may take, and whether an address may be connected to,
// is up to the caller.
package transport

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"time"
)

// New returns a transport with its own connections, through the environment's proxy if there is
// one. It trusts servers signed by roots (nil: the system's), with TLS 1.2 or newer.
func New(roots *x509.CertPool) *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		OnProxyConnectResponse: checkConnect,
		DialContext:            Dialer().DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(maxSessions)},
		TLSHandshakeTimeout:    10 * time.Second,
		ExpectContinueTimeout:  time.Second,
		ResponseHeaderTimeout:  time.Minute, // begins after the body was sent
		IdleConnTimeout:        30 * time.Second,
		MaxIdleConns:           128,
		MaxIdleConnsPerHost:    64,
		// S3 sends some KiB; Go's default is 10 MB, and the server may be anybody's.
		MaxResponseHeaderBytes: 64 << 10,

		ReadBufferSize:     32 << 10, // 32 KiB: a small file, with its headers, in one system call
		WriteBufferSize:    32 << 10,
		DisableCompression: true, // bytes as stored
	}
}

// maxSessions is how many TLS sessions are kept, one per server, so that a new connection needs no
// full handshake. With AWS each bucket is a server, and files for it come minutes apart, when the
// previous connection has long been closed. A session takes some 2 KB.
const maxSessions = 10_000

// Dialer returns the dialer that New uses.
func Dialer() *net.Dialer { return &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second} }

// NoRedirects is a client's CheckRedirect that follows no redirect: the caller gets the answer. A
// signed request must not go elsewhere, S3's 301 and 307 name the bucket's region, and a guarded
// endpoint must not lead to another one.
func NoRedirects(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
