package ledger

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/objstore"
)

func TestFirstSince(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := objstore.NewMemory("staging")
		chain := NewChain(store, testLog)
		begun := time.Now()
		for seq := range int64(30) {
			require.NoError(t, chain.Append(t.Context(), entryAt(seq, "a")))
			time.Sleep(time.Hour)
		}
		for want, since := range map[int64]time.Duration{0: -time.Hour, 1: time.Hour, 17: 16*time.Hour + 1, 29: 300 * time.Hour} {
			got, err := chain.FirstSince(t.Context(), 29, begun.Add(since))
			require.NoError(t, err)
			require.Equal(t, want, got, since)
		}
		// Entries that are stored again look young; that must not hide any that are.
		for seq := range int64(20) {
			body, err := entryAt(seq, "a").Encode()
			require.NoError(t, err)
			_, err = store.Put(t.Context(), EntryKey(testLog, seq), strings.NewReader(string(body)), objstore.PutOptions{})
			require.NoError(t, err)
			got, err := chain.FirstSince(t.Context(), 29, begun.Add(25*time.Hour))
			require.NoError(t, err)
			require.LessOrEqual(t, got, int64(25))
		}
		// Stray objects must not hide any either, and gaps are reported elsewhere.
		_, err := store.Put(t.Context(), EntryKey(testLog, 26)+"~", strings.NewReader("stray"), objstore.PutOptions{})
		require.NoError(t, err)
		require.NoError(t, store.Delete(t.Context(), EntryKey(testLog, 14)))
		got, err := chain.FirstSince(t.Context(), 29, begun.Add(25*time.Hour))
		require.NoError(t, err)
		require.LessOrEqual(t, got, int64(25))
		for seq := range int64(25) {
			require.NoError(t, store.Delete(t.Context(), EntryKey(testLog, seq)))
		}
		_, err = chain.FirstSince(t.Context(), 29, begun)
		require.ErrorIs(t, err, ErrNotFound)
	})
}

func TestFirstMatching(t *testing.T) {
	chain := NewChain(objstore.NewMemory("staging"), testLog)
	for seq := range int64(30) {
		e := entryAt(seq, "a")
		e.LowWatermark = 10 * seq
		if seq%10 == 5 {
			e.SealedThrough = []SealedStream{{Source: "a", Offset: e.LowWatermark + 5}}
		}
		require.NoError(t, chain.Append(t.Context(), e))
	}
	for offset, want := range map[int64]int64{-1: 0, 0: 1, 9: 1, 10: 2, 55: 5, 56: 6, 289: 29, 290: 29} {
		got, err := chain.FirstMatching(t.Context(), 29, func(e *Entry) bool { return e.MayReach(offset) })
		require.NoError(t, err)
		require.Equal(t, want, got, offset)
	}
}
