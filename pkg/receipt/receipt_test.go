package receipt

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/ledger/ledgertest"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/objstore/objstoretest"
)

const lake = "acme/lake"

var log0 = ledger.Log{Topic: "events", Incarnation: "i1"}

// entry returns an entry with files that are owed to lake.
func entry(files int) *ledger.Entry {
	e := &ledger.Entry{Topic: log0.Topic, Incarnation: log0.Incarnation, Seq: 3}
	for i := range files {
		e.Files = append(e.Files, ledgertest.File(log0, ledger.File{First: int64(10 * i), Owed: []string{lake}}, []byte{byte(i)}))
	}
	return e
}

func newReceipt(index int) delivery.Receipt {
	return delivery.Receipt{File: delivery.FileRef{Index: index}, Destination: lake, SHA256: "x", Worker: "copier-1", At: 1}
}

func TestListFindsEveryReceipt(t *testing.T) {
	ctx, staging, e := t.Context(), objstore.NewMemory("staging"), entry(8)
	ref := func(i int) delivery.FileRef { return delivery.Ref(e, i) }
	write := func(i int, outcome delivery.Outcome) {
		r := newReceipt(i)
		r.File, r.Outcome = ref(i), outcome
		if outcome == delivery.Delivered { // at least MinDeliveredSize
			r.Bucket, r.Key, r.SHA256 = "logs", delivery.ObjectKey("", log0, &e.Files[i]), e.Files[i].SHA256
		}
		require.NoError(t, Write(ctx, staging, r))
	}
	write(0, delivery.Delivered)
	write(1, delivery.Skipped)
	ledgertest.Batch(t, staging, e, newReceipt(2), newReceipt(3))
	ledgertest.Batch(t, staging, e, newReceipt(3), newReceipt(4)) // 3 twice: its request was repeated
	write(5, delivery.Skipped)
	write(6, delivery.Delivered)
	ledgertest.Batch(t, staging, e, newReceipt(5), newReceipt(6)) // by a copier that was paused

	want := map[int]delivery.Outcome{1: delivery.Skipped}
	for _, i := range []int{0, 2, 3, 4, 5, 6} {
		want[i] = delivery.Delivered
	}
	set, err := List(ctx, staging, log0, e.Seq)
	require.NoError(t, err)
	require.Len(t, set, len(want))
	for i := range e.Files {
		outcome, closed := want[i]
		found, ok := set[Pair{i, lake}]
		require.Equal(t, closed, ok, i)
		if !closed {
			continue
		}
		got, err := found.Outcome(ctx, staging, Pair{i, lake}, e)
		require.NoError(t, err)
		require.Equal(t, outcome, got)
		r, err := found.Read(ctx, staging)
		require.NoError(t, err)
		require.Equal(t, ref(i), r.File)
		info, err := staging.Head(ctx, found.Key)
		require.NoError(t, err)
		require.False(t, found.StoredAt.After(info.LastModified))
	}
	batched, err := ListBatched(ctx, staging, log0, e.Seq)
	require.NoError(t, err)
	require.Len(t, batched, 5)
	none, err := List(ctx, staging, log0, e.Seq+1)
	require.NoError(t, err)
	require.Empty(t, none)
}

// What comes later changes nothing about when a debt was closed, wherever its key is in the order.
func TestDebtIsClosedByItsFirstReceipt(t *testing.T) {
	for name, first := range map[string]func(staging objstore.Store, e *ledger.Entry){
		"alone": func(staging objstore.Store, e *ledger.Entry) {
			ledgertest.Receipt(t, staging, e, 0, lake, newReceipt(0))
		},
		"in_batch": func(staging objstore.Store, e *ledger.Entry) {
			ledgertest.Batch(t, staging, e, newReceipt(0), newReceipt(1))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				staging, e := objstore.NewMemory("staging"), entry(20)
				first(staging, e)
				closed := time.Now()
				for i := range len(e.Files) - 2 {
					time.Sleep(time.Second)
					ledgertest.Batch(t, staging, e, newReceipt(0), newReceipt(i+2))
				}
				ledgertest.Receipt(t, staging, e, 1, lake, newReceipt(1))
				set, err := List(t.Context(), staging, log0, e.Seq)
				require.NoError(t, err)
				require.True(t, set[Pair{0, lake}].StoredAt.Equal(closed))
			})
		})
	}
}

