package collector

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/pipetest"
)

// pemPair makes a self-signed certificate for localhost.
func pemPair(t *testing.T, serial int64) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

// startServingTLS serves https with a certificate with serial 1 from files in dir.
func startServingTLS(t *testing.T, cfg Config) (b *fixture, dir, addr string) {
	t.Helper()
	dir = t.TempDir()
	cert, key := pemPair(t, 1)
	write(t, dir, "cert.pem", cert)
	write(t, dir, "key.pem", key)
	cfg.Listen, cfg.CertFile, cfg.KeyFile = "127.0.0.1:0", filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	b = newFixture(t, cfg)
	url, stop := startServing(t, b)
	t.Cleanup(func() { require.NoError(t, stop()) })
	return b, dir, strings.TrimPrefix(url, "http://")
}

func write(t *testing.T, dir, name string, content []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), content, 0o600))
}

// serial returns the serial of the certificate that a new connection gets.
func serial(t *testing.T, addr string) int64 {
	t.Helper()
	conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
	require.NoError(t, err)
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

func TestCertificateIsReloaded(t *testing.T) {
	b, dir, addr := startServingTLS(t, Config{})
	require.EqualValues(t, 1, serial(t, addr))

	cert, key := pemPair(t, 2)
	write(t, dir, "cert.pem", cert)
	require.EqualValues(t, 1, serial(t, addr))
	require.Contains(t, b.logged.String(), "private key does not match public key") // only half of the change is there
	write(t, dir, "key.pem", key)
	require.EqualValues(t, 2, serial(t, addr))
	require.Contains(t, b.logged.String(), "new certificate is used")

	write(t, dir, "cert.pem", []byte("no certificate"))
	require.EqualValues(t, 2, serial(t, addr))
	require.Contains(t, b.logged.String(), "it holds no PEM")
	require.NoError(t, os.Remove(filepath.Join(dir, "key.pem")))
	require.EqualValues(t, 2, serial(t, addr), "the old certificate is still served")
	require.Contains(t, b.logged.String(), "read collector.tls.key_file")

	// As Kubernetes does it: the files are links into a directory that is switched.
	next := t.TempDir()
	cert, key = pemPair(t, 3)
	write(t, next, "cert.pem", cert)
	write(t, next, "key.pem", key)
	for _, name := range []string{"cert.pem", "key.pem"} {
		_ = os.Remove(filepath.Join(dir, name))
		require.NoError(t, os.Symlink(filepath.Join(next, name), filepath.Join(dir, name)))
	}
	require.EqualValues(t, 3, serial(t, addr))
	require.NotContains(t, b.logged.String(), "PRIVATE")
}

func TestBrokenTLSFilesAreRefused(t *testing.T) {
	dir := t.TempDir()
	cert, _ := pemPair(t, 1)
	_, key := pemPair(t, 2)
	write(t, dir, "cert.pem", cert)
	write(t, dir, "other.pem", key)
	for hazard, c := range map[string]struct{ cert, key, want string }{
		"no_cert":     {"none.pem", "other.pem", "read collector.tls.cert_file"},
		"no_key":      {"cert.pem", "none.pem", "read collector.tls.key_file"},
		"other's_key": {"cert.pem", "other.pem", "private key does not match public key"},
	} {
		t.Run(hazard, func(t *testing.T) {
			b := newFixture(t, Config{Listen: "127.0.0.1:0", CertFile: filepath.Join(dir, c.cert), KeyFile: filepath.Join(dir, c.key)})
			require.ErrorContains(t, b.Run(t.Context()), c.want)
		})
	}
}

func TestTLSVersionsAndHTTP2(t *testing.T) {
	b, _, addr := startServingTLS(t, Config{})
	for hazard, c := range map[string]struct {
		version uint16
		http2   bool
		want    string
	}{
		"http2":               {0, true, "HTTP/2.0"},
		"http1_over_tls_1_2":  {tls.VersionTLS12, false, "HTTP/1.1"},
		"http2_over_tls_1_2":  {tls.VersionTLS12, true, "HTTP/2.0"},
		"tls_1_1_is_refused":  {tls.VersionTLS11, false, "protocol version not supported"},
		"plain_http_gets_400": {1, false, "400 Bad Request"},
	} {
		t.Run(hazard, func(t *testing.T) {
			transport := &http.Transport{
				TLSClientConfig:   &tls.Config{InsecureSkipVerify: true, MinVersion: c.version, MaxVersion: c.version},
				ForceAttemptHTTP2: c.http2,
			}
			defer transport.CloseIdleConnections()
			scheme := "https://"
			if c.version == 1 {
				scheme = "http://"
			}
			res, err := (&http.Client{Transport: transport}).Post(scheme+addr+"/v1/track", "", text(`{"writeKey":"wk_web"}`))
			got := fmt.Sprint(err)
			if err == nil {
				got = res.Proto + " " + res.Status
				_ = res.Body.Close()
			}
			require.Contains(t, got, c.want)
		})
	}
	require.Len(t, b.topic.take(), 3)
}

// TestManyStreamsOfOneConnection: HTTP/2 carries many requests concurrently on one connection.
func TestManyStreamsOfOneConnection(t *testing.T) {
	b, _, addr := startServingTLS(t, Config{})
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true, MaxConnsPerHost: 1}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	release := b.topic.stall()
	var requests sync.WaitGroup
	for range 50 {
		requests.Go(func() {
			res, err := client.Post("https://"+addr+"/v1/track", "", text(`{"writeKey":"wk_web"}`))
			if err != nil {
				t.Error(err)
				return
			}
			_ = res.Body.Close()
			if res.StatusCode != http.StatusOK {
				t.Error(res.Status)
			}
		})
	}
	for range 50 {
		<-b.topic.entered // all wait at once
	}
	release()
	requests.Wait()
	require.Len(t, b.topic.take(), 50)
}

