package ledger

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/objstore"
)

func TestEntriesAreReadInOrderAcrossGaps(t *testing.T) {
	ctx := context.Background()
	store := objstore.NewMemory("staging")
	chain := NewChain(store, testLog)
	for seq := range int64(50) {
		require.NoError(t, chain.Append(ctx, entryAt(seq, "a")))
	}
	require.NoError(t, store.Delete(ctx, EntryKey(testLog, 7)))
	seq := int64(3)
	for e, err := range chain.Entries(ctx, 3, 49, 8) {
		if seq == 7 {
			require.ErrorIs(t, err, ErrNotFound)
		} else {
			require.NoError(t, err)
			require.Equal(t, seq, e.Seq)
		}
		seq++
	}
	require.EqualValues(t, 50, seq)

	for e, err := range chain.Entries(ctx, 0, 49, 8) { // breaking off is allowed
		require.NoError(t, err)
		require.Zero(t, e.Seq)
		break
	}
	store.SetFault(func(op objstore.Op) objstore.Fault {
		if op.Name == "get" && op.Key == EntryKey(testLog, 5) {
			return objstore.Fault{Before: objstore.ErrUnavailable}
		}
		return objstore.Fault{}
	})
	seq = 0
	var last error
	for _, err := range chain.Entries(ctx, 0, 49, 8) {
		last = err
		seq++
	}
	require.ErrorIs(t, last, objstore.ErrUnavailable)
	require.EqualValues(t, 6, seq, "entries after an error")
}
