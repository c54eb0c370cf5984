package certs_test

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/certs"
	"github.com/sealift/sealift/pkg/certs/certtest"
)

func TestFilesNameKeyAndPath(t *testing.T) {
	ca := certtest.NewCA(t, "ours")
	pair, other := ca.Issue("client", nil), ca.Issue("other", nil)
	file := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	der := file("ca.der", "\x30\x82")
	broken := file("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
	locked := file("locked.pem", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")
	for name, c := range map[string]struct {
		files certs.Files
		want  []string // nil: no error
	}{
		"all":           {certs.Files{CA: ca.File, Cert: pair.Cert, Key: pair.Key}, nil},
		"none":          {certs.Files{}, nil},
		"ca_missing":    {certs.Files{CA: "/nonexistent"}, []string{"kafka.tls.ca_file", "/nonexistent", "no such file"}},
		"ca_directory":  {certs.Files{CA: t.TempDir()}, []string{"kafka.tls.ca_file", "is a directory"}},
		"ca_not_pem":    {certs.Files{CA: der}, []string{"kafka.tls.ca_file", der, "it holds no PEM"}},
		"ca_is_a_key":   {certs.Files{CA: pair.Key}, []string{"kafka.tls.ca_file", pair.Key, "it holds a PEM PRIVATE KEY, not a CERTIFICATE"}},
		"ca_broken":     {certs.Files{CA: broken}, []string{"kafka.tls.ca_file", broken, "is broken"}},
		"key_missing":   {certs.Files{Cert: pair.Cert, Key: "/nonexistent"}, []string{"kafka.tls.key_file", "/nonexistent"}},
		"key_is_a_cert": {certs.Files{Cert: pair.Cert, Key: pair.Cert}, []string{"kafka.tls.key_file", pair.Cert, "it holds a PEM CERTIFICATE, not a PRIVATE KEY"}},
		"key_encrypted": {certs.Files{Cert: pair.Cert, Key: locked}, []string{"kafka.tls.key_file", locked, "without a passphrase"}},
		"another's_key": {certs.Files{Cert: pair.Cert, Key: other.Key}, []string{"kafka.tls.cert_file", pair.Cert, "kafka.tls.key_file", other.Key, "private key does not match public key"}},
		"all_missing":   {certs.Files{CA: "/a", Cert: "/b", Key: "/c"}, []string{"ca_file: open /a", "cert_file: open /b", "key_file: open /c"}},
	} {
		t.Run(name, func(t *testing.T) {
			c.files.Section = "kafka.tls"
			got, err := c.files.TLS(slog.New(slog.DiscardHandler))
			if c.want == nil {
				require.NoError(t, err)
				require.Equal(t, c.files.CA == "", got.RootCAs == nil)
				return
			}
			require.Error(t, err)
			for _, w := range c.want {
				require.ErrorContains(t, err, w)
			}
		})
	}
}

// keys are the keys that explanations name.
var keys = certs.Keys{CA: "x.ca_file", Cert: "x.cert_file", Address: "x.address", Enable: "x.enabled"}

// Every handshake that fails is explained by what to change.
func TestHandshakesThatFailAreExplained(t *testing.T) {
	ca, stranger := certtest.NewCA(t, "ours"), certtest.NewCA(t, "a stranger's")
	ours, theirs := ca.Issue("client", nil), stranger.Issue("client", nil)
	expired := func(c *x509.Certificate) { c.NotBefore, c.NotAfter = days(-3), days(-2) }
	for name, c := range map[string]struct {
		server  func(*x509.Certificate) // changes its certificate
		plain   bool                    // it speaks http
		clients bool                    // it requires client certificates
		oldest  uint16                  // the oldest TLS version that it accepts
		files   certs.Files
		keys    *certs.Keys // if other than keys
		want    string      // in the error; "": no error
	}{
		"trusted":            {files: certs.Files{CA: ca.File}},
		"unverified":         {files: certs.Files{Insecure: true}},
		"unknown_authority":  {want: "set x.ca_file to a PEM file with its CA certificate"},
		"another_authority":  {files: certs.Files{CA: stranger.File}, want: "set x.ca_file to a PEM file with its CA certificate"},
		"wrong_host":         {files: certs.Files{CA: ca.File}, server: func(c *x509.Certificate) { c.IPAddresses = nil }, want: "for other names: use one of them in x.address"},
		"expired":            {files: certs.Files{CA: ca.File}, server: expired, want: "x.address expired on " + days(-2).Format("2006-01-02")},
		"not_yet":            {files: certs.Files{CA: ca.File}, server: func(c *x509.Certificate) { c.NotBefore, c.NotAfter = days(2), days(3) }, want: "x.address is valid from " + days(2).Format("2006-01-02") + " only"},
		"not_for_servers":    {files: certs.Files{CA: ca.File}, server: func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }, want: "have it reissued, for servers"},
		"plain_server":       {plain: true, want: "x.address does not speak TLS: correct the port, or turn x.enabled off"},
		"mutual":             {files: certs.Files{CA: ca.File, Cert: ours.Cert, Key: ours.Key}, clients: true},
		"no_client_cert":     {files: certs.Files{CA: ca.File}, clients: true, want: "set x.cert_file to one that is valid and signed by its authority, and x.key_file to its key"},
		"stranger_cert":      {files: certs.Files{CA: ca.File, Cert: theirs.Cert, Key: theirs.Key}, clients: true, want: "set x.cert_file to one"},
		"no_setting_for_one": {files: certs.Files{CA: ca.File}, clients: true, keys: &certs.Keys{Address: "x.endpoint"}, want: "x.endpoint requires a client certificate, for which there is no setting"},
		"newer_tls":          {files: certs.Files{CA: ca.File}, oldest: tls.VersionTLS13, want: "rejects this TLS: it may require another version"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewUnstartedServer(http.NotFoundHandler())
			server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
			defer server.Close()
			if c.plain {
				server.Start()
			} else {
				pair := ca.Issue("server", c.server)
				own, err := tls.LoadX509KeyPair(pair.Cert, pair.Key)
				require.NoError(t, err)
				roots, err := certs.Roots("", ca.File)
				require.NoError(t, err)
				server.TLS = &tls.Config{Certificates: []tls.Certificate{own}, ClientCAs: roots, MinVersion: max(c.oldest, tls.VersionTLS12)}
				if c.clients {
					server.TLS.ClientAuth = tls.RequireAndVerifyClientCert
				}
				server.StartTLS()
			}
			c.files.Section = "x"
			settings, err := c.files.TLS(slog.New(slog.DiscardHandler))
			require.NoError(t, err)
			if c.oldest != 0 {
				settings.MaxVersion = tls.VersionTLS12
			}
			if c.keys == nil {
				c.keys = &keys
			}
			transport := certs.ExplainingTransport(&http.Transport{TLSClientConfig: settings}, *c.keys)
			client := &http.Client{Transport: transport}
			defer client.CloseIdleConnections()
			res, err := client.Get("https://" + server.Listener.Addr().String())
			if c.want == "" {
				require.NoError(t, err)
				require.NoError(t, res.Body.Close())
				return
			}
			require.ErrorContains(t, err, c.want)
		})
	}
}

