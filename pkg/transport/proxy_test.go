package transport

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
)

// What the environment's proxy does wrong is told from what the server does, and no password of the
// proxy is shown.
func TestProxyFaults(t *testing.T) {
	answering := func(status int) func(*testing.T) string {
		return func(t *testing.T) string {
			proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
			t.Cleanup(proxy.Close)
			return proxy.Listener.Addr().String()
		}
	}
	away := func(t *testing.T) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		return l.Addr().String()
	}
	for hazard, c := range map[string]struct {
		proxy      func(*testing.T) string
		cause, fix string
	}{
		"away":           {away, "connection refused", "start the proxy"},
		"wants_password": {answering(http.StatusProxyAuthRequired), " does not connect to s3.example:443: 407 Proxy Authentication Required", "write user and password"},
		"forbids":        {answering(http.StatusForbidden), " does not connect to s3.example:443: 403 Forbidden", "let the proxy connect to s3.example:443"},
		"bad_gateway":    {answering(http.StatusBadGateway), "502 Bad Gateway", "NO_PROXY"},
	} {
		t.Run(hazard, func(t *testing.T) {
			transport := New(nil)
			transport.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: c.proxy(t), User: url.UserPassword("me", "hunter2")})
			defer transport.CloseIdleConnections()
			_, err := (&http.Client{Transport: transport}).Get("https://s3.example/")
			require.ErrorContains(t, err, c.cause)
			require.Contains(t, ProxyFix(err), c.fix)
			require.NotContains(t, err.Error()+ProxyFix(err), "hunter2")
		})
	}
	_, err := (&http.Client{Transport: New(nil)}).Get("http://" + away(t))
	require.ErrorContains(t, err, "connection refused")
	require.Empty(t, ProxyFix(err), "there is no proxy")
}
