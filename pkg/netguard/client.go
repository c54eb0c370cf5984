package netguard

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"

	"github.com/sealift/sealift/pkg/transport"
)

// checkDial judges the address that a socket is about to connect to. As a net.Dialer's Control it
// is called after name resolution, for every address that is tried. So a name that changes its
// address between check and connection gains nothing.
func (a Allowed) checkDial(network, address string, byName bool) error {
	switch network {
	case "tcp", "tcp4", "tcp6":
	default:
		return refuse("endpoint network %q: only TCP is used", network)
	}
	target, err := netip.ParseAddrPort(address)
	if err != nil {
		return refuse("endpoint address %q: not an address", address)
	}
	return a.checkAddress(target, byName)
}

func (a Allowed) client(resolver *net.Resolver, roots *x509.CertPool) *http.Client {
	dialer := func(byName bool) *net.Dialer {
		d := transport.Dialer()
		d.Resolver = resolver
		d.Control = func(network, address string, _ syscall.RawConn) error {
			return a.checkDial(network, address, byName)
		}
		return d
	}
	strict, listed := dialer(false), dialer(true)
	t := transport.New(roots)
	t.Proxy = nil // a proxy would connect for us, without judging
	// Fewer than usual: a session contains the server's certificates, which may be as large as the
	// server likes.
	t.TLSClientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(256)
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, fmt.Errorf("dial endpoint %q: %w", address, err)
		}
		if a.isListedName(host, port) {
			return listed.DialContext(ctx, network, address)
		}
		return strict.DialContext(ctx, network, address)
	}
	return &http.Client{Transport: &guardedTransport{allowed: a, next: t}, CheckRedirect: transport.NoRedirects}
}

// guardedTransport judges the URL of every request before connecting.
type guardedTransport struct {
	allowed Allowed
	next    *http.Transport
}

func (g *guardedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := g.allowed.checkURL(r.URL); err != nil {
		if r.Body != nil {
			_ = r.Body.Close() // a RoundTripper has to close the body even on errors
		}
		return nil, err
	}
	return g.next.RoundTrip(r)
}

// CloseIdleConnections makes http.Client.CloseIdleConnections work.
func (g *guardedTransport) CloseIdleConnections() { g.next.CloseIdleConnections() }
