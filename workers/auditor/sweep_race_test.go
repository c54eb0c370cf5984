package auditor

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore/objstoretest"
)

// Invariant: I11. A worker that has staged everything may write its entry before any request of an
// audit: what the entry names stays, however old it is, and what others staged for this entry is
// deleted once the entry is seen.
func TestEntryWrittenAtAnyMomentOfASweep(t *testing.T) {
	outcomes := map[int64]bool{}
	for moment := 0; ; moment++ {
		r := newRig(t, func(c *Config) { c.Full = true })
		r.seal(log0, time.Hour, nil, "a", "b")
		next := *r.heads[log0]
		next.Seq, next.Attempt, next.LowWatermark = next.Seq+1, "next", 5
		alone := file(log0, 2, 2, "alone")
		next.Files = []ledger.File{file(log0, 3, 3, "c"), file(log0, 4, 4, "d"), alone}
		sum := sha256.Sum256([]byte("cd"))
		named := delivery.PackKey(log0, next.Seq, 3, 4, hex.EncodeToString(sum[:]))
		for i := range 2 {
			f := &next.Files[i]
			f.StagedKey, f.StagedAt, f.PackBytes = named, int64(i), 2
		}
		sum = sha256.Sum256([]byte("another"))
		another := delivery.PackKey(log0, next.Seq, 2, 4, hex.EncodeToString(sum[:]))
		for _, key := range []string{named, another, alone.StagedKey} {
			r.stage(key, "x")
		}
		r.ageObjects(90 * 24 * time.Hour)
		var requests atomic.Int64
		r.deps.Staging = objstoretest.Before{Store: r.deps.Staging, Do: func(context.Context, string, string) error {
			if requests.Add(1) == int64(moment)+1 {
				require.NoError(t, ledger.NewChain(r.staging, log0).Append(t.Context(), &next))
			}
			return nil
		}}

		found := r.audit().Orphans
		require.True(t, r.exists(named), "deleted; the entry was written before request %d", moment)
		require.True(t, r.exists(alone.StagedKey), "deleted; the entry was written before request %d", moment)
		if requests.Load() <= int64(moment) { // the entry was not written
			require.Zero(t, found)
			require.True(t, r.exists(another), "deleted before the entry was written")
			break
		}
		outcomes[found] = true
		r.audit()
		require.False(t, r.exists(another))
		require.True(t, r.exists(named))
	}
	require.Equal(t, map[int64]bool{0: true, 1: true}, outcomes, "want sweeps that saw the entry and sweeps that did not")
}
