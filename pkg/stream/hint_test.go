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

// Errors of brokers that refuse us name the key to change.
func TestConnectionErrorsNameTheConfigKey(t *testing.T) {
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
		want    string // "": it succeeds
	}{
		"open":              {open, nil, stream.SASL{}, ""},
		"plain":             {both, trusted, stream.SASL{Mechanism: "plain", Username: "plain", Password: secret.New("hunter2")}, ""},
		"scram_256":         {both, trusted, stream.SASL{Mechanism: "scram-sha-256", Username: "s256", Password: secret.New("hunter2")}, ""},
		"scram_512":         {both, trusted, stream.SASL{Mechanism: "scram-sha-512", Username: "s512", Password: secret.New("hunter2")}, ""},
		"wrong_password":    {both, trusted, stream.SASL{Mechanism: "plain", Username: "plain", Password: secret.New("hunter3")}, "kafka.sasl.password"},
		"unknown_authority": {both, &tls.Config{MinVersion: tls.VersionTLS12}, stream.SASL{}, "set kafka.tls.ca_file to"},
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
			require.NotContains(t, err.Error(), "kafka.(*", "error names a method of kafka-go")
		})
	}
}

// If brokers require authentication, Kafka's own tools need a file of connection settings.
func TestCommandsMentionConnectionSettings(t *testing.T) {
	const configure = " --alter --entity-type topics --entity-name t --add-config max.message.bytes=7"
	for name, c := range map[string]struct {
		cfg  stream.Config
		want string
	}{
		"open": {stream.Config{}, "kafka-configs.sh --bootstrap-server a:1,b:2" + configure},
		"tls":  {stream.Config{TLS: &tls.Config{MinVersion: tls.VersionTLS12}}, "kafka-configs.sh --bootstrap-server a:1,b:2 --command-config FILE" + configure},
		"sasl": {stream.Config{SASL: stream.SASL{Mechanism: "plain", Username: "u"}}, "kafka-configs.sh --bootstrap-server a:1,b:2 --command-config FILE" + configure},
	} {
		t.Run(name, func(t *testing.T) {
			c.cfg.Brokers = []string{"a:1", "b:2"}
			client, err := stream.Open(c.cfg, slog.New(slog.DiscardHandler))
			require.NoError(t, err)
			defer client.Close()
			require.Equal(t, c.want, client.RaiseMaxBytesCommand("t", 7))
		})
	}
}
