package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// s3Fault is what may happen to one request to S3 or STS.
type s3Fault string

// The faults. Some happen only to writes.
const (
	refused   s3Fault = "refused"    // 503 SlowDown, before any effect
	failed    s3Fault = "failed"     // 500 InternalError, before any effect
	denied    s3Fault = "denied"     // 403 AccessDenied, before any effect
	cutBefore s3Fault = "cut-before" // the connection is cut, before any effect
	late      s3Fault = "late"       // everything succeeds, after a while
	slowBody  s3Fault = "slow-body"  // the answer arrives slowly
	tornBody  s3Fault = "torn-body"  // the answer's body is cut off in the middle

	conflict    s3Fault = "conflict"     // conditional PUT: 409, before any effect
	cutAfter    s3Fault = "cut-after"    // write: applied, then the connection is cut
	failedAfter s3Fault = "failed-after" // write: applied, then 500
	ghost       s3Fault = "ghost"        // write: the connection is cut, and the write is applied seconds later
	ghost503    s3Fault = "ghost-503"    // write: answered 503, and applied seconds later
)

// weather is the probability of each fault for a request.
type weather map[s3Fault]float64

// s3FaultProxy is between the roles and S3 with STS. It is transparent, including signatures,
// unless it is told to misbehave: for the staging bucket, for customers' buckets, for one of these,
// or for STS. It counts requests.
type s3FaultProxy struct {
	upstream, staging string
	server            *httptest.Server
	client            *http.Client
	ghosts            sync.WaitGroup

	mu       sync.Mutex // guards all fields below
	rand     *rand.Rand
	weather  map[string]weather // by place: staging, customers, sts or a bucket
	requests map[string]int     // by place and kind
	answers  map[string]int     // by place, kind and status, of answers that are not 2xx
	faults   map[s3Fault]int
}

// newS3FaultProxy serves on a free loopback port, in front of the server at the URL upstream.
// staging is the name of the staging bucket.
func newS3FaultProxy(t *testing.T, upstream, staging string, seed uint64) *s3FaultProxy {
	t.Helper()
	p := &s3FaultProxy{
		upstream: upstream, staging: staging,
		client:   &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}},
		rand:     rand.New(rand.NewPCG(seed, 0x53)),
		weather:  map[string]weather{},
		requests: map[string]int{}, answers: map[string]int{}, faults: map[s3Fault]int{},
	}
	p.server = httptest.NewServer(p)
	t.Cleanup(func() {
		p.server.CloseClientConnections()
		p.server.Close()
		p.waitForGhosts()
		p.client.CloseIdleConnections()
	})
	return p
}

// setWeather sets the weather of a place; nil means fine weather.
func (p *s3FaultProxy) setWeather(place string, w weather) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w == nil {
		delete(p.weather, place)
	} else {
		p.weather[place] = w
	}
}

// waitForGhosts waits until every ghost has been applied.
func (p *s3FaultProxy) waitForGhosts() {
	// To the race detector, traffic on the wire establishes no order: a ghost may have been added
	// just before its request was answered.
	p.mu.Lock()
	p.mu.Unlock() //nolint:staticcheck // an order is all that is wanted
	p.ghosts.Wait()
}

// counts returns the numbers of requests and faults.
func (p *s3FaultProxy) counts() (requests, answers map[string]int, faults map[s3Fault]int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.requests), maps.Clone(p.answers), maps.Clone(p.faults)
}

