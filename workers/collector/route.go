package collector

import (
	"fmt"
	"net/http"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/sealift/sealift/pkg/event"
)

// Handler returns the whole API.
func (c *Collector) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, status := c.serve(w, r)
		c.metrics.requests.WithLabelValues(name, strconv.Itoa(status)).Inc()
	})
}

func (c *Collector) serve(w http.ResponseWriter, r *http.Request) (name string, status int) {
	name = "other"
	if countHeaders(r.Header) > maxHeaders {
		return name, answerTooManyHeaders(w)
	}
	if !c.gate.enter() {
		return name, answerRefusal(w, overloaded())
	}
	defer c.gate.leave()
	defer func() {
		if what := recover(); what != nil {
			status = c.answerPanic(w, what)
		}
	}()
	allowOrigin(w, r)
	return c.route(w, r)
}

// answerPanic answers a request whose handler panicked; net/http would log that where nobody reads
// it. Only messages of the runtime itself are logged: a panic's value may hold part of a body.
func (c *Collector) answerPanic(w http.ResponseWriter, recovered any) int {
	c.metrics.panics.Inc()
	message := fmt.Sprintf("%T", recovered)
	if fault, ok := recovered.(runtime.Error); ok {
		message = fault.Error()
	}
	c.deps.Log.Error("a handler panicked; its request is answered 500", "panic", message, "stack", string(debug.Stack()))
	w.Header().Set("Connection", "close") // nobody knows how much of the body was read
	return c.countAndRefuse(w, retryLater(http.StatusInternalServerError, "internal", "a bug of the collector: try again, and report what its log says"))
}

// route serves a request and returns the path's name, for metrics, and the status. http.ServeMux is
// not used because it redirects a path with a double slash, and SDKs do not follow that with a
// POST.
func (c *Collector) route(w http.ResponseWriter, r *http.Request) (string, int) {
	path := r.URL.Path
	for strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	rest, ok := strings.CutPrefix(strings.TrimSuffix(path, "/"), "/v1/")
	if !ok && path != documentPath {
		return "other", c.countAndRefuse(w, noSuchPath())
	}
	if r.Method == http.MethodOptions {
		return "preflight", preflight(w, r)
	}
	if path == documentPath {
		return "document", c.document(w, r)
	}
	if name, ok := strings.CutPrefix(rest, "pixel/"); ok {
		return "pixel", c.pixel(w, r, name)
	}
	if key, ok := strings.CutPrefix(rest, "projects/"); ok {
		if key, ok = strings.CutSuffix(key, "/settings"); ok && !strings.Contains(key, "/") {
			return "settings", c.settings(w, r, key)
		}
	}
	kind, ok := event.KindOf(rest)
	if !ok {
		return "other", c.countAndRefuse(w, noSuchPath())
	}
	if r.Method != http.MethodPost {
		return kind.String(), c.countAndRefuse(w, wrongMethod(w, http.MethodPost))
	}
	rejected, refused := c.collect(w, r, kind)
	if c.countRefusal(refused); refused != nil {
		if r.Header.Get("Expect") == "" { // otherwise the client is still waiting to be asked for the body
			discardRest(r.Body)
		}
		return kind.String(), answerRefusal(w, refused)
	}
	answerSuccess(w, rejected)
	return kind.String(), http.StatusOK
}

// countHeaders counts header lines as they were sent: one name may have thousands of values.
func countHeaders(h http.Header) (n int) {
	for _, values := range h {
		n += len(values)
	}
	return n
}

// answerTooManyHeaders answers as net/http does when headers are too long.
func answerTooManyHeaders(w http.ResponseWriter) int {
	w.Header().Set("Connection", "close")
	http.Error(w, "431 Request Header Fields Too Large", http.StatusRequestHeaderFieldsTooLarge)
	return http.StatusRequestHeaderFieldsTooLarge
}

func noSuchPath() *refusal {
	return newRefusal(http.StatusNotFound, "path", "no such path: the API is POST /v1/{identify,track,page,screen,group,alias,batch,import}, GET /v1/pixel/{type} and GET /v1/projects/{writeKey}/settings; the script of analytics.js is not served here")
}

func wrongMethod(w http.ResponseWriter, allowed string) *refusal {
	w.Header().Set("Allow", allowed+", OPTIONS")
	return newRefusal(http.StatusMethodNotAllowed, "method", "wrong method: use "+allowed)
}

// countAndRefuse counts the refusal and answers with it.
func (c *Collector) countAndRefuse(w http.ResponseWriter, refused *refusal) int {
	c.countRefusal(refused)
	return answerRefusal(w, refused)
}

func (c *Collector) countRefusal(refused *refusal) {
	if refused != nil {
		c.metrics.refused.WithLabelValues(refused.reason).Inc()
	}
}

// allowOrigin lets pages of any origin read the answer: a write key is public on a page, and
// nothing here depends on cookies.
func allowOrigin(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Vary", "Origin")
	if origin := r.Header.Get("Origin"); origin != "" {
		header.Set("Access-Control-Allow-Origin", origin)
		header.Set("Access-Control-Allow-Credentials", "true") // sendBeacon requires it
		header.Set("Access-Control-Expose-Headers", "Retry-After, X-RateLimit-Reset")
	}
}

// preflight allows whatever header an SDK asks for: analytics.js needs Authorization, Content-Type
// and X-Retry-Count, and others add their own.
func preflight(w http.ResponseWriter, r *http.Request) int {
	headers := r.Header.Get("Access-Control-Request-Headers")
	if headers == "" {
		headers = "authorization, content-type, content-encoding, x-retry-count"
	}
	header := w.Header()
	header.Add("Vary", "Access-Control-Request-Headers")
	header.Set("Access-Control-Allow-Methods", "GET, POST, OPTIONS")
	header.Set("Access-Control-Allow-Headers", headers)
	header.Set("Access-Control-Max-Age", "7200") // seconds; the most that Chromium accepts
	w.WriteHeader(http.StatusNoContent)
	return http.StatusNoContent
}
