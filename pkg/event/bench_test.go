package event

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

// sampleBatch returns a batch of n events, as analytics-next sends them or, with spaces, as the
// Python library does.
func sampleBatch(n int, spaces bool) []byte {
	var items []string
	for i := range n {
		items = append(items, fmt.Sprintf(`{"timestamp":"2026-11-22T18:14:08.580Z","integrations":{},"userId":"user-%d","anonymousId":"8b0f2a8e-6d43-4b5e-9c51-0f2d5b0f6f3e","type":"track","event":"Product Viewed","properties":{"product_id":"507f1f77bcf86cd799439011","sku":"G-32","category":"Games","name":"Monopoly: 3rd Edition","price":18.99,"quantity":1,"url":"https://www.example.com/product/path","products":[{"id":1,"name":"Café"},{"id":2,"name":"👕"}]},"context":{"page":{"path":"/product/path","referrer":"","search":"","title":"Monopoly","url":"https://www.example.com/product/path"},"userAgent":"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari/605.1.15","locale":"en-US","library":{"name":"analytics.js","version":"npm:next-1.84.3"},"timezone":"Europe/Berlin"},"messageId":"ajs-next-1763835248580-8b0f2a8e-%04d"}`, i, i))
	}
	body := `{"writeKey":"demo","sentAt":"2026-11-22T18:14:08.583Z","batch":[` + strings.Join(items, ",") + `]}`
	if spaces {
		body = strings.NewReplacer(`":`, `": `, `,"`, `, "`).Replace(body)
	}
	return []byte(body)
}

// BenchmarkParse measures the way from body to stored lines, next to what validation alone costs
// other libraries.
func BenchmarkParse(b *testing.B) {
	for name, spaces := range map[string]bool{"compact": false, "spaced": true} {
		body := sampleBatch(100, spaces)
		run := func(what string, fn func(scratch []byte)) {
			b.Run(name+"/"+what, func(b *testing.B) {
				b.SetBytes(int64(len(body)))
				b.ReportAllocs()
				scratch := make([]byte, len(body))
				for b.Loop() {
					copy(scratch, body)
					fn(scratch)
				}
			})
		}
		var r Request
		var out []byte
		st := stamp()
		run("parse", func(p []byte) { _ = r.Parse(Batch, p) })
		run("parse+lines", func(p []byte) {
			_ = r.Parse(Batch, p)
			out = out[:0]
			for i := range r.Len() {
				out, _ = r.AppendLine(out, i, st)
			}
		})
		run("gjson.Valid", func(p []byte) { _ = gjson.ValidBytes(p) })
		run("json.Valid", func(p []byte) { _ = json.Valid(p) })
	}
}