// TestSlowClientsAreDisconnected: a client that sends a byte now and then holds a connection no
// longer than a header or a request may take, and holds no bytes in flight for what it has not
// sent.
func TestSlowClientsAreDisconnected(t *testing.T) {
	b := newFixture(t, Config{Listen: "127.0.0.1:0", HeaderTimeout: 3 * time.Second, BodyTimeout: 600 * time.Millisecond})
	url, stop := startServing(t, b)
	for hazard, c := range map[string]struct {
		head string
		want string // in the answer
	}{
		"request_line_in_bytes":   {"", "400"},
		"header_a_byte_at_a_time": {"POST /v1/track HTTP/1.1\r\nHost: x\r\nX-Slow: ", ""},
		"body_a_byte_at_a_time":   {"POST /v1/track HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n", "503"},
		"chunk_a_byte_at_a_time":  {"POST /v1/track HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n7a120\r\n", "503"},
	} {
		t.Run(hazard, func(t *testing.T) {
			start := time.Now()
			var clients sync.WaitGroup
			for range 50 {
				clients.Go(func() {
					conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
					if err != nil {
						t.Error(err)
						return
					}
					defer conn.Close()
					go drip(conn, c.head)
					answer, _ := io.ReadAll(bufio.NewReader(conn)) // until it is cut
					if !strings.Contains(string(answer), c.want) || c.want == "" && len(answer) > 0 {
						t.Errorf("%q", answer)
					}
				})
			}
			clients.Wait()
			require.Less(t, time.Since(start), 10*time.Second)
			require.Zero(t, b.inFlight.used.Load())
		})
	}
	require.Empty(t, b.topic.take())
	require.NoError(t, stop())
}

// TestIdleConnectionsAreClosed: idle connections are closed, between requests and before a
// handshake.
func TestIdleConnectionsAreClosed(t *testing.T) {
	cfg := Config{Listen: "127.0.0.1:0", HeaderTimeout: 3 * time.Second, BodyTimeout: 3 * time.Second, IdleTimeout: 300 * time.Millisecond}
	b := newFixture(t, cfg)
	url, stop := startServing(t, b)
	_, _, secured := startServingTLS(t, cfg)
	const request = "POST /v1/track HTTP/1.1\r\nHost: x\r\nContent-Length: 21\r\n\r\n" + `{"writeKey":"wk_web"}`
	for hazard, c := range map[string]struct{ addr, send string }{
		"silent_from_the_start": {strings.TrimPrefix(url, "http://"), ""},
		"keep_alive_and_silent": {strings.TrimPrefix(url, "http://"), request},
		"two_and_then_silent":   {strings.TrimPrefix(url, "http://"), request + request},
		"tls_without_handshake": {secured, ""},
		"tls_half_a_handshake":  {secured, "\x16\x03\x01\x02\x00"},
	} {
		t.Run(hazard, func(t *testing.T) {
			conn, err := net.Dial("tcp", c.addr)
			require.NoError(t, err)
			defer conn.Close()
			require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
			_, err = io.WriteString(conn, c.send)
			require.NoError(t, err)
			answer, err := io.ReadAll(conn) // until it is cut
			require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
			require.Equal(t, strings.Count(c.send, "POST"), strings.Count(string(answer), "200 OK"))
		})
	}
	require.NoError(t, stop())
}

// TestSlowStreamIsResetAndConnectionStays: over HTTP/2 a body that does not arrive holds its stream
// no longer than a request may take, and the connection survives.
func TestSlowStreamIsResetAndConnectionStays(t *testing.T) {
	b, _, addr := startServingTLS(t, Config{BodyTimeout: 500 * time.Millisecond, HeaderTimeout: 5 * time.Second})
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true, MaxConnsPerHost: 1}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 20 * time.Second}
	read, write := io.Pipe()
	defer write.Close()
	go func() { _, _ = io.WriteString(write, `{"writeKey":`) }()
	res, err := client.Post("https://"+addr+"/v1/track", "", read)
	if err == nil { // or the stream is reset
		require.Equal(t, http.StatusServiceUnavailable, res.StatusCode)
		_ = res.Body.Close()
	}
	require.NotErrorIs(t, err, context.DeadlineExceeded)
	require.Eventually(t, func() bool { return b.inFlight.used.Load() == 0 }, 10*time.Second, time.Millisecond)
	res, err = client.Post("https://"+addr+"/v1/track", "", text(`{"writeKey":"wk_web"}`))
	require.NoError(t, err)
	_ = res.Body.Close()
	require.Equal(t, http.StatusOK, res.StatusCode)
	require.Len(t, b.topic.take(), 1)
}

