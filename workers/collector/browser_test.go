package collector

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"image/gif"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"
)

func TestPreflight(t *testing.T) {
	b := newFixture(t, Config{})
	for _, path := range []string{"/v1/t", "/v1/batch", "/v1/projects/wk_web/settings", "/v1/pixel/track"} {
		r := httptest.NewRequest(http.MethodOptions, path, nil)
		r.Header.Set("Origin", "https://shop.example")
		r.Header.Set("Access-Control-Request-Method", "POST")
		r.Header.Set("Access-Control-Request-Headers", "authorization,content-type,x-retry-count")
		w := b.do(r)
		require.Equal(t, http.StatusNoContent, w.Code)
		require.Equal(t, "https://shop.example", w.Header().Get("Access-Control-Allow-Origin"))
		require.Equal(t, "authorization,content-type,x-retry-count", w.Header().Get("Access-Control-Allow-Headers"))
		require.Contains(t, w.Header().Get("Access-Control-Allow-Methods"), "POST")
		require.Contains(t, w.Header().Values("Vary"), "Origin")
	}
	for _, body := range []string{`{}`, `{"broken`} {
		r := post("/v1/t", text(body))
		r.Header.Set("Origin", "null")
		require.Equal(t, "null", b.do(r).Header().Get("Access-Control-Allow-Origin"), "errors are readable too")
	}
	require.Empty(t, b.do(post("/v1/t", text(`{}`))).Header().Get("Access-Control-Allow-Origin"))
}

func TestSettings(t *testing.T) {
	get := func(b *fixture, key, proto string) (int, string, map[string]any) {
		r := httptest.NewRequest(http.MethodGet, "/v1/projects/"+key+"/settings", nil)
		r.Host = "asked.example.com"
		r.Header.Set("X-Forwarded-Host", "evil.example")
		r.Header.Set("X-Forwarded-Proto", proto)
		w := b.do(r)
		require.NotContains(t, w.Body.String(), "evil")
		var body struct{ Integrations map[string]map[string]any }
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &body))
		return w.Code, w.Header().Get("Cache-Control"), body.Integrations["Segment.io"]
	}
	b := newFixture(t, Config{})
	status, cached, segment := get(b, "wk_web", "http, https")
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "wk_web", segment["apiKey"])
	require.NotContains(t, segment, "apiHost", "SDKs would speak https with it")
	require.Equal(t, "private, max-age=120", cached, "a shared cache would serve this answer to https clients, which would then send to Segment")
	for _, proto := range []string{"https", "HTTPS", "https,http", "https , https"} { // several proxies make a list
		_, cached, segment = get(b, "wk_web", proto)
		require.Equal(t, "asked.example.com/v1", segment["apiHost"], proto)
		require.Equal(t, "private, max-age=120", cached, "a forged Host must not reach other clients through a cache")
	}
	status, _, _ = get(b, "wk_nobody", "https")
	require.Equal(t, http.StatusNotFound, status)
	_, cached, segment = get(newFixture(t, Config{PublicHost: "events.example.com:8443/in"}), "wk_web", "https")
	require.Equal(t, "events.example.com:8443/in/v1", segment["apiHost"])
	require.Equal(t, "public, max-age=120", cached)
}

