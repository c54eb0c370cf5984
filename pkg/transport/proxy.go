package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
)

// ProxyError says that the environment's proxy did not connect to a server.
type ProxyError struct {
	Proxy  string // host:port
	Server string // host:port
	Status int    // what the proxy answered
}

// Error implements error.
func (e *ProxyError) Error() string {
	return fmt.Sprintf("proxy %s does not connect to %s: %d %s", e.Proxy, e.Server, e.Status, http.StatusText(e.Status))
}

// checkConnect is the OnProxyConnectResponse of a transport. Without it the error is only the text
// of the status, which does not tell that it comes from a proxy.
func checkConnect(_ context.Context, proxy *url.URL, connect *http.Request, answer *http.Response) error {
	if answer.StatusCode == http.StatusOK {
		return nil
	}
	return &ProxyError{Proxy: proxy.Host, Server: connect.Host, Status: answer.StatusCode}
}

// ProxyFix returns what to change if err is the failure of the environment's proxy, rather than of
// the server behind it; otherwise "".
func ProxyFix(err error) string {
	const settings = "HTTPS_PROXY, or HTTP_PROXY for http"
	var refused *ProxyError
	var dial *net.OpError
	switch {
	case errors.As(err, &refused) && refused.Status == http.StatusProxyAuthRequired:
		return fmt.Sprintf("write user and password of the proxy in this process's environment (%s: http://USER:PASSWORD@%s)", settings, refused.Proxy)
	case errors.As(err, &refused):
		return fmt.Sprintf("let the proxy connect to %s, or name that host in NO_PROXY in this process's environment", refused.Server)
	case errors.As(err, &dial) && dial.Op == "proxyconnect": // how net/http wraps it
		return fmt.Sprintf("start the proxy that this process's environment names (%s), correct it, or name the host in NO_PROXY", settings)
	}
	return ""
}
