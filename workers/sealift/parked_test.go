package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/ledger/ledgertest"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/stream"
	"github.com/sealift/sealift/workers/auditor"
	"github.com/sealift/sealift/workers/copier"
)

type noJobs struct{}

func (noJobs) Produce(context.Context, ...stream.Record) error { return nil }

// `sealift parked` uses what the last audit noted, and reads only the ledger entries written since,
// each once.
func TestParkedReadsFewEntries(t *testing.T) {
	staging, l := objstore.NewMemory("staging"), ledger.Log{Topic: "sealift.events", Incarnation: "1"}
	head := ledgertest.Append(t, staging, ledgertest.Init(l, time.Now().Add(-time.Hour)))
	want := map[string]sizedRow{}
	seal := func(entries int) {
		for range entries {
			var files []ledger.File
			for _, dest := range []string{"ws/a", "ws/b", "ws/c"} {
				n := head.LowWatermark + int64(10*len(files))
				files = append(files, ledgertest.File(l, ledger.File{First: n, Last: n + 1 + head.Seq%5, Owed: []string{dest}}, []byte(fmt.Sprint(n))))
			}
			head = ledgertest.Append(t, staging, ledgertest.Next(head, files...))
			for i, f := range files[1:] { // all but the first are parked, for two causes
				cause := fmt.Sprint("cause ", head.Seq%2)
				p := delivery.Parked{Job: delivery.Job{File: delivery.Ref(head, i+1), Destination: f.Owed[0]}, Cause: cause, Fix: "y"}
				ledgertest.Put(t, staging, delivery.ParkedKey(p.Job.File, f.Owed[0]), p.Encode())
				sum := want[f.Owed[0]+cause]
				sum.Files++
				sum.add(f.Records, f.GzipBytes)
				want[f.Owed[0]+cause] = sum
			}
		}
	}
	rows := func() (read int) {
		staging.SetFault(func(op objstore.Op) objstore.Fault {
			if op.Name == "get" && strings.HasPrefix(op.Key, "ledger/") {
				read++
			}
			return objstore.Fault{}
		})
		got, err := listParked(t.Context(), &services{staging: staging}, "")
		require.NoError(t, err)
		require.Len(t, got, len(want))
		for _, row := range got {
			sum := want[row.Destination+row.Cause]
			require.Equal(t, [3]int64{sum.Files, sum.Records, sum.Bytes}, [3]int64{row.Files, row.Records, row.Bytes}, row)
		}
		return read
	}
	seal(50)
	require.Equal(t, 50, rows(), "all entries are read before the first audit")
	a, err := auditor.New(auditor.Config{}, auditor.Deps{Staging: staging, Jobs: noJobs{}, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	_, err = a.Audit(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, rows(), "only the head is read after an audit")
	seal(5)
	require.Equal(t, 1+5, rows())

	staging.SetFault(func(op objstore.Op) objstore.Fault {
		if op.Name == "get" && strings.HasPrefix(op.Key, "audit/") {
			return objstore.Fault{Before: objstore.ErrDenied}
		}
		return objstore.Fault{}
	})
	got, err := listParked(t.Context(), &services{staging: staging}, "ws/b")
	require.NoError(t, err, "the ledger is read when the audit's sums cannot be")
	require.Len(t, got, 2)
}

// Pending files look like parked ones to somebody who wants to be rid of them.
func TestSkipSaysWhatItIsFor(t *testing.T) {
	var out strings.Builder
	require.NoError(t, printRedrive(&out, copier.RedriveResult{}, copier.Redrive{Skip: true}, nil))
	require.Equal(t, "nothing is parked, and only what is parked can be given up\n", out.String())
}