// TestSettingsBehindAProxy: apiHost is the host that the sender asked for, although nginx by
// default sends the upstream's name as Host.
func TestSettingsBehindAProxy(t *testing.T) {
	b := newFixture(t, Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	for hazard, c := range map[string]struct {
		remote    string
		forwarded []string
		want      string
	}{
		"no_forwarded_host":       {"10.0.0.1:1", nil, "collector_upstream"},
		"forwarded_host":          {"10.0.0.1:1", []string{"events.acme.com"}, "events.acme.com"},
		"after_a_forged_host":     {"10.0.0.1:1", []string{"evil.example, events.acme.com:8443"}, "events.acme.com:8443"},
		"in_a_second_header_line": {"10.0.0.1:1", []string{"evil.example", "events.acme.com"}, "events.acme.com"},
		"empty":                   {"10.0.0.1:1", []string{""}, "collector_upstream"},
		"ipv4_in_ipv6":            {"[::ffff:10.0.0.1]:1", []string{"events.acme.com"}, "events.acme.com"},
		"untrusted_proxy":         {"203.0.113.7:1", []string{"evil.example"}, "collector_upstream"},
		"unknown_peer":            {"@", []string{"evil.example"}, "collector_upstream"},
	} {
		t.Run(hazard, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/v1/projects/wk_web/settings", nil)
			r.Host, r.RemoteAddr = "collector_upstream", c.remote
			r.Header.Set("X-Forwarded-Proto", "https")
			r.Header["X-Forwarded-Host"] = c.forwarded
			w := b.do(r)
			require.Equal(t, c.want+"/v1", gjson.Get(w.Body.String(), `integrations.Segment\.io.apiHost`).String())
			require.Equal(t, "private, max-age=120", w.Header().Get("Cache-Control"))
		})
	}
}

func TestPixelIsAlwaysAnImage(t *testing.T) {
	b := newFixture(t, Config{})
	// Encoded, it contains both characters in which base64's alphabets differ.
	event := []byte(`{"writeKey":"wk_web","userId":"u","event":"Email Opened ?~?>>>"}`)
	data := base64.RawStdEncoding.EncodeToString(event)
	require.Contains(t, data, "/")
	require.Contains(t, data, "+")
	padded := base64.StdEncoding.EncodeToString(event)
	require.Contains(t, padded, "=")
	for hazard, c := range map[string]struct {
		url  string
		user string // the one that is stored; "" if nothing is
		down bool
	}{
		"data":              {"/v1/pixel/track?data=" + data, "u", false},
		"data_escaped":      {"/v1/pixel/track?data=" + url.QueryEscape(data), "u", false},
		"data_padded":       {"/v1/pixel/track?data=" + padded, "u", false},
		"padded_escape":     {"/v1/pixel/track?data=" + url.QueryEscape(padded), "u", false},
		"url_safe_base64":   {"/v1/pixel/track?data=" + base64.URLEncoding.EncodeToString(event), "u", false},
		"url_safe_unpadded": {"/v1/pixel/track?data=" + base64.RawURLEncoding.EncodeToString(event), "u", false},
		"trailing_slash":    {"/v1/pixel/track/?data=" + data, "u", false},
		"double_slash":      {"//v1//pixel//track?data=" + data, "u", false},
		"short_form":        {"/v1/pixel/t?data=" + data, "u", false},
		"parameters":        {"/v1/pixel/page?writeKey=wk_web&userId=u&properties.subject=Hi", "u", false},
		"semicolon":         {"/v1/pixel/page?userId=u;v&writeKey=wk_web&a;b=c", "u;v", false},
		"bad_escape":        {"/v1/pixel/page?writeKey=wk_web&userId=u&a=%zz", "u", false},
		"unknown_key":       {"/v1/pixel/track?writeKey=nobody", "", false},
		"invalid_base64":    {"/v1/pixel/track?data=%21%21", "", false},
		"unknown_type":      {"/v1/pixel/batch?data=" + data, "", false},
		"kafka_away":        {"/v1/pixel/track?data=" + data, "", true},
	} {
		t.Run(hazard, func(t *testing.T) {
			if c.down {
				b.topic.fail(errAway)
				defer b.topic.fail(nil)
			}
			r := httptest.NewRequest(http.MethodGet, c.url, nil)
			r.RemoteAddr = "203.0.113.7:1234"
			r.Header.Set("User-Agent", `Mail "1"`)
			w := b.do(r)
			require.Equal(t, http.StatusOK, w.Code)
			require.Equal(t, "image/gif", w.Header().Get("Content-Type"))
			img, err := gif.Decode(bytes.NewReader(w.Body.Bytes()))
			require.NoError(t, err)
			require.Equal(t, 1, img.Bounds().Dx()*img.Bounds().Dy())
			records := b.topic.take()
			require.Equal(t, c.user != "", len(records) == 1)
			for _, record := range records {
				var line struct {
					UserID, Channel string
					Context         struct{ IP, UserAgent string }
				}
				require.NoError(t, json.Unmarshal(record.Value, &line))
				require.Equal(t, c.user, line.UserID)
				require.Equal(t, "client", line.Channel)
				require.Equal(t, "203.0.113.7", line.Context.IP)
				require.Equal(t, `Mail "1"`, line.Context.UserAgent)
				require.NotContains(t, string(record.Value), "wk_")
			}
			require.Zero(t, b.inFlight.used.Load())
		})
	}
	require.EqualValues(t, 1, b.metric(t, "sealift_collector_refused_total", "reason", "kafka"), "the lost pixel is not counted")
}

