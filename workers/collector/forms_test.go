package collector

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// paths are the last elements of the POST paths, and the type that each implies; "" is a batch.
var paths = map[string]string{
	"identify": "identify", "track": "track", "page": "page", "screen": "screen", "group": "group", "alias": "alias", "batch": "", "import": "",
	"i": "identify", "t": "track", "p": "page", "s": "screen", "g": "group", "a": "alias", "b": "",
}

// pathForms are the ways in which SDKs, and the hosts that people configure them with, spell a
// path.
var pathForms = []string{"/v1/%s", "/v1/%s/", "//v1/%s", "/v1//%s", "/v1/%s//", "/v1/%s?sent=1"}

// authForms say where the write key is: in an Authorization header, in the body, or in each event.
var authForms = map[string]struct{ header, body, item string }{
	"basic":             {"Basic " + base64.StdEncoding.EncodeToString([]byte("wk_web:")), "", ""},
	"basic_no_colon":    {"Basic " + base64.StdEncoding.EncodeToString([]byte("wk_web")), "", ""},
	"basic_and_body":    {"Basic " + base64.StdEncoding.EncodeToString([]byte("wk_web:")), `"writeKey":"wk_web"`, ""},
	"basic_body_item":   {"Basic " + base64.StdEncoding.EncodeToString([]byte("wk_web:")), `"writeKey":"wk_web"`, `"writeKey":"wk_web"`},
	"body":              {"", `"writeKey":"wk_web"`, ""},
	"item":              {"", "", `"writeKey":"wk_web"`},
	"bearer_and_body":   {"Bearer a.b.c", `"writeKey":"wk_web"`, ""},
	"bearer_and_item":   {"Bearer a.b.c", "", `"writeKey":"wk_web"`},
	"unreadable_header": {"Basic %%%", `"writeKey":"wk_web"`, ""},
}

// contentTypes are those that SDKs were seen to send; none may make a difference.
var contentTypes = []string{"", "application/json; charset=UTF-8", "text/plain", "application/x-www-form-urlencoded"}

// form is a way to send one event; the zero value is a plain POST.
type form struct {
	path, kind, auth, contentType string
	gzip, chunked                 bool
}

// forms returns all combinations.
func forms() (all []form) {
	for _, name := range slices.Sorted(maps.Keys(paths)) {
		for _, path := range pathForms {
			for auth := range authForms {
				for _, contentType := range contentTypes {
					for bits := range 4 {
						all = append(all, form{fmt.Sprintf(path, name), paths[name], auth, contentType, bits&1 > 0, bits&2 > 0})
					}
				}
			}
		}
	}
	return all
}

// deflated caches compressed bodies, because compressing takes most of the time.
var deflated = map[string][]byte{}

// request makes the form's request to that host.
func (f form) request(t *testing.T, host string) *http.Request {
	t.Helper()
	auth := authForms[f.auth]
	const member = `"userId":"u"`
	join := func(members ...string) string {
		return "{" + strings.Join(slices.DeleteFunc(members, func(m string) bool { return m == "" }), ",") + "}"
	}
	body := join(member, auth.body, auth.item) // for a single event, body and item are the same
	if f.kind == "" {
		body = join(`"batch":[`+join(`"type":"group"`, member, auth.item)+`]`, auth.body)
	}
	raw := []byte(body)
	if f.gzip {
		if deflated[body] == nil {
			deflated[body] = zipped(t, body).Bytes()
		}
		raw = deflated[body]
	}
	var from io.Reader = bytes.NewReader(raw)
	if f.chunked {
		from = io.MultiReader(bytes.NewReader(raw[:3]), bytes.NewReader(raw[3:])) // hides the length
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, host+f.path, from)
	require.NoError(t, err)
	if auth.header != "" {
		r.Header.Set("Authorization", auth.header)
	}
	if f.contentType != "" {
		r.Header.Set("Content-Type", f.contentType)
	}
	if f.gzip {
		r.Header.Set("Content-Encoding", "gzip")
	}
	return r
}

