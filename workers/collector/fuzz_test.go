package collector

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
)

// FuzzRequest sends arbitrary requests to the handler. It must not panic, nor give an answer that
// is not in the document. A POST answered 200 leaves exactly its events in the topic and the dead
// letters, any other POST leaves nothing; no line contains a write key or a newline, and no bytes
// stay in flight.
func FuzzRequest(f *testing.F) {
	f.Add("POST", "/v1/batch", "Basic d2tfd2ViOg==", "gzip", true, []byte(`{"batch":[{"event":"e"},1],"context":{"a":1}}`))
	f.Add("POST", "/v1/t", "", "", false, []byte(`{"writeKey":"wk_web","a":9007199254740993}`))
	f.Add("POST", "/v1/import/", "Basic d2tfd2Vi", "gzip", true, []byte(`{"batch":[{}],"writeKey":"wk_server"}`))
	f.Add("POST", "/v1/b", "Bearer a.b", "", false, []byte(`{"batch":[{"writeKey":"wk_server","userId":"u"},{"writeKey":"wk_web","type":"track"}]}`))
	f.Add("GET", "/v1/pixel/track?writeKey=wk_web&a.b=c", "", "", false, []byte(nil))
	f.Add("GET", "/v1/projects/wk_web/settings", "", "", false, []byte(nil))
	f.Add("OPTIONS", "/v1/t", "", "", false, []byte(nil))
	f.Add("GET", "/openapi.yaml", "", "", false, []byte(nil))
	b := newFixture(f, Config{Validate: true})
	f.Fuzz(func(t *testing.T, method, target, authorization, encoding string, zip bool, body []byte) {
		at, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		if zip {
			body = zipped(t, string(body)).Bytes()
		}
		r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
		r.Method, r.URL = method, at
		r.Header.Set("Authorization", authorization)
		r.Header.Set("Content-Encoding", encoding)
		w := httptest.NewRecorder()
		b.Handler().ServeHTTP(w, r)
		if err := checkRecorded(r, w); err != nil {
			t.Fatal(err)
		}
		b.requireStored(t, []exchange{{r, body, nil, w.Code}})
	})
}

// exchange is a request, its body or why that could not be read, and the status of its answer.
type exchange struct {
	request *http.Request
	body    []byte
	err     error
	status  int
}

// requireStored requires that the topics contain what the requests say, and empties them.
func (b *fixture) requireStored(t *testing.T, all []exchange) {
	t.Helper()
	var want []string
	pixels := 0
	for _, a := range all {
		switch {
		case a.status != http.StatusOK:
		case a.request.Method == http.MethodPost:
			if a.err != nil {
				t.Fatalf("%s was answered 200, but its body ends early: %v", a.request.URL, a.err)
			}
			events, err := oracle(a.request, a.body)
			if err != nil {
				t.Fatalf("%s was answered 200 to %q: %v", a.request.URL, a.body, err)
			}
			want = append(want, events...)
		case a.request.Method == http.MethodGet && strings.Contains(a.request.URL.Path, "/pixel/"):
			pixels++
		}
	}
	records, dead := b.topic.take(), b.dead.take()
	for _, record := range records {
		if err := wellFormed(record); err != nil {
			t.Fatal(err)
		}
	}
	have := essences(append(records, dead...)...)
	for _, event := range want {
		i := slices.Index(have, event)
		if i < 0 {
			t.Fatalf("event %s is not stored: %q", event, have)
		}
		have = slices.Delete(have, i, i+1)
	}
	if len(have) > pixels {
		t.Fatalf("stored without an answer of 200: %q", have)
	}
	if used := b.inFlight.used.Load(); used != 0 {
		t.Fatalf("%d bytes left in flight", used)
	}
}

// onePipe is a listener that has one connection.
type onePipe chan net.Conn

func (p onePipe) Accept() (net.Conn, error) {
	if conn, ok := <-p; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}

func (p onePipe) Close() error   { return nil }
func (p onePipe) Addr() net.Addr { return &net.TCPAddr{} }

// converse sends bytes to the collector's own server over a connection, and returns everything that
// the server sends until it closes, in synctest's time.
func converse(b *fixture, raw []byte) []byte {
	listener := make(onePipe, 1)
	client, server := net.Pipe()
	listener <- server
	serve := b.server()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = serve.Serve(listener)
	}()
	go func() { _, _ = client.Write(raw) }()
	answers, _ := io.ReadAll(client)
	_ = client.Close()
	close(listener)
	_ = serve.Close()
	<-done
	<-b.gate.close()
	return answers
}

