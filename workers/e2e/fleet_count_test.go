package e2e

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// requests counts requests that pass through it to an S3 server, by operation and kind of object.
type requests struct {
	staging string // bucket
	mu      sync.Mutex
	counts  map[string]int64
}

// countRequests serves a counting proxy in front of the S3 server until the test ends.
func countRequests(t testing.TB, to, staging string) (*requests, string) {
	t.Helper()
	target, err := url.Parse(to)
	require.NoError(t, err)
	c := &requests{staging: staging, counts: map[string]int64{}}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 256
	proxy := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // the host is part of the signature
	}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.count(r)
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return c, server.URL
}

func (c *requests) count(r *http.Request) {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	op := strings.ToLower(r.Method)
	if r.Method == http.MethodGet && r.URL.Query().Has("list-type") {
		op, key = "list", r.URL.Query().Get("prefix")
	}
	kind := op + " object" // a customer's object
	if bucket == c.staging {
		folder, _, _ := strings.Cut(key, "/")
		if name, ok := map[string]string{"data": "staged", "ledger": "entry", "receipts": "receipt"}[folder]; ok {
			kind = op + " " + name
		} else {
			kind = op + " other"
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[kind]++
}

func (c *requests) all() map[string]int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.counts)
}
