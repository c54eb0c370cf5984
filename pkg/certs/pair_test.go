package certs_test

import (
	"bytes"
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/certs"
	"github.com/sealift/sealift/pkg/certs/certtest"
)

// rotation is a client whose certificate files get replaced, and a server that returns the name in
// the client's certificate.
type rotation struct {
	t         *testing.T
	old, next certtest.Pair
	files     certs.Files // what the client is configured with
	log       bytes.Buffer
	settings  *tls.Config
	url       string
}

func newRotation(t *testing.T) *rotation {
	ca := certtest.NewCA(t, "ours")
	r := &rotation{t: t, old: ca.Issue("old", nil), next: ca.Issue("next", nil)}
	// Like a mounted Kubernetes Secret: the files are links through ..data, which is switched.
	dir := t.TempDir()
	r.files = certs.Files{Section: "kafka.tls", CA: ca.File, Cert: filepath.Join(dir, "tls.crt"), Key: filepath.Join(dir, "tls.key")}
	for version, pair := range map[string]certtest.Pair{"1": r.old, "2": r.next} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, version), 0o700))
		r.copy(pair.Cert, filepath.Join(dir, version, "tls.crt"))
		r.copy(pair.Key, filepath.Join(dir, version, "tls.key"))
	}
	require.NoError(t, os.Symlink("1", filepath.Join(dir, "..data")))
	require.NoError(t, os.Symlink("..data/tls.crt", r.files.Cert))
	require.NoError(t, os.Symlink("..data/tls.key", r.files.Key))

	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		_, _ = w.Write([]byte(q.TLS.PeerCertificates[0].Subject.CommonName))
	}))
	t.Cleanup(server.Close)
	own := ca.Issue("server", nil)
	pair, err := tls.LoadX509KeyPair(own.Cert, own.Key)
	require.NoError(t, err)
	roots, err := certs.Roots("", ca.File)
	require.NoError(t, err)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: roots, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	r.url = server.URL
	r.settings, err = r.files.TLS(slog.New(slog.NewTextHandler(&r.log, nil)))
	require.NoError(t, err)
	return r
}

func (r *rotation) copy(from, to string) {
	r.t.Helper()
	b, err := os.ReadFile(from)
	require.NoError(r.t, err)
	require.NoError(r.t, os.WriteFile(to, b, 0o600))
}

// replace replaces a file by a copy of another, with a rename.
func (r *rotation) replace(file, with string) {
	r.t.Helper()
	r.copy(with, file+".new")
	require.NoError(r.t, os.Rename(file+".new", file))
}

// connect makes a new connection and returns the client's name as the server saw it.
func (r *rotation) connect() string {
	r.t.Helper()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: r.settings.Clone(), DisableKeepAlives: true}} // a clone, as Kafka's client makes one
	res, err := client.Get(r.url)
	require.NoError(r.t, err)
	var who bytes.Buffer
	_, err = who.ReadFrom(res.Body)
	require.NoError(r.t, err)
	require.NoError(r.t, res.Body.Close())
	return who.String()
}

func TestRotatedCertificateIsUsed(t *testing.T) {
	for hazard, rotate := range map[string]func(*rotation){
		"renamed":          func(r *rotation) { r.replace(r.files.Cert, r.next.Cert); r.replace(r.files.Key, r.next.Key) },
		"written_in_place": func(r *rotation) { r.copy(r.next.Cert, r.files.Cert); r.copy(r.next.Key, r.files.Key) },
		"link_switched": func(r *rotation) {
			data := filepath.Join(filepath.Dir(r.files.Cert), "..data")
			require.NoError(r.t, os.Remove(data))
			require.NoError(r.t, os.Symlink("2", data))
		},
	} {
		t.Run(hazard, func(t *testing.T) {
			r := newRotation(t)
			require.Equal(t, "old", r.connect())
			require.Empty(t, r.log.String())
			rotate(r)
			require.Equal(t, "next", r.connect())
			require.Equal(t, "next", r.connect())
			require.Equal(t, 1, strings.Count(r.log.String(), "new certificate is used"), r.log.String())
			require.NotContains(t, r.log.String(), "WARN")
		})
	}
}

func TestBrokenNewCertificateChangesNothing(t *testing.T) {
	for hazard, c := range map[string]struct {
		broken func(*rotation)
		says   string // in the warning
	}{
		"only_the_certificate_replaced": {func(r *rotation) { r.replace(r.files.Cert, r.next.Cert) }, "private key does not match public key"},
		"only_the_key_replaced":         {func(r *rotation) { r.replace(r.files.Key, r.next.Key) }, "private key does not match public key"},
		"half_written":                  {func(r *rotation) { require.NoError(r.t, os.Truncate(r.files.Cert, 100)) }, "read kafka.tls.cert_file"},
		"empty":                         {func(r *rotation) { require.NoError(r.t, os.Truncate(r.files.Key, 0)) }, "read kafka.tls.key_file"},
		"gone": {func(r *rotation) {
			require.NoError(r.t, os.Remove(r.files.Cert))
			require.NoError(r.t, os.Remove(r.files.Key))
		}, "no such file"},
		"an_authority's": {func(r *rotation) { r.replace(r.files.Key, r.files.CA) }, "it holds a PEM CERTIFICATE, not a PRIVATE KEY"},
	} {
		t.Run(hazard, func(t *testing.T) {
			r := newRotation(t)
			c.broken(r)
			require.Equal(t, "old", r.connect())
			require.Equal(t, "old", r.connect())
			require.Equal(t, 1, strings.Count(r.log.String(), "level=WARN"), "once: %s", r.log.String())
			require.Contains(t, r.log.String(), "kafka.tls.cert_file")
			require.Contains(t, r.log.String(), c.says)
			key, err := os.ReadFile(r.next.Key)
			require.NoError(t, err)
			require.NotContains(t, r.log.String(), strings.Split(string(key), "\n")[1])

			r.replace(r.files.Cert, r.next.Cert)
			r.replace(r.files.Key, r.next.Key)
			require.Equal(t, "next", r.connect())
			require.Equal(t, 1, strings.Count(r.log.String(), "level=INFO"), r.log.String())
			c.broken(r)
			require.Equal(t, "next", r.connect())
		})
	}
}

// A problem with the files is logged once for as long as it lasts, and again when it comes back.
func TestMissingKeyIsLoggedEachTime(t *testing.T) {
	r := newRotation(t)
	for times := range 2 {
		require.NoError(t, os.Rename(r.files.Key, r.files.Key+".away"))
		for range 2 {
			require.Equal(t, "old", r.connect())
			require.Equal(t, times+1, strings.Count(r.log.String(), "is not used"), r.log.String())
		}
		require.NoError(t, os.Rename(r.files.Key+".away", r.files.Key))
		require.Equal(t, "old", r.connect())
	}
	require.NotContains(t, r.log.String(), "new certificate is used", "an unchanged certificate was reported as new")
}