// TestPixelsWaitForAParser: a pixel's query waits for a parser, because parsing costs many
// times its size before any write key is checked.
func TestPixelsWaitForAParser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFixture(t, Config{})
		var busy []*scratch
		for range cap(b.parsers) {
			busy = append(busy, <-b.parsers)
		}
		answered := make(chan int)
		go func() {
			answered <- b.do(httptest.NewRequest(http.MethodGet, "/v1/pixel/track?writeKey=wk_web&userId=u&event=e", nil)).Code
		}()
		synctest.Wait()
		require.Zero(t, b.inFlight.used.Load(), "bytes are counted before the pixel has a body")
		for _, p := range busy {
			b.parsers <- p
		}
		require.Equal(t, http.StatusOK, <-answered)
		require.Len(t, b.topic.take(), 1)
		require.Len(t, b.parsers, cap(b.parsers))

		var many strings.Builder
		for i := range 1900 {
			fmt.Fprintf(&many, "&%x%s", i, strings.Repeat(".a", 31))
		}
		b.do(httptest.NewRequest(http.MethodGet, "/v1/pixel/track?writeKey=wk_web&userId=u&event=e"+many.String(), nil))
		require.Empty(t, b.topic.take())
		require.EqualValues(t, 1, b.metric(t, "sealift_collector_refused_total", "reason", "event_too_large"))
	})
}

func TestClientIP(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for hazard, c := range map[string]struct {
		remote    string
		forwarded []string
		want      string
	}{
		"direct":                     {"203.0.113.7:1", nil, "203.0.113.7"},
		"forged_by_the_client":       {"203.0.113.7:1", []string{"1.1.1.1"}, "203.0.113.7"},
		"behind_one_proxy":           {"10.0.0.1:1", []string{"203.0.113.7"}, "203.0.113.7"},
		"forged_behind_a_proxy":      {"10.0.0.1:1", []string{"1.1.1.1, 203.0.113.7"}, "203.0.113.7"},
		"behind_two_proxies":         {"10.0.0.1:1", []string{"1.1.1.1, 203.0.113.7", "10.9.9.9"}, "203.0.113.7"},
		"only_proxies":               {"10.0.0.1:1", []string{"10.0.0.2"}, "10.0.0.2"},
		"no_header":                  {"10.0.0.1:1", nil, "10.0.0.1"},
		"garbage":                    {"10.0.0.1:1", []string{"203.0.113.7, unknown"}, "10.0.0.1"},
		"with_port":                  {"10.0.0.1:1", []string{"203.0.113.7:443"}, "203.0.113.7"},
		"ipv6":                       {"[2001:db8::1]:1", nil, "2001:db8::1"},
		"mapped":                     {"[::ffff:10.0.0.1]:1", []string{"203.0.113.7"}, "203.0.113.7"},
		"forwarded_ipv6_in_brackets": {"10.0.0.1:1", []string{"[2001:db8::1]"}, "2001:db8::1"},
	} {
		t.Run(hazard, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "/", nil)
			r.RemoteAddr = c.remote
			r.Header["X-Forwarded-For"] = c.forwarded
			require.Equal(t, c.want, clientIP(r, trusted).String())
		})
	}
	require.False(t, clientIP(&http.Request{RemoteAddr: "@", URL: &url.URL{}}, nil).IsValid())
}
