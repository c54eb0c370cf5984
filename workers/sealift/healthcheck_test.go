package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHealthcheck(t *testing.T) {
	status := http.StatusOK
	admin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			http.NotFound(w, r)
			return
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte("kafka: away\n"))
	}))
	defer admin.Close()
	addr := strings.TrimPrefix(admin.URL, "http://")
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)

	require.NoError(t, healthcheck(t.Context(), addr))
	require.NoError(t, healthcheck(t.Context(), ":"+port), "all addresses")
	require.NoError(t, healthcheck(t.Context(), "0.0.0.0:"+port), "all addresses")

	status = http.StatusServiceUnavailable
	require.EqualError(t, healthcheck(t.Context(), addr), "not ready: kafka: away")

	// A configured proxy is not used: its answer would not be the process's. (Go does not use one
	// for loopback addresses anyway.)
	status = http.StatusOK
	c := exec.Command("sealift", "healthcheck", "--set", "admin.listen=255.255.255.255:"+port) // nobody listens there
	c.Env = append(os.Environ(), "HTTP_PROXY="+admin.URL)
	out, err := c.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "ask http://255.255.255.255:"+port+"/readyz")

	admin.Close()
	err = healthcheck(t.Context(), addr)
	require.ErrorContains(t, err, "ask http://"+addr+"/readyz: dial tcp ")
	require.ErrorContains(t, err, "is admin.listen here what it has?")
}
