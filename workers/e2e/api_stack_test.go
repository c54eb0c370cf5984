//go:build stack

package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/gziptest"
	"github.com/sealift/sealift/workers/collector/collectortest"
)

// TestDocumentedRequestsAreAccepted makes Schemathesis send requests generated from the API's
// document to a collector on real Kafka. In addition to its own checks, every event that was
// answered 200 has to be in the events topic or the dead letters, once, and nothing that was
// refused. A produce that the collector repeated because the answer was late may have written its
// lines twice, and what was answered 503 may have been written as well.
func TestDocumentedRequestsAreAccepted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	s := newSystem(t, stackServers(t), 0, fleet{collectors: 1})
	source := "api-" + s.tag
	s.workspaces = []workspace{{id: "ws_e2eapi" + strings.Repeat("0", 16), sources: []string{source}}}
	s.start(ctx)
	a := newAPIWire(t, "http://"+s.listen[0], writeKey(source))
	server := httptest.NewServer(a)
	defer server.Close()

	cmd := exec.CommandContext(ctx, "../../scripts/schemathesis.sh", server.URL, a.key)
	cmd.WaitDelay = 5 * time.Second
	began := time.Now()
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	if at := bytes.Index(out, []byte("SUMMARY")); at >= 0 {
		t.Logf("schemathesis, in %v: %s", time.Since(began).Round(time.Second), out[at:])
	}

	stored, again := map[string]int{}, map[string]int{}
	lines := map[string]bool{}
	for _, topic := range []string{s.eventsTopic(), "e2e-" + s.tag + ".dead-letters"} {
		dump(ctx, t, s.servers.kafka, topic, func(d dumped) {
			var line map[string]json.RawMessage
			if json.Unmarshal(d.line, &line) == nil {
				require.NotContains(t, line, "writeKey")
			}
			print := fingerprint(d.line, "", true)
			stored[print]++
			if lines[string(d.line)] {
				again[print]++
			}
			lines[string(d.line)] = true
		})
	}
	events, pixels, repeated := 0, 0, 0
	for print, n := range a.taken {
		events += n
		if strings.HasPrefix(print, "pixel-") {
			pixels += n
		}
		require.LessOrEqual(t, n, stored[print], "copies of %s", print)
	}
	for print, n := range stored {
		may := a.taken[print] + a.unknown[print]
		require.LessOrEqual(t, n-again[print], may, "stored although not acknowledged: %s", print)
		repeated += max(0, n-may)
	}
	require.Less(t, repeated, 50, "too many repeated lines")
	require.Empty(t, a.wrong)
	require.Greater(t, a.requests, 3000)
	require.Greater(t, events, 1000)
	require.Greater(t, pixels, 10)
	require.Less(t, a.waited, 100, "too many answers 503")
	for _, p := range s.collectors {
		require.NoError(t, p.alive())
		log, err := os.ReadFile(p.log)
		require.NoError(t, err)
		require.NotContains(t, string(log), "panic")
	}
	s.stop()
	t.Logf("%d requests, answered %v, %d times 503 before; %d events of those answered 200, %d of them of pixels: each is stored, %d twice, and nothing else", a.requests, a.statuses, a.waited, events, pixels, repeated)
}

// apiWire is between Schemathesis and the collector. It records what was answered 200, and changes
// the form of three of four requests to one that some SDK uses.
type apiWire struct {
	key   string
	proxy *httputil.ReverseProxy

	mu       sync.Mutex // guards all fields below
	requests int
	statuses map[int]int
	taken    map[string]int // fingerprints of events
	unknown  map[string]int // likewise, of those answered 503, each time
	waited   int            // answers 503 after which a request was sent again
	wrong    []string
}

type apiRequest struct {
	number int
	body   []byte // as Schemathesis sent it
}

func newAPIWire(t *testing.T, collector, key string) *apiWire {
	t.Helper()
	to, err := url.Parse(collector)
	require.NoError(t, err)
	a := &apiWire{key: key, statuses: map[int]int{}, taken: map[string]int{}, unknown: map[string]int{}}
	a.proxy = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = to.Scheme, to.Host
			r.Out.URL.RawQuery = r.In.URL.RawQuery
		},
		Transport:      patient{a},
		ModifyResponse: a.response,
	}
	return a
}

// patient sends a request again while Kafka is slow, as clients do: Schemathesis takes that answer
// for an error.
type patient struct{ a *apiWire }

func (p patient) RoundTrip(r *http.Request) (*http.Response, error) {
	request, _ := r.Context().Value(apiRequestKey{}).(apiRequest)
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
	}
	for until := time.Now().Add(40 * time.Second); ; {
		try := r.Clone(r.Context())
		if r.Body != nil {
			try.Body = io.NopCloser(bytes.NewReader(body))
		}
		res, err := http.DefaultTransport.RoundTrip(try)
		if err != nil {
			return nil, err
		}
		slow, _, err := collectortest.KafkaIsSlow(res)
		if err != nil {
			return nil, err
		}
		if !slow || res.Header.Get("Retry-After") == "" || time.Now().After(until) {
			return res, nil
		}
		p.a.mu.Lock()
		p.a.waited++
		_ = p.a.record(r, request, p.a.unknown)
		p.a.mu.Unlock()
		select {
		case <-time.After(time.Second):
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
}

type apiRequestKey struct{}

func (a *apiWire) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	a.mu.Lock()
	a.requests++
	request := apiRequest{a.requests, body}
	a.mu.Unlock()
	r = r.WithContext(context.WithValue(r.Context(), apiRequestKey{}, request))
	a.respell(r, request)
	a.proxy.ServeHTTP(w, r)
}