// ServeHTTP implements http.Handler.
func (p *s3FaultProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client has disconnected
	}
	kind := p.kind(r)
	fault, pause := p.chooseFault(r, kind)
	switch fault {
	case refused, ghost503:
		if fault == ghost503 {
			p.applyLater(r, body, pause)
		}
		answerError(w, http.StatusServiceUnavailable, "SlowDown")
		return
	case failed:
		answerError(w, http.StatusInternalServerError, "InternalError")
		return
	case denied:
		answerError(w, http.StatusForbidden, "AccessDenied")
		return
	case conflict:
		answerError(w, http.StatusConflict, "ConditionalRequestConflict")
		return
	case cutBefore, ghost:
		if fault == ghost {
			p.applyLater(r, body, pause)
		}
		panic(http.ErrAbortHandler) // cuts the connection
	case late:
		select {
		case <-time.After(pause):
		case <-r.Context().Done():
			return
		}
	}
	ctx := r.Context()
	if fault == cutAfter || fault == failedAfter {
		ctx = context.WithoutCancel(ctx)
	}
	resp, err := p.forward(ctx, r, body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer resp.Body.Close()
	p.answered(kind, resp.StatusCode)
	switch fault {
	case cutAfter:
		panic(http.ErrAbortHandler)
	case failedAfter:
		answerError(w, http.StatusInternalServerError, "InternalError")
		return
	}
	maps.Copy(w.Header(), resp.Header)
	w.WriteHeader(resp.StatusCode)
	p.answer(w, resp, fault)
}

// answer sends the body.
func (p *s3FaultProxy) answer(w http.ResponseWriter, resp *http.Response, fault s3Fault) {
	switch {
	case fault == tornBody && resp.ContentLength > 1:
		_, _ = io.CopyN(w, resp.Body, resp.ContentLength/2)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	case fault == slowBody:
		for range 10 {
			if _, err := io.CopyN(w, resp.Body, max(resp.ContentLength/10, 1)); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
			time.Sleep(100 * time.Millisecond)
		}
	}
	_, _ = io.Copy(w, resp.Body)
}

// applyLater applies a request later that its client believes to have failed.
func (p *s3FaultProxy) applyLater(r *http.Request, body []byte, pause time.Duration) {
	r = r.Clone(context.WithoutCancel(r.Context()))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ghosts.Go(func() {
		time.Sleep(pause)
		resp, err := p.forward(r.Context(), r, body)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	})
}

// forward sends the request on as it was signed, with its Host.
func (p *s3FaultProxy) forward(ctx context.Context, r *http.Request, body []byte) (*http.Response, error) {
	out, err := http.NewRequestWithContext(ctx, r.Method, p.upstream+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	out.Header = r.Header.Clone()
	for _, name := range []string{"Connection", "Expect", "Content-Length"} {
		out.Header.Del(name)
	}
	out.Host = r.Host
	return p.client.Do(out)
}

// chooseFault counts a request and decides what happens to it.
func (p *s3FaultProxy) chooseFault(r *http.Request, kind string) (s3Fault, time.Duration) {
	bucket, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	place, _, _ := strings.Cut(kind, " ")
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests[kind]++
	w, ok := p.weather[bucket]
	if !ok || bucket == "" {
		w = p.weather[place]
	}
	roll := p.rand.Float64()
	for _, fault := range []s3Fault{refused, failed, denied, cutBefore, late, slowBody, tornBody, conflict, cutAfter, failedAfter, ghost, ghost503} {
		if roll -= w[fault]; roll >= 0 {
			continue
		}
		switch fault {
		case conflict:
			if r.Header.Get("If-None-Match") == "" {
				return "", 0
			}
		case cutAfter, failedAfter, ghost, ghost503:
			if r.Method != http.MethodPut && r.Method != http.MethodDelete {
				return "", 0
			}
		}
		p.faults[fault]++
		if fault == late {
			return fault, time.Duration(p.rand.IntN(3000)) * time.Millisecond
		}
		return fault, 500*time.Millisecond + time.Duration(p.rand.IntN(6000))*time.Millisecond
	}
	return "", 0
}

func (p *s3FaultProxy) answered(kind string, status int) {
	if status < 300 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answers[fmt.Sprintf("%s %d", kind, status)]++
}

// kind names a request: its place, its method, and in staging its purpose.
func (p *s3FaultProxy) kind(r *http.Request) string {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch {
	case bucket == "":
		return "sts POST"
	case bucket != p.staging:
		return "customers " + r.Method
	}
	method, of := r.Method, key
	if prefix := r.URL.Query().Get("prefix"); key == "" && r.Method == http.MethodGet {
		method, of = "LIST", prefix
	}
	of, _, _ = strings.Cut(of, "/")
	return "staging " + method + " " + of
}

func answerError(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>injected by the test</Message></Error>`, code)
}
