package verify

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/ledger/ledgertest"
	"github.com/sealift/sealift/pkg/objstore"
)

// BenchmarkVerify verifies a chain of 5,000 entries with four delivered files each, in memory: the
// cost of the walk itself, without the network.
func BenchmarkVerify(b *testing.B) {
	ctx := context.Background()
	staging, bucket := objstore.NewMemory("staging"), objstore.NewMemory("customer")
	const entries, files = 5_000, 4
	head := ledgertest.Append(b, staging, ledgertest.Init(testLog, time.UnixMilli(0)))
	for seq := range int64(entries - 1) {
		var all []ledger.File
		for i := range int64(files) {
			first := seq*files*10 + i*10
			all = append(all, fileInHour(seq+1, string(rune('a'+i)), first, first+9))
		}
		head = ledgertest.Append(b, staging, ledgertest.Next(head, all...))
		for i := range all {
			f := &all[i]
			ledgertest.Put(b, staging, f.StagedKey, []byte("12345"))
			key := delivery.ObjectKey("", testLog, f)
			_, err := bucket.Put(ctx, key, strings.NewReader("12345"), objstore.PutOptions{ContentType: "text/plain", ContentEncoding: "gzip", Metadata: delivery.ObjectMetadata(testLog, f)})
			require.NoError(b, err)
			ledgertest.Receipt(b, staging, head, i, "ws/a", delivery.Receipt{Bucket: "b", Key: key, SHA256: f.SHA256, Bytes: 5, Records: f.Records})
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
