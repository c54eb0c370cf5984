package transport

import (
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

// A new connection resumes the TLS session: with thousands of buckets in turn, nearly every request
// is the first of its connection.
func TestAConnectionGoesOnWithTheSession(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		_, _ = io.WriteString(w, "x")
	}))
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	client := &http.Client{Transport: New(roots)}
	defer client.CloseIdleConnections()
	resumed := func() bool {
		answer, err := client.Get(server.URL)
		require.NoError(t, err)
		defer answer.Body.Close()
		_, err = io.Copy(io.Discard, answer.Body)
		require.NoError(t, err)
		return answer.TLS.DidResume
	}
	require.False(t, resumed())
	require.True(t, resumed())
}
