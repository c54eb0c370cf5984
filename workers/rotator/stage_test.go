package rotator

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/gziptest"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/objstore/objstoretest"
	"github.com/sealift/sealift/pkg/segment"
)

func TestGroupPacks(t *testing.T) {
	const small, large, half = delivery.PackedBelow - 1, delivery.PackedBelow, delivery.PackedBelow / 2
	many := make([]int64, 1000)
	for i := range many {
		many[i] = 5_000
	}
	for hazard, c := range map[string]struct {
		sizes []int64
		want  []int // number of files in each object
	}{
		"none":                     {nil, nil},
		"one":                      {[]int64{100}, []int{1}},
		"small":                    {[]int64{100, small, 1}, []int{3}},
		"large":                    {[]int64{large, 100 << 20}, []int{1, 1}},
		"large_between_small":      {[]int64{100, large, 100}, []int{1, 2}},
		"just_full":                {[]int64{small, small, small, small, small, small, small, small}, []int{8}},
		"more_than_full":           {[]int64{small, small, small, small, small, small, small, small, half}, []int{8, 1}},
		"a_batch_of_small_sources": {many, []int{1000}},
	} {
		t.Run(hazard, func(t *testing.T) {
			files := make([]ledger.File, len(c.sizes))
			for i, n := range c.sizes {
				files[i].GzipBytes = n
			}
			var got []int
			seen := map[int]bool{}
			for _, members := range groupPacks(files) {
				got = append(got, len(members))
				size := int64(0)
				for _, i := range members {
					require.False(t, seen[i])
					seen[i] = true
					size += files[i].GzipBytes
				}
				require.True(t, len(members) == 1 || size <= delivery.PackBytes)
			}
			require.Equal(t, c.want, got)
			require.Len(t, seen, len(files))
		})
	}
}

// A pack is a gzip file of all its lines, and each file is in it where the ledger says. Invariant:
// I3, I4, I8.
func TestPackConcatenatesItsFiles(t *testing.T) {
	b := newRig(t)
	ctx := context.Background()
	base, err := b.Acquire(ctx, testLog, b.tenure("w1", -1))
	require.NoError(t, err)
	var records []string
	for i := range 100 {
		records = append(records, fmt.Sprintf("s%d@%d", i, i))
	}
	head, err := b.Rotate(ctx, base, batch(t, 100, records...), b.tenure("w1", -1))
	require.NoError(t, err)
	staged, err := b.staging.List(ctx, "data/", "", 0)
	require.NoError(t, err)
	require.Len(t, staged, 1)
	s, ok := delivery.ParseStagedKey(staged[0].Key)
	require.True(t, ok)
	require.Equal(t, delivery.StagedObject{Log: testLog, Pack: true, Seq: head.Seq, First: 0, Last: 99, Sum: s.Sum}, s)
	for _, f := range head.Files {
		require.Equal(t, staged[0].Key, f.StagedKey)
		require.Equal(t, staged[0].Size, f.PackBytes)
		require.Equal(t, f.SHA256, stagedSum(t, b, f))
	}
	r, _, err := b.staging.Get(ctx, staged[0].Key)
	require.NoError(t, err)
	require.Equal(t, strings.Repeat("{\"a\":1}\n", 100), gziptest.Unzip(t, r))
}

// A pack is named after the entry that it is made for: what the same worker stages for the next
// entry is another object, whatever became of the first.
func TestPackIsNamedAfterItsEntry(t *testing.T) {
	b := newRig(t)
	ctx := context.Background()
	base, err := b.Acquire(ctx, testLog, b.tenure("w1", -1))
	require.NoError(t, err)
	claim, err := b.Acquire(ctx, testLog, b.tenure("w2", -1))
	require.NoError(t, err)
	_, err = b.Rotate(ctx, base, batch(t, 42, "a@40", "b@41"), b.tenure("w1", -1))
	require.ErrorIs(t, err, ledger.ErrLost)
	head, err := b.Rotate(ctx, claim, batch(t, 42, "a@40", "b@41"), b.tenure("w2", -1))
	require.NoError(t, err)
	staged, err := b.staging.List(ctx, "data/", "", 0)
	require.NoError(t, err)
	require.Len(t, staged, 2)
	for _, info := range staged {
		s, ok := delivery.ParseStagedKey(info.Key)
		require.True(t, ok)
		require.Equal(t, s.Seq == head.Seq, info.Key == head.Files[0].StagedKey)
		require.True(t, s.Settled(head))
		require.False(t, s.Settled(base) && s.Settled(&ledger.Entry{Seq: s.Seq - 1}))
	}
	requireOneContentPerKey(t, b)
}

