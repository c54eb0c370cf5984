package collector

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
)

// FuzzRequest sends whatever to the whole request path: no panic, no status
// outside the contract, no 200 for a POST without its events in the topic, no
// write key and no newline in a line, no byte left in flight.
func FuzzRequest(f *testing.F) {
	f.Add("POST", "/v1/batch", "Basic d2tfd2ViOg==", "gzip", []byte(`{"batch":[{"event":"e"}],"context":{"a":1}}`))
	f.Add("POST", "/v1/t", "", "", []byte(`{"writeKey":"wk_web"}`))
	f.Add("POST", "/v1/import/", "Basic d2tfd2Vi", "gzip", zipped(f, `{"batch":[{}],"writeKey":"wk_server"}`).Bytes())
	f.Add("GET", "/v1/pixel/track?writeKey=wk_web&a.b=c", "", "", []byte(nil))
	f.Add("GET", "/v1/projects/wk_web/settings", "", "", []byte(nil))
	f.Add("OPTIONS", "/v1/t", "", "", []byte(nil))
	b := newBench(f, Config{})
	f.Fuzz(func(t *testing.T, method, target, authorization, encoding string, body []byte) {
		at, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
		r.Method, r.URL = method, at
		r.Header.Set("Authorization", authorization)
		r.Header.Set("Content-Encoding", encoding)
		w := b.do(r)
		switch w.Code {
		case 200, 204, 400, 401, 404, 405, 408, 413, 415, 503:
		default:
			t.Fatalf("status %d", w.Code)
		}
		records := b.topic.take()
		if method == http.MethodPost && w.Code != http.StatusOK && len(records) > 0 {
			t.Fatalf("%d records after %d", len(records), w.Code)
		}
		for _, record := range records {
			var line map[string]json.RawMessage
			if err := json.Unmarshal(record.Value, &line); err != nil || bytes.ContainsRune(record.Value, '\n') {
				t.Fatalf("line %q: %v", record.Value, err)
			}
			if _, ok := line["writeKey"]; ok {
				t.Fatalf("write key in %q", record.Value)
			}
		}
		if used := b.inFlight.used.Load(); used != 0 {
			t.Fatalf("%d bytes left in flight", used)
		}
	})
}
