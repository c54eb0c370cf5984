package verify

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/ledger/ledgertest"
	"github.com/sealift/sealift/pkg/objstore"
)

// An entry that is written during the walk names objects that were listed as on their way: they are
// not counted as orphans.
func TestEntryWrittenDuringWalkMakesNoOrphans(t *testing.T) {
	staging := objstore.NewMemory("staging")
	put := func(key string, body []byte) { ledgertest.Put(t, staging, key, body) }
	head := ledgertest.Append(t, staging, ledgertest.Init(testLog, time.UnixMilli(0)))
	entry := func(files ...ledger.File) { head = ledgertest.Append(t, staging, ledgertest.Next(head, files...)) }
	mine, next := inOnePack(1, sealedFile("a", 0, 4, 5), sealedFile("b", 5, 9, 5)), inOnePack(2, sealedFile("a", 10, 14, 5), sealedFile("b", 15, 19, 5))
	alone := sealedFile("c", 20, 29, 10)
	sum := strings.Repeat("cd", 32)
	for _, key := range []string{mine[0].StagedKey, next[0].StagedKey} {
		put(key, []byte("1234567890"))
	}
	put(alone.StagedKey, []byte("12345"))
	put(delivery.PackKey(testLog, 1, 0, 7, sum), []byte("lost entry 1"))
	put(delivery.PackKey(testLog, 2, 10, 17, sum), []byte("is to lose entry 2"))
	entry(mine...)
	verify := func(meanwhile func(int64)) Staged {
		r, err := Verify(t.Context(), Config{Topic: "events", Partition: -1}, Deps{Staging: staging, OnFound: meanwhile})
		require.NoError(t, err)
		return r.Staged
	}
	got := verify(func(int64) { entry(append(next, alone)...) })
	require.Equal(t, Staged{Present: 2, Orphans: 1, Unsettled: 3}, got)
	require.Equal(t, Staged{Present: 5, Orphans: 2}, verify(nil))
	require.NoError(t, staging.Delete(t.Context(), ledger.EntryKey(testLog, 1)))
	require.Equal(t, Staged{Present: 3, Unsettled: 3}, verify(nil), "entry 1 cannot be read and may name them")
}

// A run may take hours, in which the retention of files passes that are too young when it begins.
func TestFileWhoseRetentionPassesMeanwhileIsNoProblem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		staging := objstore.NewMemory("staging")
		f := sealedFile("a", 0, 4, 5)
		ledgertest.Put(t, staging, f.StagedKey, []byte("12345"))
		head := ledgertest.Append(t, staging, ledgertest.Init(testLog, time.Now()))
		e := ledgertest.Append(t, staging, ledgertest.Next(head, f))
		ledgertest.Receipt(t, staging, e, 0, "ws/a", delivery.Receipt{Bucket: "b", Key: delivery.ObjectKey("", testLog, &f), SHA256: f.SHA256, Bytes: f.GzipBytes, Records: f.Records})
		time.Sleep(23 * time.Hour)
		r, err := Verify(t.Context(), Config{Topic: "events", Partition: -1, Retain: 24 * time.Hour, Deep: true}, Deps{Staging: staging, OnFound: func(int64) {
			time.Sleep(2 * time.Hour)
			require.NoError(t, staging.Delete(t.Context(), f.StagedKey))
		}})
		require.NoError(t, err)
		require.Empty(t, r.Examples)
		require.EqualValues(t, 1, r.Staged.Collected)
	})
}

// A file that was deleted too early is reported, because it is not recorded how long files were to
// be kept before; the report mentions that the retention may have been shorter.
func TestStagedFileDeletedTooEarlyIsReported(t *testing.T) {
	for hazard, c := range map[string]struct {
		retain    time.Duration
		delivered bool
		want      [2]int64 // problems, collected
		raised    bool
	}{
		"in_time":       {retain: time.Hour, delivered: true, want: [2]int64{0, 1}},
		"too_early":     {retain: 10_000 * 24 * time.Hour, delivered: true, want: [2]int64{1, 0}, raised: true},
		"not_delivered": {retain: time.Hour, want: [2]int64{1, 0}},
	} {
		t.Run(hazard, func(t *testing.T) {
			staging := objstore.NewMemory("staging")
			head := ledgertest.Append(t, staging, ledgertest.Init(testLog, time.Now().Add(-24*time.Hour)))
			f := sealedFile("a", 0, 4, 5)
			e := ledgertest.Append(t, staging, ledgertest.Next(head, f))
			if c.delivered {
				ledgertest.Receipt(t, staging, e, 0, "ws/a", delivery.Receipt{Bucket: "b", Key: delivery.ObjectKey("", testLog, &f), SHA256: f.SHA256, Bytes: f.GzipBytes, Records: f.Records})
			}
			r, err := Verify(t.Context(), Config{Topic: "events", Partition: -1, Retain: c.retain}, Deps{Staging: staging})
			require.NoError(t, err)
			require.Equal(t, c.want, [2]int64{r.Problems, r.Staged.Collected}, "%v", r.Examples)
			for _, p := range r.Examples {
				require.Equal(t, StagedMissing, p.Kind)
				require.Equal(t, "restore it from the staging bucket's versions, or deliver it from Kafka: sealift replay --source a --offsets 3:0-4 --from kafka", p.Fix)
				require.Equal(t, c.raised, strings.Contains(p.What, "if staging.retain was raised since"), p.What)
			}
		})
	}
}