func TestListParallelAndListOneByOne(t *testing.T) {
	type list = func(context.Context, objstore.Store, ledger.Log, int64) (Set, error)
	for most, list := range map[int32]list{MaxParallelReads: List, 1: ListOneByOne} {
		t.Run(fmt.Sprint(most), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				staging, e := objstore.NewMemory("staging"), entry(20)
				for i := range len(e.Files) / 2 {
					ledgertest.Batch(t, staging, e, newReceipt(2*i), newReceipt(2*i+1))
				}
				var now, maxAtOnce atomic.Int32
				slow := objstoretest.Before{Store: staging, Do: func(_ context.Context, op, _ string) error {
					if op == "get" {
						maxAtOnce.Store(max(maxAtOnce.Load(), now.Add(1)))
						time.Sleep(time.Second)
						now.Add(-1)
					}
					return nil
				}}
				set, err := list(t.Context(), slow, log0, e.Seq)
				require.NoError(t, err)
				require.Len(t, set, len(e.Files))
				require.Equal(t, most, maxAtOnce.Load())
			})
		})
	}
}

// What is wrong is reported with its key, and closes nothing but what a key says.
func TestUnreadableReceiptsAreReported(t *testing.T) {
	ctx, staging, e := t.Context(), objstore.NewMemory("staging"), entry(4)
	good := newReceipt(1)
	good.File, good.Outcome = delivery.Ref(e, 1), delivery.Delivered
	foreign, skipped := good, good
	foreign.File.Seq, foreign.File.Index = e.Seq+1, 2
	skipped.Outcome, skipped.File.Index = delivery.Skipped, 3
	keys := map[string]string{ // and what the report says
		delivery.ReceiptPrefix(log0, e.Seq) + "notes.txt":         "no receipt's key",
		delivery.BatchPrefix(log0, e.Seq) + "x.json":              "no receipt's key",
		delivery.BatchKey(log0, e.Seq, []byte("foreign")):         "line 1: malformed receipt: it is of events/i1/00000/4/2",
		delivery.BatchKey(log0, e.Seq, []byte("given up")):        `line 1: malformed receipt: outcome "skipped" in a batch`,
		delivery.BatchKey(log0, e.Seq, []byte("a line too many")): "line 2: malformed receipt",
		delivery.BatchKey(log0, e.Seq, nil):                       "empty",
	}
	bodies := []([]byte){[]byte("x"), []byte("x"), foreign.Encode(), skipped.Encode(), append(good.Encode(), "hello\n"...), nil}
	for i, key := range []string{
		delivery.ReceiptPrefix(log0, e.Seq) + "notes.txt", delivery.BatchPrefix(log0, e.Seq) + "x.json",
		delivery.BatchKey(log0, e.Seq, []byte("foreign")), delivery.BatchKey(log0, e.Seq, []byte("given up")),
		delivery.BatchKey(log0, e.Seq, []byte("a line too many")), delivery.BatchKey(log0, e.Seq, nil),
	} {
		ledgertest.Put(t, staging, key, bodies[i])
	}
	ledgertest.Put(t, staging, delivery.ReceiptKey(delivery.Ref(e, 0), lake), []byte("hello"))

	var listed []objstore.Info
	for info, err := range objstore.All(ctx, staging, delivery.ReceiptPrefix(log0, e.Seq)) {
		require.NoError(t, err)
		listed = append(listed, info)
	}
	set, err := FromListing(ctx, staging, log0, e.Seq, listed, 1, func(key string, err error) {
		require.ErrorContains(t, err, keys[key])
		delete(keys, key)
	})
	require.NoError(t, err)
	require.Empty(t, keys, "objects that were not reported")
	require.Len(t, set, 2)
	outcome, err := set[Pair{0, lake}].Outcome(ctx, staging, Pair{0, lake}, e)
	require.NoError(t, err)
	require.Equal(t, delivery.Delivered, outcome)
	require.Contains(t, set, Pair{1, lake})
}

