package copier

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
)

// reads counts the reads of the ledger from here on.
func (r *rig) reads() func() int {
	var mu sync.Mutex
	n := 0
	r.staging.SetFault(func(op objstore.Op) objstore.Fault {
		mu.Lock()
		defer mu.Unlock()
		if op.Name == "get" {
			n++
		}
		return objstore.Fault{}
	})
	return func() int { mu.Lock(); defer mu.Unlock(); return n }
}

func TestEntriesAreReadOnceAndTheLastUsedKept(t *testing.T) {
	r := newRig(t)
	var refs []delivery.FileRef
	for i := range 4 {
		refs = append(refs, r.seal(nil, fmt.Sprint("a", i), fmt.Sprint("b", i))...)
	}
	c := newEntries(r.staging, 6) // two entries of two files
	reads := r.reads()
	get := func(ref delivery.FileRef) {
		e, err := c.get(t.Context(), ref)
		require.NoError(t, err)
		require.Equal(t, ref.Seq, e.Seq)
	}
	for _, ref := range refs {
		get(ref)
	}
	require.Equal(t, 4, reads(), "once an entry")
	get(refs[6])
	get(refs[4])
	require.Equal(t, 4, reads(), "the last two are kept")
	get(refs[0])
	require.Equal(t, 5, reads())
	get(refs[4])
	require.Equal(t, 5, reads(), "used last, so kept")
	require.LessOrEqual(t, c.files, c.room)
	require.Len(t, c.byRef, c.order.Len())
}

func TestEntriesAskedForAtOnceAreReadOnce(t *testing.T) {
	r := newRig(t)
	ref := r.seal(nil, "a")[0]
	c := newEntries(r.staging, 100)
	reads := r.reads()
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { _, _ = c.get(t.Context(), ref) })
	}
	all.Wait()
	require.Less(t, reads(), 20)
	_, err := c.get(t.Context(), delivery.FileRef{Topic: "events", Incarnation: "1", Seq: 99})
	require.ErrorIs(t, err, ledger.ErrNotFound)
}
