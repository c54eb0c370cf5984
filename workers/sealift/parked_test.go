package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/destination"
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
	want := map[string][3]int64{} // files, records and bytes
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
				want[f.Owed[0]+cause] = [3]int64{sum[0] + 1, sum[1] + f.Records, sum[2] + f.GzipBytes}
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
		got, err := listParked(t.Context(), &services{staging: staging}, "", false)
		require.NoError(t, err)
		require.Len(t, got, len(want))
		for _, row := range got {
			sum := [3]int64{row.Files, row.Records, row.Bytes}
			require.Equal(t, want[row.Destination+row.Cause], sum, row)
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
	got, err := listParked(t.Context(), &services{staging: staging}, "ws/b", false)
	require.NoError(t, err, "the ledger is read when the audit's sums cannot be")
	require.Len(t, got, 2)
}

// A thousand files that failed in the same way are one row, although each error names its own file.
// What each said is not lost.
func TestParkedGroupsEqualFailures(t *testing.T) {
	staging, l := objstore.NewMemory("staging"), ledger.Log{Topic: "sealift.events", Incarnation: "1"}
	head := ledgertest.Append(t, staging, ledgertest.Init(l, time.Now().Add(-time.Hour)))
	var files []ledger.File
	for n := range int64(4) {
		files = append(files, ledgertest.File(l, ledger.File{First: n, Last: n, Owed: []string{"ws/a"}}, []byte(fmt.Sprint(n))))
	}
	head = ledgertest.Append(t, staging, ledgertest.Next(head, files...))
	var causes []string
	for i := range files {
		err := &objstore.Error{
			Op: "put", Bucket: "acme-logs", Key: delivery.ObjectKey("", l, &files[i]), Status: 403, Code: "AccessDenied", Kind: objstore.ErrDenied,
			Message: fmt.Sprintf("User: arn:aws:sts::123456789012:assumed-role/logs/sealift is not authorized to perform: s3:PutObject on resource: %q"+
				" because no identity-based policy allows the s3:PutObject action", "arn:aws:s3:::acme-logs/"+delivery.ObjectKey("", l, &files[i])),
		}
		target := catalog.Target{ID: "ws/a", BucketName: "acme-logs", Destination: catalog.Destination{RoleARN: "arn:aws:iam::123456789012:role/logs"}}
		if i == 3 {
			err.Kind, err.Code, err.Message, err.Status = objstore.ErrNoBucket, "NoSuchBucket", "The specified bucket does not exist", 404
		}
		v := destination.Judge(err, target)
		causes = append(causes, v.Cause)
		p := delivery.Parked{Job: delivery.Job{File: delivery.Ref(head, i), Destination: "ws/a"}, Reason: v.Reason, Cause: v.Cause, Fix: v.Fix.String(), Since: int64(1000 - i)}
		ledgertest.Put(t, staging, delivery.ParkedKey(p.Job.File, "ws/a"), p.Encode())
	}
	got, err := listParked(t.Context(), &services{staging: staging}, "", false)
	require.NoError(t, err)
	require.Len(t, got, 2)
	require.Equal(t, [2]int64{3, 1}, [2]int64{got[0].Files, got[1].Files})
	require.Contains(t, got[0].Cause, `403 AccessDenied`)
	require.Contains(t, got[0].Cause, `s3:PutObject on resource: "arn:aws:s3:::acme-logs/segment-logs/…" because`)
	require.Equal(t, fromMillis(998), got[0].Since)
	require.Equal(t, causes[3], got[1].Cause)

	each, err := listParked(t.Context(), &services{staging: staging}, "", true)
	require.NoError(t, err)
	require.Len(t, each, 4)
	for i, row := range each {
		require.Equal(t, [2]string{delivery.Ref(head, i).String(), causes[i]}, [2]string{row.File, row.Cause})
		require.Equal(t, [2]int64{1, files[i].Records}, [2]int64{row.Files, row.Records})
	}
	var out strings.Builder
	require.NoError(t, printParked(&out, each[:1]))
	require.Contains(t, out.String(), each[0].File+", 1 record, ")
}

// Pending files look like parked ones to somebody who wants to be rid of them.
func TestSkipSaysWhatItIsFor(t *testing.T) {
	var out strings.Builder
	require.NoError(t, printRedrive(&out, copier.RedriveResult{}, copier.Redrive{Skip: true}, nil))
	require.Equal(t, "nothing is parked, and only what is parked can be given up\n", out.String())
}
