package auditor

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/ledger/ledgertest"
	"github.com/sealift/sealift/pkg/meter"
	"github.com/sealift/sealift/pkg/objstore"
)

// far is a store with roughly the latency of S3: 20 ms, and 60 ms for a full page.
type far struct{ objstore.Store }

func (f far) Get(ctx context.Context, key string) (io.ReadCloser, objstore.Info, error) {
	time.Sleep(20 * time.Millisecond)
	return f.Store.Get(ctx, key)
}

func (f far) Head(ctx context.Context, key string) (objstore.Info, error) {
	time.Sleep(20 * time.Millisecond)
	return f.Store.Head(ctx, key)
}

func (f far) List(ctx context.Context, prefix, after string, limit int) ([]objstore.Info, error) {
	infos, err := f.Store.List(ctx, prefix, after, limit)
	time.Sleep(20*time.Millisecond + time.Duration(len(infos))*40*time.Microsecond)
	return infos, err
}

// BenchmarkStatus has 10,000 destinations that each got a file a day for 90 days, over 32
// partitions. For 20 of them the last 30 days are parked, and half of what was sealed since the
// last audit is delivered. One operation of "audited" is one `sealift destinations status`; one of
// "walked" is the same without hints.
func BenchmarkStatus(b *testing.B) {
	const destinations, partitions, days, broken, brokenDays = 10_000, 32, 90, 20, 30
	staging := objstore.NewMemory("staging")
	for p := range partitions {
		l := log0
		l.Partition = p
		head := ledgertest.Append(b, staging, ledgertest.Init(l, time.Now()))
		for quarter := range 4*days + 1 {
			since := quarter == 4*days
			at := time.Now().Add(-time.Duration(4*days-quarter) * 6 * time.Hour)
			if since {
				at = time.Now()
			}
			var files []ledger.File
			for d := p; d < destinations; d += partitions {
				if !since && d/partitions%4 != quarter%4 {
					continue
				}
				files = append(files, ledgertest.File(l, ledger.File{
					Source: fmt.Sprintf("source%05d", d), First: head.LowWatermark + int64(len(files)), Received: at.UnixMilli(), Owed: []string{fmt.Sprintf("ws_%05d/logs", d)},
				}, []byte("x")))
			}
			e := ledgertest.Next(head, files...)
			e.WrittenAt = at.UnixMilli()
			head = ledgertest.Append(b, staging, e)
			for i := range e.Files {
				ref, f := delivery.Ref(e, i), &e.Files[i]
				var d int
				_, err := fmt.Sscanf(f.Owed[0], "ws_%05d/logs", &d)
				require.NoError(b, err)
				switch {
				case since && i%2 == 0:
				case d < broken && quarter >= 4*(days-brokenDays):
					ledgertest.Put(b, staging, delivery.ParkedKey(ref, f.Owed[0]), delivery.Parked{Job: delivery.Job{File: ref, Destination: f.Owed[0]}}.Encode())
				default:
					ledgertest.Receipt(b, staging, e, i, f.Owed[0], delivery.Receipt{
						Bucket: "logs", Key: delivery.ObjectKey("", l, f), SHA256: f.SHA256, Bytes: 1, Records: 1, Worker: "copier", At: time.Now().UnixMilli(),
					})
				}
			}
		}
	}
	read := func(b *testing.B) {
		var s *Status
		counter := new(meter.Counter)
		for b.Loop() {
			var err error
			s, err = ReadStatus(meter.WithCounter(b.Context(), counter), StatusConfig{}, meter.CountingStore(far{staging}), nil)
			require.NoError(b, err)
		}
		require.Len(b, s.Destinations, destinations)
		var files, parked int64
		for _, d := range s.Destinations {
			files += d.Delivered.Files + d.Pending.Files + d.Parked.Files
			parked += d.Parked.Files
		}
		require.EqualValues(b, destinations*(days+1), files)
		require.Positive(b, parked)
		c := counter.Counts()
		b.ReportMetric(float64(c.StagingReads)/float64(b.N), "GETs/op")
		b.ReportMetric(float64(c.StagingWrites)/float64(b.N), "LISTs/op")
		b.ReportMetric(float64(s.Walked), "entries/op")
		b.ReportMetric(c.Cost().Operator/float64(b.N)*100, "cents/op")
	}
	b.Run("walked", read)
	a, err := New(Config{Grace: 10 * time.Minute}, Deps{Staging: staging, Jobs: &fakeJobs{}, Log: slog.New(slog.DiscardHandler)})
	require.NoError(b, err)
	_, err = a.Audit(b.Context())
	require.NoError(b, err)
	b.Run("audited", read)
}