// slowBody is a body that arrives 4 KiB at a time.
type slowBody struct {
	body  io.Reader
	every time.Duration
}

// Read implements io.Reader.
func (s slowBody) Read(p []byte) (int, error) {
	time.Sleep(s.every) // synctest's clock
	return s.body.Read(p[:min(4<<10, len(p))])
}

// TestSteadySlowBodyIsAccepted: a body that keeps arriving is accepted even after both initial
// deadlines of its request have passed, since a phone may send only a few kilobytes per second.
func TestSteadySlowBodyIsAccepted(t *testing.T) {
	const head, tail = `{"writeKey":"wk_web","batch":[{"a":"x"}],"pad":"`, `"}`
	body := head + strings.Repeat("x", 475<<10-len(head)-len(tail)) + tail
	dir := t.TempDir()
	cert, key := pemPair(t, 1)
	write(t, dir, "cert.pem", cert)
	write(t, dir, "key.pem", key)
	for hazard, c := range map[string]struct {
		every time.Duration
		http2 bool
		want  int
	}{
		"32_kbit_a_second":            {time.Second, false, http.StatusOK},
		"32_kbit_a_second_over_http2": {time.Second, true, http.StatusOK},
		"half_of_that":                {2 * time.Second, false, http.StatusServiceUnavailable},
		"half_of_that_over_http2":     {2 * time.Second, true, http.StatusServiceUnavailable},
	} {
		t.Run(hazard, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newFixture(t, Config{})
				server, listener, scheme := b.server(), make(pipetest.Listener), "http"
				serve := server.Serve
				if c.http2 {
					scheme = "https"
					serve = func(l net.Listener) error {
						return server.ServeTLS(l, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
					}
				}
				served := make(chan error, 1)
				go func() { served <- serve(listener) }()
				transport := &http.Transport{
					TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: c.http2,
					DialContext: func(context.Context, string, string) (net.Conn, error) {
						client, conn := net.Pipe()
						listener <- conn
						return client, nil
					},
				}
				res, err := (&http.Client{Transport: transport}).Post(scheme+"://x/v1/batch", "", slowBody{text(body), c.every})
				if c.want == http.StatusOK {
					require.NoError(t, err)
				}
				if err == nil { // or the connection was closed before the client had read the answer
					require.Equal(t, c.want, res.StatusCode)
					require.Equal(t, c.http2, res.ProtoMajor == 2)
					require.NoError(t, res.Body.Close())
				}
				require.Equal(t, c.want == http.StatusOK, len(b.topic.take()) == 1)
				transport.CloseIdleConnections()
				require.NoError(t, server.Close())
				require.ErrorIs(t, <-served, http.ErrServerClosed)
				time.Sleep(c.every) // the client's last read
			})
		})
	}
}

// drip sends a head, and then a byte every few milliseconds until the other end is gone.
func drip(conn net.Conn, head string) {
	if _, err := io.WriteString(conn, head); err != nil {
		return
	}
	for {
		if _, err := conn.Write([]byte("x")); err != nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestHeadersAreBounded(t *testing.T) {
	b := newFixture(t, Config{Listen: "127.0.0.1:0"})
	url, stop := startServing(t, b)
	request := func(bytes int) string {
		return "POST /v1/track HTTP/1.1\r\nHost: x\r\nContent-Length: 21\r\nX-Large: " + strings.Repeat("x", bytes) + "\r\n\r\n" + `{"writeKey":"wk_web"}`
	}
	require.Equal(t, http.StatusOK, raw(t, url, request(60<<10), false))
	require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, raw(t, url, request(80<<10), false))
	require.Len(t, b.topic.take(), 1)
	require.NoError(t, stop())
}

// TestConnectionsAreBounded: connections beyond the bound wait, and are served when others have
// gone.
func TestConnectionsAreBounded(t *testing.T) {
	b := newFixture(t, Config{Listen: "127.0.0.1:0", MaxConnections: 2})
	url, stop := startServing(t, b)
	const request = "POST /v1/track HTTP/1.1\r\nHost: x\r\nContent-Length: 21\r\n\r\n" + `{"writeKey":"wk_web"}`
	open := func() net.Conn {
		conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		require.NoError(t, err)
		_, err = io.WriteString(conn, request)
		require.NoError(t, err)
		return conn
	}
	served := func(conn net.Conn, within time.Duration) error {
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(within)))
		_, err := conn.Read(make([]byte, 1))
		return err
	}
	first, second, third := open(), open(), open()
	require.NoError(t, served(first, 20*time.Second))
	require.NoError(t, served(second, 20*time.Second))
	require.ErrorIs(t, served(third, 200*time.Millisecond), os.ErrDeadlineExceeded)
	require.NoError(t, first.Close())
	require.NoError(t, served(third, 20*time.Second))
	require.NoError(t, second.Close())
	require.NoError(t, third.Close())
	require.NoError(t, stop())
}
