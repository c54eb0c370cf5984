package verify

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
)

// An entry that comes while the chain is walked names what was listed before
// as on its way: that is no orphan by it, and none is deleted.
func TestAnEntryThatComesMeanwhileMakesNoOrphans(t *testing.T) {
	staging := objstore.NewMemory("staging")
	put := func(key string, body []byte) {
		_, err := staging.Put(t.Context(), key, bytes.NewReader(body), objstore.PutOptions{})
		require.NoError(t, err)
	}
	entry := func(seq, low int64, files ...ledger.File) {
		e := ledger.Entry{Version: ledger.EntryVersion, Seq: seq, Kind: ledger.KindSeal, Attempt: string(rune('a' + seq)), Topic: "events", Incarnation: "1", Partition: 3, LowWatermark: low, Files: files}
		if seq == 0 {
			e.Kind = ledger.KindInit
		}
		body, err := e.Encode()
		require.NoError(t, err)
		put(ledger.EntryKey(testLog, seq), body)
	}
	mine, next := packed(1, sealed("a", 0, 4, 5), sealed("b", 5, 9, 5)), packed(2, sealed("a", 10, 14, 5), sealed("b", 15, 19, 5))
	alone := sealed("c", 20, 29, 10)
	sum := strings.Repeat("cd", 32)
	for _, key := range []string{mine[0].StagedKey, next[0].StagedKey} {
		put(key, []byte("1234567890"))
	}
	put(alone.StagedKey, []byte("12345"))
	put(delivery.PackKey(testLog, 1, 0, 7, sum), []byte("lost entry 1"))
	put(delivery.PackKey(testLog, 2, 10, 17, sum), []byte("is to lose entry 2"))
	entry(0, 0)
	entry(1, 10, mine...)
	verify := func(meanwhile func(int64)) Staged {
		r, err := Verify(t.Context(), Config{Topic: "events", Partition: -1}, Deps{Staging: staging, Found: meanwhile})
		require.NoError(t, err)
		return r.Staged
	}
	got := verify(func(int64) { entry(2, 30, append(next, alone)...) })
	require.Equal(t, Staged{Present: 2, Orphans: 1, Unsettled: 3}, got)
	require.Equal(t, Staged{Present: 5, Orphans: 2}, verify(nil))
	require.NoError(t, staging.Delete(t.Context(), ledger.EntryKey(testLog, 1)))
	require.Equal(t, Staged{Present: 3, Unsettled: 3}, verify(nil), "entry 1 cannot be read, and may name them")
}
