package event

import (
	"bytes"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// FuzzParse compares the scanner with encoding/json, and checks every line against the promises of
// the package.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		`{"batch":[{"type":"track","event":"e","context":{"library":{"name":"analytics.js"}}},{}],"context":{"a":1},"sentAt":"2026-11-22T18:00:00Z"}`,
		`{"writeKey":"k","wr\u0069teKey":"k","timestamp":"2015-2-02T00:30:08.276Z","properties":{"n":9007199254740993,"s":"\ud83d\udc55"}}`,
		" {\"a\" : [ 1.5e-3 , null , true ] }\n", "{\"a\":\"\xff\"}", `{"batch":[[]]}`, "\xef\xbb\xbf{}",
	} {
		f.Add(uint8(Batch), []byte(seed))
		f.Add(uint8(Track), []byte(seed))
	}
	f.Fuzz(func(t *testing.T, k uint8, body []byte) {
		kind := Kind(k) % kindCount
		var r Request
		err := r.Parse(kind, bytes.Clone(body))
		text := bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))
		if !json.Valid(text) {
			if err == nil && utf8.Valid(text) {
				t.Fatalf("accepted invalid JSON: %q", body)
			}
		} else if trimmed := bytes.TrimLeft(text, " \t\r\n"); err != nil && kind != Batch && trimmed[0] == '{' {
			var refused *Error
			require.ErrorAs(t, err, &refused)
			if refused.Reason == ErrMalformed {
				t.Fatalf("refused JSON %q: %v", body, err)
			}
		}
		if err != nil {
			return
		}
		for i := range r.Len() {
			line, _ := r.AppendLine(nil, i, stamp())
			if !json.Valid(line) || !utf8.Valid(line) || bytes.ContainsAny(line, "\n\r") {
				t.Fatalf("bad line %q of %q", line, body)
			}
			var fields map[string]json.RawMessage
			if err := json.Unmarshal(line, &fields); err != nil {
				t.Fatalf("%v: %q", err, line)
			}
			if _, ok := fields["writeKey"]; ok {
				t.Fatalf("write key in %q", line)
			}
			for _, name := range []string{"messageId", "receivedAt", "timestamp", "projectId", "version", "channel", "context", "integrations"} {
				if len(fields[name]) == 0 {
					t.Fatalf("no %s in %q", name, line)
				}
			}
		}
	})
}

func FuzzParseTime(f *testing.F) {
	for _, seed := range []string{`"2026-11-22T18:14:08.580Z"`, `"2015-2-02T00:30:08+0130"`, `1700000000.5`, `"2026-11-22"`, `"9999-12-31T23:59:59-01:00"`, `"0000-01-01"`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if !json.Valid(raw) {
			return
		}
		raw = bytes.TrimSpace(raw)
		if at, ok := parseTime(raw); ok {
			for _, at := range []time.Time{at, correctSkew(received, received, at)} {
				const layout = "2006-01-02T15:04:05.000Z"
				if got, want := string(appendTime(nil, at)), at.Format(layout); got != want || len(got) != len(layout) {
					t.Fatalf("%q became %s, want %s", raw, got, want)
				}
			}
		}
	})
}

func FuzzPixelBody(f *testing.F) {
	f.Add("data=eyJhIjoxfQ")
	f.Add("a.b.c=1&a.b=2&.=3&a..b=4")
	f.Fuzz(func(t *testing.T, query string) {
		values, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		body, err := PixelBody(values)
		if err == nil && strings.TrimSpace(values.Get("data")) == "" && !json.Valid(body) {
			t.Fatalf("%q became %q", query, body)
		}
	})
}
