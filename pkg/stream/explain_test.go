package stream_test

import (
	"crypto/tls"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/sealift/sealift/pkg/certs"
	"github.com/sealift/sealift/pkg/certs/certtest"
	"github.com/sealift/sealift/pkg/secret"
	"github.com/sealift/sealift/pkg/stream"
)

// What brokers refuse is told with the key to change.
func TestRefusalsNameTheKey(t *testing.T) {
	ca := certtest.NewCA(t, "ours")
	server := ca.Issue("server", nil)
	pair, err := tls.LoadX509KeyPair(server.Cert, server.Key)
	require.NoError(t, err)
	trusted, err := certs.Files{Section: "kafka.tls", CA: ca.File}.TLS(slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	cluster := func(opts ...kfake.Opt) []string {
		c, err := kfake.NewCluster(append(opts, kfake.NumBrokers(1))...)
		require.NoError(t, err)
		t.Cleanup(c.Close)
		return c.ListenAddrs()
	}
	both := cluster(kfake.TLS(&tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}), kfake.EnableSASL(),
		kfake.Superuser("PLAIN", "plain", "hunter2"), kfake.Superuser("SCRAM-SHA-256", "s256", "hunter2"), kfake.Superuser("SCRAM-SHA-512", "s512", "hunter2"))
	open := cluster()
	for name, c := range map[string]struct {
		brokers []string
		tls     *tls.Config
		sasl    stream.SASL
		want    string // "": it answers
	}{
		"open":              {open, nil, stream.SASL{}, ""},
		"plain":             {both, trusted, stream.SASL{Mechanism: "plain", Username: "plain", Password: secret.New("hunter2")}, ""},
		"scram_256":         {both, trusted, stream.SASL{Mechanism: "scram-sha-256", Username: "s256", Password: secret.New("hunter2")}, ""},
		"scram_512":         {both, trusted, stream.SASL{Mechanism: "scram-sha-512", Username: "s512", Password: secret.New("hunter2")}, ""},
		"wrong_password":    {both, trusted, stream.SASL{Mechanism: "plain", Username: "plain", Password: secret.New("hunter3")}, "kafka.sasl.password"},
		"unknown_authority": {both, &tls.Config{MinVersion: tls.VersionTLS12}, stream.SASL{}, "kafka.tls.ca_file has to name"},
		"plain_against_tls": {both, nil, stream.SASL{}, "kafka.tls.enabled"},
	} {
		t.Run(name, func(t *testing.T) {
			client, err := stream.Open(stream.Config{Brokers: c.brokers, TLS: c.tls, SASL: c.sasl}, slog.New(slog.DiscardHandler))
			require.NoError(t, err)
			defer client.Close()
			if err = client.Ping(t.Context()); c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.want)
			require.NotContains(t, err.Error(), "hunter")
		})
	}
}
