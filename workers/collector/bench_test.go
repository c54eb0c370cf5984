package collector

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sealift/sealift/pkg/stream"
)

// discardProducer acknowledges everything immediately.
type discardProducer struct{}

func (discardProducer) Produce(context.Context, ...stream.Record) error { return nil }

// BenchmarkCollect compares the collector with a bare handler that reads the body and produces it
// as it is: the difference is parsing, stamping and bookkeeping. Both run without network and
// Kafka, which would hide the difference.
func BenchmarkCollect(b *testing.B) {
	event := `{"timestamp":"2026-11-22T18:14:08.580Z","userId":"user","type":"track","event":"Product Viewed","properties":{"product_id":"507f1f77bcf86cd799439011","sku":"G-32","name":"Monopoly: 3rd Edition","price":18.99,"url":"https://www.example.com/product/path"},"context":{"userAgent":"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari/605.1.15","library":{"name":"analytics.js","version":"npm:next-1.84.3"}},"messageId":"ajs-next-1763835248580-8b0f2a8e"}`
	bare := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || (discardProducer{}).Produce(r.Context(), stream.Record{Value: body}) != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		_, _ = w.Write(success)
	})
	full := newFixture(b, Config{}, func(d *Deps) { d.Producer = discardProducer{} }).Handler()
	for _, n := range []int{1, 100} {
		body := `{"batch":[` + strings.Repeat(event+",", n-1) + event + `],"sentAt":"2026-11-22T18:14:08.583Z","writeKey":"wk_web"}`
		for name, handler := range map[string]http.Handler{"bare": bare, "collector": full} {
			b.Run(fmt.Sprintf("%s/events=%d", name, n), func(b *testing.B) {
				b.SetBytes(int64(len(body)))
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						w := httptest.NewRecorder()
						handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/v1/batch", strings.NewReader(body)))
						if w.Code != http.StatusOK {
							b.Errorf("status %d", w.Code)
							return
						}
					}
				})
			})
		}
	}
}