// An unreachable server is not explained as a failed handshake.
func TestOtherErrorsAreLeftAlone(t *testing.T) {
	_, err := net.Dial("tcp", "127.0.0.1:1")
	require.Error(t, err)
	require.Empty(t, certs.Explain(err, keys))
}

func days(n int) time.Time { return time.Now().UTC().Add(time.Duration(n) * 24 * time.Hour) }

// Beside adds authorities to the system's or the base's, and does not change the base.
func TestExtendRoots(t *testing.T) {
	one, two := certtest.NewCA(t, "one"), certtest.NewCA(t, "two")
	base, err := certs.Roots("", one.File)
	require.NoError(t, err)
	before := base.Clone()
	both, err := certs.ExtendRoots(base, "destinations.ca_file", two.File)
	require.NoError(t, err)
	require.True(t, base.Equal(before))
	require.False(t, both.Equal(base))
	want, err := certs.ExtendRoots(nil, "", "")
	require.NoError(t, err)
	require.Nil(t, want, "the system's")
	system, err := x509.SystemCertPool()
	require.NoError(t, err)
	with, err := certs.ExtendRoots(nil, "", one.File)
	require.NoError(t, err)
	require.False(t, with.Equal(system))
	require.False(t, with.Equal(base) && !system.Equal(x509.NewCertPool()))
	_, err = certs.ExtendRoots(base, "destinations.ca_file", "/nonexistent")
	require.ErrorContains(t, err, "destinations.ca_file: open /nonexistent")
}

func TestBundle(t *testing.T) {
	ca := certtest.NewCA(t, "a proxy's")
	t.Setenv(certs.BundleEnv, "")
	none, err := certs.Bundle()
	require.NoError(t, err)
	require.Nil(t, none)
	t.Setenv(certs.BundleEnv, ca.File)
	want, err := certs.Roots("", ca.File)
	require.NoError(t, err)
	got, err := certs.Bundle()
	require.NoError(t, err)
	require.True(t, got.Equal(want))
	t.Setenv(certs.BundleEnv, "/nonexistent")
	_, err = certs.Bundle()
	require.ErrorContains(t, err, "AWS_CA_BUNDLE: open /nonexistent")
}
