package collector

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/event"
)

func TestEveryPath(t *testing.T) {
	b := newFixture(t, Config{})
	for path, kind := range map[string]string{
		"identify": "identify", "track": "track", "page": "page", "screen": "screen", "group": "group", "alias": "alias",
		"i": "identify", "t": "track", "p": "page", "s": "screen", "g": "group", "a": "alias",
		"batch": "", "import": "", "b": "",
	} {
		for _, form := range []string{"/v1/%s", "/v1/%s/", "//v1/%s", "/v1//%s//"} {
			t.Run(fmt.Sprintf(form, path), func(t *testing.T) {
				body, want := `{"userId":"u"}`, kind
				if kind == "" {
					body, want = `{"batch":[{"type":"group","userId":"u"}]}`, "group"
				}
				before := time.Now().UnixMilli()
				w := b.do(post(fmt.Sprintf(form, path), text(body)))
				require.Equal(t, http.StatusOK, w.Code, w.Body)
				require.JSONEq(t, `{"success":true}`, w.Body.String())

				records := b.topic.take()
				require.Len(t, records, 1)
				var line struct{ Type, ReceivedAt, ProjectID, UserID, MessageID string }
				require.NoError(t, json.Unmarshal(records[0].Value, &line))
				require.Equal(t, want, line.Type)
				require.Equal(t, "web", line.ProjectID)
				require.Equal(t, "web", string(records[0].Key))
				source, _ := records[0].Header("sealift-source")
				require.Equal(t, "web", string(source))
				_, vouched := records[0].Header("sealift-line")
				require.True(t, vouched)
				message, _ := records[0].Header("sealift-message")
				require.Equal(t, line.MessageID, string(message))
				header, _ := records[0].Header("sealift-received")
				received, err := strconv.ParseInt(string(header), 10, 64)
				require.NoError(t, err)
				require.GreaterOrEqual(t, received, before)
				require.Equal(t, time.UnixMilli(received).UTC().Format("2006-01-02T15:04:05.000Z"), line.ReceivedAt)
			})
		}
	}
}

func TestEveryFormOfAuthentication(t *testing.T) {
	b := newFixture(t, Config{})
	encode := base64.StdEncoding.EncodeToString
	for form, c := range map[string]struct{ authorization, body, sources string }{
		"basic":                    {"Basic " + encode([]byte("wk_web:")), `{"batch":[{}]}`, "web"},
		"basic_without_colon":      {"Basic " + encode([]byte("wk_web")), `{"batch":[{}]}`, "web"},
		"basic_with_password":      {"Basic " + encode([]byte("wk_web:x:y")), `{"batch":[{}]}`, "web"},
		"basic_lower_case":         {"basic " + encode([]byte("wk_web:")), `{"batch":[{}]}`, "web"},
		"basic_not_padded":         {"Basic " + strings.TrimRight(encode([]byte("wk_web:")), "="), `{"batch":[{}]}`, "web"},
		"body_of_batch":            {"", `{"batch":[{},{}],"writeKey":"wk_server"}`, "server server"},
		"each_event":               {"", `{"batch":[{"writeKey":"wk_web"},{"writeKey":"wk_server2"}]}`, "web server"},
		"bearer_and_body":          {"Bearer some.token", `{"batch":[{}],"writeKey":"wk_web"}`, "web"},
		"basic_before_body":        {"Basic " + encode([]byte("wk_web:")), `{"batch":[{"writeKey":"wk_server"}],"writeKey":"wk_server"}`, "web"},
		"a_proxys_basic_and_body":  {"Basic " + encode([]byte("proxy:secret")), `{"batch":[{}],"writeKey":"wk_web"}`, "web"},
		"basic_invalid_base64":     {"Basic ???", `{"batch":[{}],"writeKey":"wk_web"}`, "web"},
		"second_key_of_the_source": {"", `{"batch":[{}],"writeKey":"wk_server2"}`, "server"},
	} {
		t.Run(form, func(t *testing.T) {
			r := post("/v1/batch", text(c.body))
			r.Header.Del("Authorization")
			if c.authorization != "" {
				r.Header.Set("Authorization", c.authorization)
			}
			w := b.do(r)
			require.Equal(t, http.StatusOK, w.Code, w.Body)
			var got []string
			for _, record := range b.topic.take() {
				source, _ := record.Header("sealift-source")
				require.Equal(t, string(source), string(record.Key))
				require.Contains(t, string(record.Value), `"projectId":"`+string(source)+`"`)
				require.NotContains(t, string(record.Value), "wk_")
				got = append(got, string(source))
			}
			require.Equal(t, c.sources, strings.Join(got, " "))
		})
	}
}