// TestPackFaults: whatever fails, the pack is stored whole before the entry.
func TestPackFaults(t *testing.T) {
	for name, fault := range map[string]objstore.Fault{
		"refused":     {Before: objstore.ErrUnavailable},
		"answer_lost": {After: objstore.ErrUnavailable},
		"conflict":    {Before: objstore.ErrConflict},
		"key_off":     {Before: keyDisabled},
		"late":        {Before: objstore.ErrUnavailable, Ghost: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newRig(t)
				base, err := b.Acquire(t.Context(), testLog, b.tenure("w1", -1))
				require.NoError(t, err)
				b.staging.SetFault(func(op objstore.Op) objstore.Fault {
					if op.Name == "put" && strings.HasPrefix(op.Key, "data/") && op.N <= 2 {
						return fault
					}
					return objstore.Fault{}
				})
				head, err := b.Rotate(t.Context(), base, batch(t, 42, "a@40", "b@41"), b.tenure("w1", -1))
				require.NoError(t, err)
				require.Zero(t, b.staging.ReleaseGhosts(), "late PUTs that were applied")
				for _, f := range head.Files {
					require.Equal(t, f.SHA256, stagedSum(t, b, f))
				}
				requireOneContentPerKey(t, b)
			})
		})
	}
}

// TestSlowUploadIsNotCutOff: an upload that is slow but moves is not cut off, because it
// would start from the beginning again.
func TestSlowUploadIsNotCutOff(t *testing.T) {
	for hazard, records := range map[string][]string{"alone": {"a@40"}, "a_pack": {"a@40", "b@41"}} {
		t.Run(hazard, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newRig(t)
				base, err := b.Acquire(t.Context(), testLog, b.tenure("w1", -1))
				require.NoError(t, err)
				line := &objstoretest.SlowUpload{Store: b.staging}
				b.deps.Staging = line
				within, cancel := context.WithTimeout(t.Context(), 12*time.Hour)
				defer cancel()
				tenure, staged := b.tenure("w1", -1), 0
				tenure.OnStaged = func() { staged++ }
				_, err = b.Rotate(within, base, batch(t, 42, records...), tenure)
				require.NoError(t, err)
				require.Equal(t, 2, line.Puts, "PUTs: the object and the entry")
				require.Equal(t, 1, staged)
			})
		})
	}
}

// newRigWithUploads returns a rig that stages so many objects at once, and the entry that it acquired.
func newRigWithUploads(t *testing.T, uploads int) (*rig, *ledger.Entry) {
	t.Helper()
	b := newRig(t)
	b.Rotator = New(Config{Cluster: "c1", Uploads: uploads}, b.deps)
	base, err := b.Acquire(t.Context(), testLog, b.tenure("w1", -1))
	require.NoError(t, err)
	return b, base
}

// An object that the store refuses holds up nothing but its own partition.
func TestRefusedObjectKeepsNoSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, base := newRigWithUploads(t, 1)
		b.staging.SetFault(func(op objstore.Op) objstore.Fault {
			if op.Name == "put" && strings.Contains(op.Key, "/large/") {
				return objstore.Fault{Before: objstore.ErrInvalid}
			}
			return objstore.Fault{}
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		refused, other := batch(t, 42, "large@40"), batch(t, 42, "a@40")
		ended := make(chan error, 1)
		go func() {
			_, err := b.stage(ctx, b.deps.Logger, base, refused, ledger.Tenure{})
			ended <- err
		}()
		synctest.Wait()
		_, err := b.stage(ctx, b.deps.Logger, base, other, ledger.Tenure{})
		require.NoError(t, err)
		require.ErrorIs(t, <-ended, context.DeadlineExceeded)
	})
}

// While the store refuses everything, a batch has no more objects in their tries than may be staged
// at once. Otherwise a thousand files would be sent and refused all the time.
func TestRefusedObjectsAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, base := newRigWithUploads(t, 2)
		tried := map[string]bool{}
		b.staging.SetFault(func(op objstore.Op) objstore.Fault {
			if op.Name == "put" {
				tried[op.Key] = true
			}
			return objstore.Fault{Before: objstore.ErrInvalid}
		})
		spool, err := segment.New(segment.Config{Dir: filepath.Join(t.TempDir(), "spool")})
		require.NoError(t, err)
		t.Cleanup(spool.Discard)
		refused := &segment.Batch{LowWatermark: 100}
		for offset := range int64(20) { // five files, each too large for a pack
			s := ledger.Stream{Source: fmt.Sprint("s", offset/4), Hour: hour}
			noise := make([]byte, 400<<10)
			_, _ = rand.Read(noise)
			require.NoError(t, spool.Append(s, offset, hour+5, fmt.Appendf(nil, `{"a":%q}`, base64.StdEncoding.EncodeToString(noise)[:500<<10])))
			if offset%4 == 3 {
				f, err := spool.Seal(s, segment.ReasonTime)
				require.NoError(t, err)
				refused.Files = append(refused.Files, f)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err = b.stage(ctx, b.deps.Logger, base, refused, ledger.Tenure{})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Len(t, tried, 2)
	})
}