// A reader that cannot read a batch does not know what is closed, and says so.
func TestUnavailableBatchFailsTheListing(t *testing.T) {
	ctx, staging, e := t.Context(), objstore.NewMemory("staging"), entry(4)
	ledgertest.Batch(t, staging, e, newReceipt(1), newReceipt(2))
	staging.SetFault(func(op objstore.Op) objstore.Fault {
		if op.Name == "get" && delivery.IsBatchKey(delivery.ReceiptPrefix(log0, e.Seq), op.Key) {
			return objstore.Fault{Before: objstore.ErrUnavailable}
		}
		return objstore.Fault{}
	})
	_, err := List(ctx, staging, log0, e.Seq)
	require.ErrorIs(t, err, objstore.ErrUnavailable)
}

// A batch that is deleted between the listing and the read, or is too large to be one, fails no
// listing, and neither does a receipt of a file that the entry does not have.
func TestOddReceiptsFailNothing(t *testing.T) {
	ctx, staging, e := t.Context(), objstore.NewMemory("staging"), entry(4)
	ledgertest.Batch(t, staging, e, newReceipt(1))
	staging.SetFault(func(op objstore.Op) objstore.Fault {
		if op.Name == "get" {
			return objstore.Fault{Before: objstore.ErrNotFound}
		}
		return objstore.Fault{}
	})
	set, err := List(ctx, staging, log0, e.Seq)
	require.NoError(t, err)
	require.Empty(t, set)
	staging.SetFault(nil)

	ledgertest.Put(t, staging, delivery.BatchKey(log0, e.Seq, []byte("large")), make([]byte, maxBatch+1))
	beyond := Pair{len(e.Files), lake}
	key := delivery.ReceiptKey(delivery.FileRef{Topic: log0.Topic, Incarnation: log0.Incarnation, Seq: e.Seq, Index: beyond.Index}, lake)
	ledgertest.Put(t, staging, key, make([]byte, maxReceipt+1))
	set, err = List(ctx, staging, log0, e.Seq)
	require.NoError(t, err)
	require.Len(t, set, 2)
	outcome, err := set[beyond].Outcome(ctx, staging, beyond, e)
	require.NoError(t, err)
	require.Equal(t, delivery.Delivered, outcome)
	_, err = set[beyond].Read(ctx, staging)
	require.ErrorIs(t, err, delivery.ErrBadReceipt)
}

// Requests that are repeated change nothing.
func TestRepeatedWritesChangeNothing(t *testing.T) {
	ctx, staging, e := t.Context(), objstore.NewMemory("staging"), entry(2)
	var rs []delivery.Receipt
	for i := range e.Files {
		r := newReceipt(i)
		r.File, r.Outcome = delivery.Ref(e, i), delivery.Delivered
		rs = append(rs, r)
	}
	for range 2 {
		require.NoError(t, WriteBatch(ctx, staging, rs))
		require.NoError(t, WriteBatch(ctx, staging, rs[:1]))
	}
	skipped := rs[0]
	skipped.Outcome = delivery.Skipped
	require.NoError(t, Write(ctx, staging, skipped))
	r, err := ReadSingle(ctx, staging, skipped.File, lake)
	require.NoError(t, err)
	require.Equal(t, delivery.Delivered, r.Outcome, "the first receipt was overwritten")
	require.Len(t, staging.Contents("receipts/"), 2)
}