func zipped(t testing.TB, parts ...string) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	for _, part := range parts {
		z := gzip.NewWriter(&b)
		_, err := z.Write([]byte(part))
		require.NoError(t, err)
		require.NoError(t, z.Close())
	}
	return &b
}

func TestBodiesInEveryEncoding(t *testing.T) {
	b := newFixture(t, Config{})
	const body = `{"batch":[{"event":"a"},{"event":"b"}]}`
	type set = map[string]string
	large := `{"batch":[` + strings.Repeat(`{"event":"x"},`, 2000) + `{}],"pad":"` + strings.Repeat("p", 400<<10) + `"}`
	for hazard, c := range map[string]struct {
		body    io.Reader
		headers set
		events  int
	}{
		"plain":                     {text(body), set{"Content-Type": "application/json"}, 2},
		"no_content_type":           {text(body), nil, 2},
		"text_plain":                {text(body), set{"Content-Type": "text/plain;charset=UTF-8"}, 2},
		"gzip":                      {zipped(t, body), set{"Content-Encoding": "gzip"}, 2},
		"gzip_as_a_form":            {zipped(t, body), set{"Content-Encoding": "gzip", "Content-Type": "application/x-www-form-urlencoded"}, 2},
		"gzip_unannounced":          {zipped(t, body), nil, 2},
		"gzip_of_two_members":       {zipped(t, body[:10], body[10:]), set{"Content-Encoding": "gzip"}, 2},
		"announced_but_not_gzip":    {text(body), set{"Content-Encoding": "gzip"}, 2},
		"chunked":                   {io.MultiReader(text(body[:7]), text(body[7:])), nil, 2},
		"chunked_gzip":              {io.MultiReader(zipped(t, body)), set{"Content-Encoding": "gzip"}, 2},
		"large":                     {text(large), nil, 2001},
		"large_gzip":                {zipped(t, large), set{"Content-Encoding": "gzip"}, 2001},
		"empty_batch":               {text(`{"batch":[]}`), nil, 0},
		"a_body_of_exactly_520_KiB": {text(`{"batch":[{}],"pad":"` + strings.Repeat("p", event.MaxBody-23) + `"}`), nil, 1},
	} {
		t.Run(hazard, func(t *testing.T) {
			r := post("/v1/batch", c.body)
			if r.ContentLength < 0 {
				require.Contains(t, hazard, "chunked")
			}
			r.Header.Set("Authorization", "Basic d2tfd2ViOg==")
			for name, value := range c.headers {
				r.Header.Set(name, value)
			}
			w := b.do(r)
			if c.events == 0 { // there is no event with a key, but Basic authentication has one
				require.Equal(t, http.StatusOK, w.Code, w.Body)
			}
			require.Equal(t, http.StatusOK, w.Code, w.Body)
			require.Len(t, b.topic.take(), c.events)
			require.Zero(t, b.inFlight.used.Load())
		})
	}
}

