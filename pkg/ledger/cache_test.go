package ledger_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/ledger/ledgertest"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/objstore/objstoretest"
)

var cachedLog = ledger.Log{Topic: "events", Incarnation: "1", Partition: 3}

// newCachedStore returns a store with entries 1 to 4, of two files each, and the number of its
// reads.
func newCachedStore(t *testing.T) (staging *objstore.Memory, reads *atomic.Int64) {
	t.Helper()
	staging, reads = objstore.NewMemory("staging"), new(atomic.Int64)
	e := ledgertest.Append(t, staging, ledgertest.Init(cachedLog, time.Now()))
	e.Owner = "me"
	for range 4 {
		first := ledgertest.File(cachedLog, ledger.File{First: e.LowWatermark}, []byte("x"))
		second := ledgertest.File(cachedLog, ledger.File{First: e.LowWatermark + 1}, []byte("y"))
		e = ledgertest.Append(t, staging, ledgertest.Next(e, first, second))
	}
	staging.SetFault(func(op objstore.Op) objstore.Fault {
		if op.Name == "get" {
			reads.Add(1)
		}
		return objstore.Fault{}
	})
	return staging, reads
}

func TestCacheReadsOnceAndKeepsTheLastUsed(t *testing.T) {
	staging, reads := newCachedStore(t)
	c := ledger.NewCache(staging, 6, func(e *ledger.Entry) { e.Owner = "" }) // room for two entries of two files
	get := func(seq, want int64, why string) {
		t.Helper()
		e, err := c.Entry(t.Context(), cachedLog, seq)
		require.NoError(t, err)
		require.Equal(t, seq, e.Seq)
		require.Empty(t, e.Owner, "not trimmed")
		require.Equal(t, want, reads.Load(), why)
	}
	for seq := int64(1); seq < 5; seq++ {
		get(seq, seq, "")
		get(seq, seq, "the entry was read twice")
	}
	get(4, 4, "not among the last two kept")
	get(3, 4, "not among the last two kept")
	get(1, 5, "want it read again")
	get(3, 5, "the last used entry was dropped")
}

func TestEntryLargerThanTheCacheIsKept(t *testing.T) {
	staging, reads := newCachedStore(t)
	c := ledger.NewCache(staging, 0, nil)
	for range 3 {
		e, err := c.Entry(t.Context(), cachedLog, 2)
		require.NoError(t, err)
		require.NotEmpty(t, e.Owner)
	}
	require.EqualValues(t, 1, reads.Load())
}

func TestConcurrentReadersShareARead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		staging, _ := newCachedStore(t)
		var reads atomic.Int64
		slow := objstoretest.Before{Store: staging, Do: func(context.Context, string, string) error {
			reads.Add(1)
			time.Sleep(time.Second)
			return nil
		}}
		c := ledger.NewCache(slow, 100, nil)
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() { _, _ = c.Entry(t.Context(), cachedLog, 1) })
		}
		all.Wait()
		require.EqualValues(t, 1, reads.Load())
		_, err := c.Entry(t.Context(), cachedLog, 99)
		require.ErrorIs(t, err, ledger.ErrNotFound)
	})
}

// A reader whose read was begun by another one, which gives up, reads by itself.
func TestSharedReadOutlivesItsFirstReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		staging, _ := newCachedStore(t)
		var reads atomic.Int64
		hangsOnce := objstoretest.Before{Store: staging, Do: func(ctx context.Context, _, _ string) error {
			if reads.Add(1) == 1 {
				<-ctx.Done()
			}
			return ctx.Err()
		}}
		c := ledger.NewCache(hangsOnce, 100, nil)
		first, giveUp := context.WithCancel(t.Context())
		errs := make(chan error, 2)
		read := func(ctx context.Context) {
			_, err := c.Entry(ctx, cachedLog, 1)
			errs <- err
		}
		go read(first)
		synctest.Wait()
		go read(t.Context())
		synctest.Wait()
		giveUp()
		require.ElementsMatch(t, []bool{true, false}, []bool{<-errs == nil, <-errs == nil})
	})
}
