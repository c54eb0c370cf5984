package lease

import (
	"crypto/tls"
	"log/slog"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/certs"
	"github.com/sealift/sealift/pkg/certs/certtest"
)

// A Redis that grants no leases says why. The advice for a full one is one with which it does not
// evict leases.
func TestRedisWithoutLeases(t *testing.T) {
	m := miniredis.RunT(t)
	client, err := Open("redis://"+m.Addr(), nil)
	require.NoError(t, err)
	defer client.Close()
	for answer, advice := range map[string]string{
		"OOM command not allowed when used memory > 'maxmemory'.": "maxmemory-policy volatile-lru",
		"MOVED 3999 127.0.0.1:6381":                               "cluster mode disabled",
		"CROSSSLOT Keys in request don't hash to the same slot":   "cluster mode disabled",
	} {
		m.SetError(answer)
		err = client.Ping(t.Context())
		require.ErrorIs(t, err, ErrUnavailable)
		require.ErrorContains(t, err, advice)
	}
}

// A node of a cluster may hold the key of the first command. The next names two keys.
func TestClusterNodeIsRecognized(t *testing.T) {
	m := miniredis.RunT(t)
	client, err := Open("redis://"+m.Addr(), nil)
	require.NoError(t, err)
	defer client.Close()
	m.Server().SetPreHook(func(c *server.Peer, command string, args ...string) bool {
		if command != "EXISTS" || len(args) < 2 {
			return false
		}
		c.WriteError("CROSSSLOT Keys in request don't hash to the same slot")
		return true
	})
	require.ErrorContains(t, client.Ping(t.Context()), "not a cluster")
}

// If Redis refuses, the error names the key to change, and does not contain the password.
func TestRefusalsNameTheKey(t *testing.T) {
	ca := certtest.NewCA(t, "ours")
	server := ca.Issue("server", nil)
	pair, err := tls.LoadX509KeyPair(server.Cert, server.Key)
	require.NoError(t, err)
	secured, open := miniredis.NewMiniRedis(), miniredis.RunT(t)
	require.NoError(t, secured.StartTLS(&tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}))
	t.Cleanup(secured.Close)
	for _, m := range []*miniredis.Miniredis{secured, open} {
		m.RequireUserAuth("sealift", "hunter2")
	}
	trusted, err := certs.Files{Section: "redis.tls", CA: ca.File}.TLS(slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	for name, c := range map[string]struct {
		url    string
		secure *tls.Config
		want   string // "": no error
	}{
		"plain":             {"redis://sealift:hunter2@" + open.Addr(), nil, ""},
		"wrong_password":    {"redis://sealift:hunter3@" + open.Addr(), nil, "redis.url"},
		"no_password":       {"redis://" + open.Addr(), nil, "set it in redis.url"},
		"tls_by_key":        {"redis://sealift:hunter2@" + secured.Addr(), trusted, ""},
		"tls_by_url":        {"rediss://sealift:hunter2@" + secured.Addr(), trusted, ""},
		"unknown_authority": {"rediss://sealift:hunter2@" + secured.Addr(), nil, "set redis.tls.ca_file to"},
		"plain_against_tls": {"redis://sealift:hunter2@" + secured.Addr(), nil, "redis.tls.enabled"},
	} {
		t.Run(name, func(t *testing.T) {
			client, err := Open(c.url, c.secure)
			require.NoError(t, err)
			defer client.Close()
			if err = client.Ping(t.Context()); c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, ErrUnavailable)
			require.ErrorContains(t, err, c.want)
			require.NotContains(t, err.Error(), "hunter")
		})
	}
}