func TestRefusalsNameTheFixAndLeakNothing(t *testing.T) {
	b := newFixture(t, Config{})
	noise := make([]byte, 600<<10)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range noise {
		noise[i] = byte(rng.Uint32())
	}
	for hazard, c := range map[string]struct {
		method, path, body string
		headers            map[string]string
		status             int
		code               string
	}{
		"malformed":             {"POST", "/v1/track", `{"a":sEcReT}`, nil, 400, "malformed"},
		"empty":                 {"POST", "/v1/track", ``, nil, 400, "malformed"},
		"not_an_object":         {"POST", "/v1/batch", `[{"event":"sEcReT"}]`, nil, 400, "malformed"},
		"no_batch":              {"POST", "/v1/batch", `{"event":"sEcReT"}`, nil, 400, "malformed"},
		"only_bad_events":       {"POST", "/v1/batch", `{"batch":["sEcReT",{"messageId":"` + strings.Repeat("x", 101) + `"}]}`, nil, 400, "not_a_json_object"},
		"too_deep":              {"POST", "/v1/track", `{"a":` + strings.Repeat("[", 600) + strings.Repeat("]", 600) + `}`, nil, 400, "too_deep"},
		"event_too_large":       {"POST", "/v1/track", `{"a":"` + strings.Repeat("x", 32<<10) + `"}`, nil, 400, "event_too_large"},
		"message_id_too_long":   {"POST", "/v1/track", `{"messageId":"` + strings.Repeat("x", 101) + `"}`, nil, 400, "message_id_too_long"},
		"broken_gzip":           {"POST", "/v1/track", "\x1f\x8b\x08sEcReT", nil, 400, "invalid_gzip"},
		"truncated_gzip":        {"POST", "/v1/track", zipped(t, `{"event":"sEcReT"}`).String()[:20], nil, 400, "invalid_gzip"},
		"other_encoding":        {"POST", "/v1/track", `{}`, map[string]string{"Content-Encoding": "br"}, 415, "content_encoding"},
		"too_many_events":       {"POST", "/v1/batch", `{"batch":[` + strings.Repeat(`{},`, 2500) + `{}]}`, nil, 413, "too_many_events"},
		"body_too_large":        {"POST", "/v1/batch", string(noise), nil, 413, "batch_too_large"},
		"bomb":                  {"POST", "/v1/batch", zipped(t, strings.Repeat(" ", 10<<20)).String(), nil, 413, "batch_too_large"},
		"bomb_of_empty_members": {"POST", "/v1/batch", strings.Repeat(zipped(t, "").String(), 30_000), nil, 413, "batch_too_large"},
		"unknown_key":           {"POST", "/v1/track", `{"writeKey":"sEcReT"}`, map[string]string{"Authorization": ""}, 401, "unknown_write_key"},
		"unknown_key_in_basic":  {"POST", "/v1/track", `{}`, map[string]string{"Authorization": "Basic c0VjUmVUOg=="}, 401, "unknown_write_key"},
		"no_key":                {"POST", "/v1/track", `{"userId":"u"}`, map[string]string{"Authorization": ""}, 401, "no_write_key"},
		"no_key_for_any_item":   {"POST", "/v1/batch", `{"batch":[{},null]}`, map[string]string{"Authorization": ""}, 401, "no_write_key"},
		"unknown_key_of_items":  {"POST", "/v1/batch", `{"batch":[{},{"writeKey":"sEcReT"}]}`, map[string]string{"Authorization": ""}, 401, "unknown_write_key"},
		"no_key_no_event":       {"POST", "/v1/batch", `{"batch":[]}`, map[string]string{"Authorization": ""}, 401, "no_write_key"},
		"get":                   {"GET", "/v1/track", ``, nil, 405, "method"},
		"put":                   {"PUT", "/v1/batch", `{}`, nil, 405, "method"},
		"unknown_path":          {"POST", "/v1/trakc", `{}`, nil, 404, "path"},
		"no_version":            {"POST", "/track", `{}`, nil, 404, "path"},
		"root":                  {"GET", "/", ``, nil, 404, "path"},
		"deeper_path":           {"POST", "/v1/track/x", `{}`, nil, 404, "path"},
	} {
		t.Run(hazard, func(t *testing.T) {
			r := post(c.path, text(c.body))
			r.Method = c.method
			for name, value := range c.headers {
				r.Header.Set(name, value)
			}
			w := b.do(r)
			require.Equal(t, c.status, w.Code, w.Body)
			var refused struct {
				Success       bool
				Code, Message string
			}
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &refused), w.Body)
			require.False(t, refused.Success)
			require.Equal(t, c.code, refused.Code)
			require.NotEmpty(t, refused.Message)
			require.NotContains(t, w.Body.String()+b.logged.String(), "sEcReT")
			require.Empty(t, w.Header().Get("Retry-After"), "a retry would not help")
			require.Empty(t, b.topic.take(), "the request was accepted in part")
			require.Empty(t, b.dead.take(), "a refused event became a dead letter")
			require.Zero(t, b.inFlight.used.Load())
			require.Positive(t, b.metric(t, "sealift_collector_refused_total", "reason", c.code))
		})
	}
}