// requireStored requires that the topic holds the form's event and nothing else.
func (f form) requireStored(t *testing.T, b *fixture) {
	t.Helper()
	records := b.topic.take()
	require.Len(t, records, 1, "%+v", f)
	var line map[string]any
	require.NoError(t, json.Unmarshal(records[0].Value, &line))
	want := f.kind
	if want == "" {
		want = "group"
	}
	require.Equal(t, []any{"u", want, "web"}, []any{line["userId"], line["type"], line["projectId"]}, "%+v", f)
	require.NotContains(t, line, "writeKey")
}

// TestEveryCombinationOfForms: the path, the place of the key, the encoding and the content type
// have no effect on each other.
func TestEveryCombinationOfForms(t *testing.T) {
	b := newFixture(t, Config{})
	all := forms()
	for _, f := range all {
		w := b.do(f.request(t, "http://collector"))
		require.Equal(t, http.StatusOK, w.Code, "%+v: %s", f, w.Body)
		require.JSONEq(t, `{"success":true}`, w.Body.String())
		f.requireStored(t, b)
	}
	require.Zero(t, b.inFlight.used.Load())
	require.Len(t, all, 15*6*9*4*4)
}

// TestFormsOverASocket: what holds for the handler also holds behind net/http, which cleans paths,
// drops lengths and answers some requests itself.
func TestFormsOverASocket(t *testing.T) {
	b := newFixture(t, Config{Listen: "127.0.0.1:0"})
	host, stop := startServing(t, b)
	client := &http.Client{Transport: &http.Transport{}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for i, f := range forms() {
		if i%47 > 0 { // coprime to the number of values of each property, so every value is tried
			continue
		}
		res, err := client.Do(f.request(t, host))
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Equal(t, http.StatusOK, res.StatusCode, "%+v", f)
		f.requireStored(t, b)
	}
	client.CloseIdleConnections()
	require.NoError(t, stop())
}

// TestEveryMethodOnEveryPath: what is not part of the API is refused with a message, reads have no
// effect, and a page may always send a preflight.
func TestEveryMethodOnEveryPath(t *testing.T) {
	b := newFixture(t, Config{})
	methods := []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "BREW"}
	type answers map[string]int                             // "*": all other methods
	event := answers{"*": 405, "OPTIONS": 204, "POST": 400} // there is no body
	read := answers{"*": 405, "OPTIONS": 204, "GET": 200, "HEAD": 200}
	nothing, nowhere := answers{"*": 404, "OPTIONS": 204}, answers{"*": 404}
	expected := map[string]answers{
		"/v1/projects/wk_web/settings":       read,
		"/v1/projects/wk_web/settings/":      read,
		"//v1/projects//wk_web/settings":     read,
		"/v1/projects/nobody/settings":       {"*": 405, "OPTIONS": 204, "GET": 404, "HEAD": 404},
		"/v1/projects/wk_web":                nothing,
		"/v1/projects/wk_web/a/settings":     nothing,
		"/v1/pixel/nothing":                  read,
		"/v1/pixel/track?writeKey=nobody&a=": read,
		"/v1/batch/more":                     nothing,
		"/v1/Track":                          nothing,
		"/v1/../v1/track":                    nothing,
		"/v1/track%2f":                       event,
		"/v1/":                               nowhere,
		"/v1":                                nowhere,
		"/v2/track":                          nowhere,
		"/track":                             nowhere,
		"/favicon.ico":                       nowhere,
		"/":                                  nowhere,
	}
	for name := range paths {
		for _, path := range pathForms {
			expected[fmt.Sprintf(path, name)] = event
		}
	}
	for target, want := range expected {
		for _, method := range methods {
			status, ok := want[method]
			if !ok {
				status = want["*"]
			}
			at, err := url.ParseRequestURI(target)
			require.NoError(t, err)
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.Method, r.URL = method, at
			w := b.do(r)
			require.Equal(t, status, w.Code, "%s %s: %s", method, target, w.Body)
			if status >= 400 {
				require.Contains(t, w.Body.String(), `"success":false`, "%s %s", method, target)
			}
			if status == http.StatusMethodNotAllowed {
				require.NotEmpty(t, w.Header().Get("Allow"), "%s %s", method, target)
			}
		}
	}
	require.Empty(t, b.topic.take())
	require.Zero(t, b.inFlight.used.Load())
}
