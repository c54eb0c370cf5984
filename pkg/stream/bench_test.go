package stream

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// BenchmarkRead reads an answer with 20 batches of 500 records of about 400 bytes.
func BenchmarkRead(b *testing.B) {
	for _, codec := range []string{"none", "lz4", "snappy", "zstd", "gzip"} {
		b.Run(codec, func(b *testing.B) {
			c := clientWithRecords(b, "none")
			p := c.NewProducer(ProducerConfig{Topic: "t", Compression: codec})
			defer p.Close(b.Context())
			for batch := range 20 {
				var records []Record
				for i := range 500 {
					records = append(records, Record{
						Key:     []byte("qv5iYYMxd94DahFpRzm58y"),
						Value:   fmt.Appendf(nil, `{"anonymousId":"%032x","event":"Product Viewed","n":%d,"properties":{"sku":"%x","price":%d},"context":{"page":{"url":"https://example.com/products/%d"},"userAgent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"},"receivedAt":"%s"}`, batch*7919+i*104729, i, i*i, batch, i%40, time.UnixMilli(int64(i)).UTC().Format(time.RFC3339Nano)),
						Headers: []Header{{Key: "sealift-source", Value: []byte("qv5iYYMxd94DahFpRzm58y")}, {Key: "sealift-received", Value: []byte("1700000000000")}},
					})
				}
				require.NoError(b, p.Produce(b.Context(), records...))
			}
			f := c.NewFetcher("t", 0)
			f.inputLimit = 0
			_, err := f.Fetch(b.Context(), 100, FetchOptions{MaxBytes: 8 << 20})
			require.NoError(b, err)
			a, err := readFetchResponse(f.response, "t", 0)
			require.NoError(b, err)
			in := bytes.Clone(a.records)
			b.ReportAllocs()
			records, _, err := f.read(in, 100)
			require.NoError(b, err)
			size := 0
			for i := range records {
				size += records[i].size()
			}
			b.SetBytes(int64(size))
			b.ResetTimer()
			for range b.N {
				_, _, _ = f.read(in, 100)
			}
		})
	}
}
