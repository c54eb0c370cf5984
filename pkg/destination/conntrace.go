package destination

import (
	"context"
	"crypto/tls"
	"net/http/httptrace"
	"strings"
	"sync"
)

// connTrace is what was observed of the connection that a request used.
type connTrace struct {
	mu      sync.Mutex // guards all below
	host    string     // the host that was looked up
	address string     // the address that was connected to
	tls     string     // TLS version; "" for plain HTTP
}

// trace returns a context whose requests are observed.
func (w *connTrace) trace(ctx context.Context) context.Context {
	set := func(field *string, value string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		*field = value
	}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(hostPort string) { set(&w.host, hostPort) },
		GotConn: func(info httptrace.GotConnInfo) {
			set(&w.address, info.Conn.RemoteAddr().String())
			if c, ok := info.Conn.(*tls.Conn); ok {
				set(&w.tls, tls.VersionName(c.ConnectionState().Version))
			}
		},
	})
}

func (w *connTrace) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	parts := []string{w.host}
	if w.address != w.host {
		parts = append(parts, "at "+w.address)
	}
	if w.tls != "" {
		parts = append(parts, "by "+w.tls)
	}
	return strings.Join(parts, " ")
}