// respell changes the form of a request, but not its meaning.
func (a *apiWire) respell(r *http.Request, request apiRequest) {
	body := request.body
	if strings.Contains(r.URL.Path, "/pixel/") {
		r.Header.Set("User-Agent", "pixel-"+strconv.Itoa(request.number)) // stored in its line
	}
	if r.Method == http.MethodPost && len(body) > 0 {
		user, _, basic := r.BasicAuth()
		switch request.number % 4 {
		case 1:
			if rest := bytes.TrimLeft(body[1:], " \r\n\t"); basic && user == a.key && body[0] == '{' && !bytes.Contains(body, []byte(`writeKey`)) {
				r.Header.Del("Authorization")
				with := fmt.Sprintf(`{"writeKey":%q,`, a.key)
				if rest[0] == '}' {
					with = strings.TrimSuffix(with, ",")
				}
				body = append([]byte(with), rest...)
			}
		case 2:
			body = gziptest.Zip(string(body))
		}
	}
	r.ContentLength = int64(len(body))
	if request.number%4 == 3 && len(body) > 0 {
		r.ContentLength = -1 // chunked
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
}

func (a *apiWire) response(res *http.Response) error {
	request, _ := res.Request.Context().Value(apiRequestKey{}).(apiRequest)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.statuses[res.StatusCode]++
	if res.StatusCode != http.StatusOK {
		return nil
	}
	if err := a.record(res.Request, request, a.taken); err != nil {
		a.wrong = append(a.wrong, fmt.Sprintf("%s was answered 200 to %.200q: %v", res.Request.URL, request.body, err))
	}
	return nil
}

// record adds the events of a request to one of the counts.
func (a *apiWire) record(r *http.Request, request apiRequest, to map[string]int) error {
	at := r.URL
	path := strings.Trim(strings.ReplaceAll(at.Path, "//", "/"), "/")
	last := path[strings.LastIndexByte(path, '/')+1:]
	kind, ok := map[string]string{
		"identify": "identify", "track": "track", "page": "page", "screen": "screen", "group": "group", "alias": "alias", "batch": "", "import": "",
		"i": "identify", "t": "track", "p": "page", "s": "screen", "g": "group", "a": "alias", "b": "",
	}[last]
	switch {
	case r.Method == http.MethodGet && strings.HasPrefix(path, "v1/pixel/"):
		if ok && kind != "" && path == "v1/pixel/"+last && a.pixel(at.RawQuery) {
			to["pixel-"+strconv.Itoa(request.number)]++
		}
	case r.Method == http.MethodPost && ok:
		return recordPost(kind, request.body, to)
	}
	return nil
}

// pixel tells whether a query contains a call.
func (a *apiWire) pixel(raw string) bool {
	query, _ := url.ParseQuery(strings.ReplaceAll(raw, ";", "%3B"))
	data := strings.TrimSpace(query.Get("data"))
	if data == "" {
		return true
	}
	if data[0] != '{' {
		plain := strings.TrimRight(strings.NewReplacer("-", "+", "_", "/", " ", "+").Replace(data), "=")
		decoded, err := base64.RawStdEncoding.DecodeString(plain)
		if err != nil {
			return false
		}
		data = string(decoded)
	}
	var call map[string]any
	return json.Unmarshal([]byte(data), &call) == nil && call != nil
}

// recordPost adds the events of a body to one of the counts.
func recordPost(kind string, body []byte, to map[string]int) error {
	if kind != "" {
		to[fingerprint(body, kind, false)]++
		return nil
	}
	var all struct{ Batch []json.RawMessage }
	if err := json.Unmarshal(body, &all); err != nil {
		return err
	}
	for _, event := range all.Batch {
		to[fingerprint(event, "", false)]++
	}
	return nil
}

// fingerprint returns what an event and its stored line have in common: everything that the API
// neither adds nor owns. A pixel's line is recognized by its User-Agent.
func fingerprint(text []byte, kind string, stored bool) string {
	var event map[string]any
	if err := decodeExactly(text, &event); err != nil || event == nil {
		var other any
		_ = decodeExactly(text, &other)
		same, _ := json.Marshal(other)
		return "no object: " + string(same)
	}
	if context, ok := event["context"].(map[string]any); ok && stored {
		if browser, ok := context["userAgent"].(string); ok && strings.HasPrefix(browser, "pixel-") {
			return browser
		}
	}
	if kind != "" {
		event["type"] = kind
	}
	for _, name := range []string{
		"messageId", "timestamp", "originalTimestamp", "sentAt", "receivedAt", "context", "integrations", "channel", "version", "projectId", "writeKey",
	} {
		delete(event, name)
	}
	same, _ := json.Marshal(event)
	return string(same)
}