// FuzzConnection sends arbitrary bytes to the collector's server. It must not panic; there are as
// many well-formed answers as requests, or fewer followed by the end of the connection; each answer
// is in the document; and each request satisfies what FuzzRequest requires.
func FuzzConnection(f *testing.F) {
	const auth = "Host: x\r\nAuthorization: Basic d2tfd2ViOg==\r\n"
	gz := zipped(f, `{"userId":"u"}`).String()
	for _, seed := range []string{
		"POST /v1/track HTTP/1.1\r\n" + auth + "Content-Length: 14\r\n\r\n{\"userId\":\"u\"}",
		"POST /v1/b/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n8\r\n{\"batch\"\r\n1a;x=y\r\n:[{}],\"writeKey\":\"wk_web\"}\r\n0\r\nA: b\r\n\r\n",
		"POST /v1/t HTTP/1.0\r\n" + auth + "Content-Length: 2\r\nConnection: keep-alive\r\n\r\n{}GET /v1/pixel/t?userId=u HTTP/1.1\r\n" + auth + "\r\nHEAD /openapi.yaml HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST /v1/batch HTTP/1.1\r\n" + auth + "Expect: 100-continue\r\nContent-Length: 12\r\n\r\n{\"batch\":[]}",
		"POST /v1/t HTTP/1.1\r\n" + auth + "Content-Encoding: gzip\r\nContent-Length: " + strconv.Itoa(len(gz)) + "\r\n\r\n" + gz,
		"POST /v1/t HTTP/1.1\r\n" + auth + "Content-Length: 3\r\nContent-Length: 2\r\n\r\n{}",
		"POST /v1/t HTTP/1.1\r\n" + auth + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
		"POST /v1/t HTTP/1.1\r\n" + auth + "Content-Length: 20\r\n\r\n{",
		"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
		"OPTIONS /v1/t HTTP/1.1\r\nHost: x\r\nOrigin: https://a\r\nAccess-Control-Request-Headers: authorization\r\n\r\n",
		"POST /v1/t HTTP/1.1\r\nHost: x\r\nExpect: x\r\n\r\n",
		"GET / HTTP/3.7\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\x16\x03\x01\x00",
	} {
		f.Add([]byte(seed))
	}
	if _, err := readAPI(); err != nil { // outside synctest's bubbles
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		synctest.Test(t, func(t *testing.T) {
			b := newFixture(t, Config{Validate: true})
			answers := bufio.NewReader(bytes.NewReader(converse(b, raw)))
			if logged := b.logged.String(); strings.Contains(logged, "panic") {
				t.Fatal(logged)
			}
			all := readExchanges(t, bufio.NewReader(bytes.NewReader(raw)), answers)
			if rest, _ := io.ReadAll(answers); len(rest) > 0 {
				t.Fatalf("one answer too many: %q", rest)
			}
			b.requireStored(t, all)
		})
	})
}

// readExchanges reads the answers on a connection, and returns the requests that were answered.
func readExchanges(t *testing.T, requests, answers *bufio.Reader) (all []exchange) {
	t.Helper()
	for {
		if len(all) > 0 && all[len(all)-1].request.Method == http.MethodPost {
			// As net/http does: old clients send a line break after a body.
			next, _ := requests.Peek(4)
			_, _ = requests.Discard(len(next) - len(bytes.TrimLeft(next, "\r\n")))
		}
		request, noHTTP := http.ReadRequest(requests)
		a := exchange{request: request}
		if noHTTP == nil {
			a.body, a.err = io.ReadAll(request.Body)
		}
		res, body := readAnswer(t, answers, request)
		if res == nil {
			return all // the server closed the connection
		}
		a.status = res.StatusCode
		if err := checkAnswer(request, res, body); err != nil {
			t.Fatal(err)
		}
		if noHTTP != nil {
			if res.StatusCode < 400 {
				t.Fatalf("%s answers invalid HTTP: %v", res.Status, noHTTP)
			}
			return all
		}
		all = append(all, a)
		if a.err != nil {
			return all
		}
	}
}

// readAnswer reads the next answer in full; nil if there is none.
func readAnswer(t *testing.T, from *bufio.Reader, to *http.Request) (*http.Response, []byte) {
	t.Helper()
	for {
		if _, err := from.Peek(1); err != nil {
			return nil, nil
		}
		res, err := http.ReadResponse(from, to)
		if err != nil {
			t.Fatalf("the answer is not HTTP: %v", err)
		}
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatalf("the body of answer %s ends early: %v", res.Status, err)
		}
		if strings.HasPrefix(res.Header.Get("Content-Type"), "text/plain") && len(body) == 0 {
			// net/http refuses with a text whatever the method, even HEAD, and closes the
			// connection.
			body, _ = io.ReadAll(from)
		}
		if res.Close { // ReadResponse took it out
			res.Header.Set("Connection", "close")
		}
		if res.StatusCode >= 200 { // not 100 Continue
			return res, body
		}
	}
}

// checkAnswer says how an answer deviates from the document. The answers of net/http to invalid
// HTTP are listed under every path.
func checkAnswer(request *http.Request, res *http.Response, body []byte) error {
	a, err := readAPI()
	if err != nil {
		return err
	}
	switch text := strings.HasPrefix(res.Header.Get("Content-Type"), "text/plain"); {
	case text, res.StatusCode == http.StatusExpectationFailed:
		return a.check(http.MethodPost, "/v1/t", res.StatusCode, res.Header, body)
	case request == nil:
		return fmt.Errorf("%s answers invalid HTTP", res.Status)
	case request.RequestURI == "*" && request.Method == http.MethodOptions && res.StatusCode == http.StatusOK && len(body) == 0:
		return nil // an answer of net/http, too
	}
	return a.check(request.Method, request.URL.Path, res.StatusCode, res.Header, body)
}
