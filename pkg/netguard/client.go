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

// control judges the address that a socket is about to be connected to. It is
// a net.Dialer's Control, called after the name was looked up, once for every
// address that is tried, so a name that changes its address between a check
// and the connection gains nothing.
func (a Allowed) control(network, address string, byName bool) error {
	switch network {
	case "tcp", "tcp4", "tcp6":
	default:
		return refuse("endpoint network %q: only TCP is used", network)
	}
	target, err := netip.ParseAddrPort(address)
	if err != nil {
		return refuse("endpoint address %q: not an address", address)
	}
	return a.connect(target, byName)
}

// mostSessions of TLS are kept for new connections.
const mostSessions = 256

func (a Allowed) client(resolver *net.Resolver, roots *x509.CertPool) *http.Client {
	dialer := func(byName bool) *net.Dialer {
		d := transport.Dialer()
		d.Resolver = resolver
		d.Control = func(network, address string, _ syscall.RawConn) error {
			return a.control(network, address, byName)
		}
		return d
	}
	strict, listed := dialer(false), dialer(true)
	t := transport.New(roots)
	t.Proxy = nil // a proxy would connect for us, unjudged
	// A session holds the server's certificates, which are as large as it likes.
	t.TLSClientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(mostSessions)
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, fmt.Errorf("dial endpoint %q: %w", address, err)
		}
		if a.name(host, port) {
			return listed.DialContext(ctx, network, address)
		}
		return strict.DialContext(ctx, network, address)
	}
	return &http.Client{Transport: &guarded{allowed: a, next: t}, CheckRedirect: transport.Stay}
}

// guarded judges the URL of every request before it is dialled.
type guarded struct {
	allowed Allowed
	next    *http.Transport
}

func (g *guarded) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := g.allowed.target(r.URL); err != nil {
		if r.Body != nil {
			_ = r.Body.Close() // a RoundTripper closes it also on errors
		}
		return nil, err
	}
	return g.next.RoundTrip(r)
}

// CloseIdleConnections lets http.Client.CloseIdleConnections work.
func (g *guarded) CloseIdleConnections() { g.next.CloseIdleConnections() }
