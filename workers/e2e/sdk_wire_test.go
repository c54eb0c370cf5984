//go:build stack

package e2e

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"
)

// wire is between an SDK and the collector. It passes everything on unchanged and remembers each
// message as the SDK put it on the wire. If loses is set, it loses the answer to the first request
// that is answered 200.
type wire struct {
	proxy *httputil.ReverseProxy
	news  chan struct{} // receives when there may be something new
	loses bool          // it loses an answer

	mu       sync.Mutex
	messages map[string][]onWire // by messageId, each copy; guarded by mu, like all fields below
	answered map[string]bool     // by messageId: the SDK has seen a 200
	statuses map[int]int         // number of POSTs, by status
	requests int                 // POSTs
	retries  int                 // POSTs with messages that were sent before
	lost     int                 // answers lost
	away     bool                // Kafka is away
	wrong    []string            // violations
}

// onWire is one message in a request.
type onWire struct {
	item  gjson.Result // the message
	batch gjson.Result // the body around it; for a single message, itself
}

func newWire(t *testing.T, collector string, loses bool) *wire {
	t.Helper()
	to, err := url.Parse(collector)
	require.NoError(t, err)
	w := &wire{loses: loses, news: make(chan struct{}, 1), messages: map[string][]onWire{}, answered: map[string]bool{}, statuses: map[int]int{}}
	w.proxy = &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(to) },
		ModifyResponse: w.response,
		// The connection breaks without an answer.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	return w
}

// passing is a request in progress.
type passing struct {
	ids      []string
	whenAway bool // Kafka was away when it arrived
}

type passingKey struct{}

func (w *wire) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if r.Method == http.MethodPost {
		r = r.WithContext(context.WithValue(r.Context(), passingKey{}, w.request(body)))
	}
	w.proxy.ServeHTTP(out, r)
}

// request records what an SDK sends.
func (w *wire) request(body []byte) passing {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := passing{whenAway: w.away}
	w.requests++
	text, err := inflated(body)
	if err != nil || !json.Valid(text) {
		w.wrong = append(w.wrong, fmt.Sprintf("a body that is no JSON: %.300q: %v", text, err))
		return p
	}
	all := gjson.ParseBytes(text)
	items := []gjson.Result{all}
	if batch := all.Get("batch"); batch.IsArray() {
		items = batch.Array()
	}
	again := false
	for _, item := range items {
		id := item.Get("messageId").String()
		again = again || len(w.messages[id]) > 0
		w.messages[id] = append(w.messages[id], onWire{item, all})
		p.ids = append(p.ids, id)
	}
	if again {
		w.retries++
	}
	return p
}

func inflated(body []byte) ([]byte, error) {
	if !bytes.HasPrefix(body, []byte{0x1f, 0x8b}) {
		return body, nil
	}
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

var errLost = errors.New("the answer is lost")

// response records what the collector answers.
func (w *wire) response(r *http.Response) error {
	p, ok := r.Request.Context().Value(passingKey{}).(passing)
	if !ok {
		return nil
	}
	defer w.tell()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.statuses[r.StatusCode]++
	switch {
	case r.StatusCode == http.StatusServiceUnavailable && r.Header.Get("Retry-After") != "":
		return nil
	case r.StatusCode != http.StatusOK:
		w.wrong = append(w.wrong, fmt.Sprint("an answer ", r.Status))
		return nil
	case p.whenAway && w.away:
		w.wrong = append(w.wrong, fmt.Sprintf("an answer 200 to %d messages while Kafka was away", len(p.ids)))
	}
	if w.loses && w.lost == 0 {
		w.lost++
		return errLost
	}
	for _, id := range p.ids {
		w.answered[id] = true
	}
	return nil
}

func (w *wire) tell() {
	select {
	case w.news <- struct{}{}:
	default:
	}
}

// check tells whether a condition holds; the condition must not keep the wire.
func (w *wire) check(condition func(*wire) bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return condition(w)
}

func (w *wire) kafkaAway(away bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.away = away
}

// String describes what has passed.
func (w *wire) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var b strings.Builder
	for _, status := range sorted(w.statuses) {
		fmt.Fprintf(&b, "%d answered %d, ", w.statuses[status], status)
	}
	fmt.Fprintf(&b, "%d answers lost, %d requests were tries again, %d messages known to be taken", w.lost, w.retries, len(w.answered))
	return b.String()
}
