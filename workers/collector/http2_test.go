package collector

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// peer is an HTTP/2 client that does what no library does.
type peer struct {
	t       *testing.T
	conn    *tls.Conn
	framer  *http2.Framer
	headers bytes.Buffer
	encoder *hpack.Encoder
	next    uint32 // stream
	// streams is how many streams the server lets a client open at once.
	streams uint32
}

func newPeer(t *testing.T, addr string) *peer {
	t.Helper()
	conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	_, err = io.WriteString(conn, http2.ClientPreface)
	require.NoError(t, err)
	p := &peer{t: t, conn: conn, framer: http2.NewFramer(conn, conn), next: 1}
	p.encoder = hpack.NewEncoder(&p.headers)
	require.NoError(t, p.framer.WriteSettings())
	frame, err := p.framer.ReadFrame()
	require.NoError(t, err)
	settings, ok := frame.(*http2.SettingsFrame)
	require.True(t, ok)
	p.streams, ok = settings.Value(http2.SettingMaxConcurrentStreams)
	require.True(t, ok, "unbounded")
	return p
}

// post sends a request and, if reset is set, cancels it.
func (p *peer) post(body string, reset bool) error {
	p.headers.Reset()
	for _, h := range [][2]string{{":method", "POST"}, {":scheme", "https"}, {":authority", "x"}, {":path", "/v1/track"}} {
		_ = p.encoder.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]})
	}
	id := p.next
	p.next += 2
	err := p.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: p.headers.Bytes(), EndHeaders: true})
	if err == nil {
		err = p.framer.WriteData(id, true, []byte(body))
	}
	if err == nil && reset {
		err = p.framer.WriteRSTStream(id, http2.ErrCodeCancel)
	}
	return err
}

// TestStreamsOfAConnectionAreBounded: streams beyond the bound, which no honest client opens, are
// refused with a code that says that they were not processed.
func TestStreamsOfAConnectionAreBounded(t *testing.T) {
	b, _, addr := startServingTLS(t, Config{})
	p := newPeer(t, addr)
	require.EqualValues(t, maxStreams, p.streams)
	release := b.topic.stall()
	const more = 20
	for range maxStreams + more {
		require.NoError(t, p.post(`{"writeKey":"wk_web"}`, false))
	}
	require.NoError(t, p.conn.SetReadDeadline(time.Now().Add(20*time.Second)))
	for refused := 0; refused < more; {
		frame, err := p.framer.ReadFrame()
		require.NoError(t, err)
		// The body of a refused request reaches a stream that is already closed.
		if reset, ok := frame.(*http2.RSTStreamFrame); ok && reset.ErrCode != http2.ErrCodeStreamClosed {
			require.Equal(t, http2.ErrCodeRefusedStream, reset.ErrCode)
			refused++
		}
	}
	for range maxStreams {
		<-b.topic.entered
	}
	release()
	require.Eventually(t, func() bool { return b.inFlight.used.Load() == 0 }, 20*time.Second, time.Millisecond)
	require.Len(t, b.topic.take(), maxStreams)
}

// TestRapidResetIsBounded: a client that cancels each request as soon as it is sent
// (CVE-2023-44487), while Kafka is slow, at most fills the bound of bytes in flight. It may be
// disconnected; others are answered meanwhile.
func TestRapidResetIsBounded(t *testing.T) {
	b, _, addr := startServingTLS(t, Config{MaxInFlight: 1 << 20})
	release := b.topic.stall()
	p := newPeer(t, addr)
	heard := make(chan error, 1)
	go func() { // otherwise the server would give up because nobody reads from it
		for {
			frame, err := p.framer.ReadFrame()
			if away, ok := frame.(*http2.GoAwayFrame); ok {
				err = http2.ConnectionError(away.ErrCode)
			}
			if err != nil {
				heard <- err
				return
			}
		}
	}()
	sent := 0
	most := int64(0)
	for ; sent < 20_000; sent++ {
		if err := p.post(`{"writeKey":"wk_web","userId":"u"}`, true); err != nil {
			break // disconnected
		}
		most = max(most, b.inFlight.used.Load())
	}
	require.LessOrEqual(t, most, int64(1<<20)+1<<20, "more bytes in flight than the bound and one request")

	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 20 * time.Second}
	res, err := client.Get("https://" + addr + "/v1/projects/wk_web/settings")
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, http.StatusOK, res.StatusCode)

	release()
	_ = p.conn.Close() // an error if the server has already closed it
	why := <-heard
	require.Eventually(t, func() bool { return b.inFlight.used.Load() == 0 }, 20*time.Second, time.Millisecond)
	taken := len(b.topic.take())
	require.LessOrEqual(t, taken, sent+1)
	res, err = client.Post("https://"+addr+"/v1/track", "", text(`{"writeKey":"wk_web"}`))
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, http.StatusOK, res.StatusCode)
	var code http2.ConnectionError
	t.Logf("%d requests cancelled, %d of them stored, at most %d bytes in flight; the connection ended with %v (GOAWAY: %t)", sent, taken, most, why, errors.As(why, &code))
}

// TestCertificateChangeKeepsOpenConnections: requests in flight succeed, connections stay open,
// and new ones get the new certificate.
func TestCertificateChangeKeepsOpenConnections(t *testing.T) {
	b, dir, addr := startServingTLS(t, Config{})
	open := map[string]*http.Client{}
	for name, h2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2.0": true} {
		transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: h2, MaxConnsPerHost: 1}
		defer transport.CloseIdleConnections()
		open[name] = &http.Client{Transport: transport}
	}
	post := func(name string) error {
		res, err := open[name].Post("https://"+addr+"/v1/track", "", text(`{"writeKey":"wk_web"}`))
		if err != nil {
			return err
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if got := res.TLS.PeerCertificates[0].SerialNumber.Int64(); res.StatusCode != http.StatusOK || res.Proto != name || got != 1 {
			return errors.New(res.Proto + " " + res.Status + " by another certificate, or connection")
		}
		return nil
	}
	release := b.topic.stall()
	ends := make(chan error, len(open))
	for name := range open {
		go func() { ends <- post(name) }()
	}
	for range open {
		<-b.topic.entered
	}
	cert, key := pemPair(t, 2)
	write(t, dir, "cert.pem", cert)
	write(t, dir, "key.pem", key)
	require.EqualValues(t, 2, serial(t, addr))
	release()
	for range open {
		require.NoError(t, <-ends, "in flight while the certificate changed")
	}
	for name := range open {
		require.NoError(t, post(name), "on the old connection")
	}
	require.Len(t, b.topic.take(), 2*len(open))
}
