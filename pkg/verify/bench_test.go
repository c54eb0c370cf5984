package verify

import (
	"bytes"
	"context"
	"testing"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
)

// BenchmarkVerify is of a chain of 5,000 entries with four delivered files
// each, in memory: what the walk itself costs, without the network.
func BenchmarkVerify(b *testing.B) {
	ctx := context.Background()
	staging, bucket := objstore.NewMemory("staging"), objstore.NewMemory("customer")
	put := func(s *objstore.Memory, key string, body []byte, opts objstore.PutOptions) {
		if _, err := s.Put(ctx, key, bytes.NewReader(body), opts); err != nil {
			b.Fatal(err)
		}
	}
	const entries, files = 5_000, 4
	for seq := range int64(entries) {
		e := ledger.Entry{Version: ledger.EntryVersion, Seq: seq, Kind: ledger.KindSeal, Attempt: string(rune('a' + seq%2)), Topic: "events", Incarnation: "1", Partition: 3, LowWatermark: seq * files * 10}
		if seq == 0 {
			e.Kind = ledger.KindInit
		}
		for i := range int64(files) {
			if seq > 0 {
				first := (seq-1)*files*10 + i*10
				e.Files = append(e.Files, inHour(seq, string(rune('a'+i)), first, first+9))
			}
		}
		body, err := e.Encode()
		if err != nil {
			b.Fatal(err)
		}
		put(staging, ledger.EntryKey(testLog, seq), body, objstore.PutOptions{})
		for i := range e.Files {
			f, ref := &e.Files[i], delivery.Ref(&e, i)
			put(staging, f.StagedKey, []byte("12345"), objstore.PutOptions{})
			key := delivery.ObjectKey("", testLog, f)
			put(bucket, key, []byte("12345"), objstore.PutOptions{ContentType: "text/plain", ContentEncoding: "gzip", Metadata: delivery.ObjectMetadata(testLog, f)})
			put(staging, delivery.ReceiptKey(ref, "ws/a"), delivery.Receipt{File: ref, Destination: "ws/a", Outcome: delivery.Delivered, Bucket: "b", Key: key,
				SHA256: f.SHA256, Bytes: 5, Records: f.Records}.Encode(), objstore.PutOptions{})
		}
	}
	for b.Loop() {
		r, err := Verify(ctx, Config{Topic: "events", Partition: -1}, Deps{Staging: staging, Bucket: func(context.Context, string) (Bucket, error) {
			return Bucket{Store: bucket, Name: "b"}, nil
		}})
		if err != nil || !r.OK() || r.Destinations[0].Objects != (entries-1)*files {
			b.Fatal(err, r.Examples)
		}
		b.ReportMetric(entries/r.TookSeconds, "entries/s")
		b.ReportMetric((entries-1)*files/r.TookSeconds, "files/s")
	}
}