func TestKeyChangesApplyImmediately(t *testing.T) {
	b := newFixture(t, Config{})
	require.Equal(t, http.StatusOK, b.do(post("/v1/track", text(`{}`))).Code)
	w := workspaces()
	w[0].Sources[0].WriteKeys = []string{"wk_other"}
	snapshot, err := catalog.NewSnapshot(w)
	require.NoError(t, err)
	b.live.Set(snapshot)
	require.Equal(t, http.StatusUnauthorized, b.do(post("/v1/track", text(`{}`))).Code)
	require.Equal(t, http.StatusOK, b.do(post("/v1/track", text(`{"writeKey":"wk_other"}`))).Code)
}

func TestUnknownKeysAreNotRefusedBeforeTheCatalogIsLoaded(t *testing.T) {
	loaded := make(chan struct{})
	b := newFixture(t, Config{}, func(d *Deps) { d.Loaded = loaded })
	w := b.do(post("/v1/track", text(`{"writeKey":"wk_new"}`)))
	require.Equal(t, http.StatusServiceUnavailable, w.Code, "an SDK drops what is answered 401")
	require.NotEmpty(t, w.Header().Get("Retry-After"))
	require.ErrorContains(t, b.Ready(t.Context()), "catalog")
	close(loaded)
	require.NoError(t, b.Ready(t.Context()))
	require.Equal(t, http.StatusOK, b.do(post("/v1/track", text(`{}`))).Code)
}

func TestUnknownKeysAreNotRefusedWhileTheCatalogIsEmpty(t *testing.T) {
	b := newFixture(t, Config{})
	b.live.Set(catalog.NewLive().Snapshot())
	w := b.do(post("/v1/track", text(`{"writeKey":"wk_new"}`)))
	require.Equal(t, http.StatusServiceUnavailable, w.Code, "an SDK drops what is answered 401")
	require.NotEmpty(t, w.Header().Get("Retry-After"))
}

func TestMetricsHaveNoUnboundedLabels(t *testing.T) {
	b := newFixture(t, Config{})
	for i := range 50 {
		b.do(post(fmt.Sprintf("/v1/x%d", i), text(`{}`)))
		b.do(post("/v1/batch", text(fmt.Sprintf(`{"batch":[{"type":"t%d","channel":"c%d"}]}`, i, i))))
		r := post("/v1/track", text(`{}`))
		r.Method = fmt.Sprintf("M%d", i)
		b.do(r)
	}
	families, err := b.registry.Gather()
	require.NoError(t, err)
	for _, family := range families {
		require.LessOrEqual(t, len(family.GetMetric()), 3, family.GetName())
	}
	require.EqualValues(t, 50, b.metric(t, "sealift_collector_events_total", "type", "other", "channel", "server"))
	require.EqualValues(t, 50, b.metric(t, "sealift_collector_requests_total", "path", "batch", "status", "200"))
	require.EqualValues(t, 50, b.metric(t, "sealift_collector_produce_seconds"))
}
