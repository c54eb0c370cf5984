package e2e

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/check"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/receipt"
	"github.com/sealift/sealift/pkg/verify"
)

// batched returns a copy of a world whose entries have their receipts in batches. The world itself
// has none, because its entries owe too little.
func (w *world) batched(t testing.TB) *world {
	t.Helper()
	c, batches := w.clone(t), 0
	for _, e := range c.entries() {
		var rs []delivery.Receipt
		for _, found := range c.receipts(e) {
			r, err := found.Read(context.Background(), c.staging)
			require.NoError(t, err)
			rs = append(rs, r)
			c.remove(c.staging, found.Key)
		}
		slices.SortFunc(rs, func(a, b delivery.Receipt) int {
			return cmp.Or(cmp.Compare(a.File.Index, b.File.Index), cmp.Compare(a.Destination, b.Destination))
		})
		for some := range slices.Chunk(rs, 3) {
			require.NoError(t, receipt.WriteBatch(context.Background(), c.staging, some))
			if len(some) > 1 {
				batches++
			}
		}
	}
	require.Greater(t, batches, 3)
	return c
}

func (w *world) receipts(e *ledger.Entry) receipt.Set {
	w.t.Helper()
	set, err := receipt.List(context.Background(), w.staging, e.Log(), e.Seq)
	require.NoError(w.t, err)
	return set
}

// receiptOf returns the receipt of a file of an entry at a destination, and the key of the object
// that holds it.
func (w *world) receiptOf(e *ledger.Entry, i int, dest string) (string, delivery.Receipt) {
	w.t.Helper()
	found, ok := w.receipts(e)[receipt.Pair{Index: i, Destination: dest}]
	require.True(w.t, ok, "no receipt found")
	r, err := found.Read(context.Background(), w.staging)
	require.NoError(w.t, err)
	return found.Key, r
}

// replaceReceipt puts others in the place of a receipt, or nothing, where it is, and returns the
// key of the object that now holds them.
func (w *world) replaceReceipt(e *ledger.Entry, i int, dest string, by func(delivery.Receipt) []delivery.Receipt) string {
	w.t.Helper()
	key, old := w.receiptOf(e, i, dest)
	body, info := readObject(w.t, w.staging, key)
	var rs []delivery.Receipt
	for line := range bytes.Lines(body) {
		r, err := delivery.DecodeReceipt(line)
		require.NoError(w.t, err)
		if r == old {
			rs = append(rs, by(r)...)
		} else {
			rs = append(rs, r)
		}
	}
	w.remove(w.staging, key)
	if len(rs) == 0 {
		return key
	}
	if body = delivery.EncodeBatch(rs); delivery.IsBatchKey(delivery.ReceiptPrefix(e.Log(), e.Seq), key) {
		key = delivery.BatchKey(e.Log(), e.Seq, body)
	} else {
		key = delivery.ReceiptKey(rs[0].File, rs[0].Destination)
	}
	put(w.t, w.staging, key, body, info)
	return key
}

func (w *world) editReceipt(e *ledger.Entry, i int, dest string, change func(*delivery.Receipt)) string {
	w.t.Helper()
	return w.replaceReceipt(e, i, dest, edited(change))
}

func (w *world) removeReceipt(e *ledger.Entry, i int, dest string) {
	w.t.Helper()
	w.replaceReceipt(e, i, dest, func(delivery.Receipt) []delivery.Receipt { return nil })
}

// addReceipt stores a receipt as an object of its own, and returns its key.
func (w *world) addReceipt(r delivery.Receipt) string {
	w.t.Helper()
	put(w.t, w.staging, delivery.ReceiptKey(r.File, r.Destination), r.Encode(), objstore.Info{})
	return delivery.ReceiptKey(r.File, r.Destination)
}

// batch returns an entry whose receipts are in batches, and the key of the batch with the lake's
// receipt of its first file.
func (w *world) batch() (*ledger.Entry, string) {
	w.t.Helper()
	e := w.packed()
	key, _ := w.receiptOf(e, 0, lake)
	require.True(w.t, delivery.IsBatchKey(delivery.ReceiptPrefix(e.Log(), e.Seq), key))
	return e, key
}

// inBatch edits the bytes of a batch.
func inBatch(change func([]byte) []byte) func(w *world) string {
	return func(w *world) string {
		_, key := w.batch()
		w.edit(w.staging, key, change)
		return key
	}
}

// inBatched edits the lake's receipt in a batch, or puts others in its place.
func inBatched(by func(delivery.Receipt) []delivery.Receipt) func(w *world) string {
	return func(w *world) string {
		e, _ := w.batch()
		return w.replaceReceipt(e, 0, lake, by)
	}
}

// withAnother adds another receipt to the one in a batch.
func withAnother(change func(*delivery.Receipt)) func(delivery.Receipt) []delivery.Receipt {
	return func(r delivery.Receipt) []delivery.Receipt {
		other := r
		change(&other)
		return []delivery.Receipt{r, other}
	}
}

func edited(change func(*delivery.Receipt)) func(delivery.Receipt) []delivery.Receipt {
	return func(r delivery.Receipt) []delivery.Receipt { change(&r); return []delivery.Receipt{r} }
}

// batchMutations are ways to damage a batch. If it is one of its lines that closes nothing, the
// debt is open.
var batchMutations = map[string]mutation{
	"batch_missing": {
		damage: func(w *world) string {
			e, key := w.batch()
			w.remove(w.staging, key)
			return placeOf(e)
		},
		verify: []verify.Kind{verify.Debt},
		check:  []check.Kind{check.Owed, check.Foreign},
	},
	"batch_one_bit": { // which no reader has to notice
		damage: inBatch(func(b []byte) []byte { return bytes.Replace(b, []byte(`"worker":"c"`), []byte(`"worker":"b"`), 1) }),
		verify: []verify.Kind{verify.BadReceipt},
		check:  []check.Kind{check.Untrue},
	},
	"batch_not_json": {
		damage: inBatch(func(b []byte) []byte { return b[1:] }),
		verify: []verify.Kind{verify.BadReceipt, verify.Debt},
		check:  []check.Kind{check.Untrue, check.Owed, check.Foreign},
	},
	"batch_empty": {
		damage: inBatch(func([]byte) []byte { return nil }),
		verify: []verify.Kind{verify.BadReceipt, verify.Debt},
		check:  []check.Kind{check.Untrue, check.Owed, check.Foreign},
	},
	"batch_without_a_line": {
		damage: inBatch(func(b []byte) []byte { return b[bytes.IndexByte(b, '\n')+1:] }),
		verify: []verify.Kind{verify.BadReceipt, verify.Debt},
		check:  []check.Kind{check.Untrue, check.Owed, check.Foreign},
	},
	"batch_written_without_a_line": {
		damage: func(w *world) string {
			e, _ := w.batch()
			w.removeReceipt(e, 0, lake)
			return placeOf(e)
		},
		verify: []verify.Kind{verify.Debt},
		check:  []check.Kind{check.Owed, check.Foreign},
	},
	"batch_at_another_key": {
		damage: func(w *world) string {
			e, key := w.batch()
			other := delivery.BatchKey(e.Log(), e.Seq, nil)
			w.rename(w.staging, key, other)
			return other
		},
		verify: []verify.Kind{verify.BadReceipt},
		check:  []check.Kind{check.Untrue},
	},
	"batch_at_an_invalid_key": {
		damage: func(w *world) string {
			e, key := w.batch()
			other := delivery.BatchPrefix(e.Log(), e.Seq) + "x.json"
			w.copyTo(w.staging, key, other)
			return other
		},
		verify: []verify.Kind{verify.BadReceipt},
		check:  []check.Kind{check.Untrue},
	},
	"batch_of_another_entry": {
		damage: func(w *world) string {
			e, key := w.batch()
			body, _ := readObject(w.t, w.staging, key)
			other := delivery.BatchKey(e.Log(), e.Seq-1, body)
			w.copyTo(w.staging, key, other)
			return other
		},
		verify: []verify.Kind{verify.BadReceipt},
		check:  []check.Kind{check.Untrue},
	},
	"batch_of_a_missing_entry": {
		damage: func(w *world) string {
			e, _ := w.batch()
			_, r := w.receiptOf(e, 0, lake)
			r.File.Seq = 1_000
			key := delivery.BatchKey(e.Log(), r.File.Seq, r.Encode())
			put(w.t, w.staging, key, r.Encode(), objstore.Info{})
			return key
		},
		verify: []verify.Kind{verify.BadReceipt},
		check:  []check.Kind{check.Untrue},
	},
	"batched_of_another_entry": {
		damage: inBatched(edited(func(r *delivery.Receipt) { r.File.Seq++ })),
		verify: []verify.Kind{verify.BadReceipt, verify.Debt},
		check:  []check.Kind{check.Untrue, check.Owed, check.Foreign},
	},
	"batched_given_up": {
		damage: inBatched(edited(func(r *delivery.Receipt) { r.Outcome = delivery.Skipped })),
		verify: []verify.Kind{verify.BadReceipt, verify.Debt},
		check:  []check.Kind{check.Untrue, check.Owed, check.Foreign},
	},
	"batched_of_a_missing_file": {
		damage: inBatched(withAnother(func(r *delivery.Receipt) { r.File.Index = 77 })),
		verify: []verify.Kind{verify.BadReceipt},
		check:  []check.Kind{check.Untrue},
	},
	"batched_of_somebody_else": {
		damage: inBatched(withAnother(func(r *delivery.Receipt) { r.Destination = worldWorkspace + "/pond" })),
		verify: []verify.Kind{verify.NotOwed},
		check:  []check.Kind{check.Untrue},
	},
	"batched_with_another_key": {
		damage: inBatched(edited(func(r *delivery.Receipt) { r.Key = "acme/raw/segment-logs/x/0/y.gz" })),
		verify: []verify.Kind{verify.BadReceipt},
		check:  []check.Kind{check.Untrue},
	},
	"batched_with_another_sum": {
		damage: inBatched(edited(func(r *delivery.Receipt) { r.SHA256 = string(bytes.Repeat([]byte("0"), 64)) })),
		verify: []verify.Kind{verify.BadReceipt},
		check:  []check.Kind{check.Untrue},
	},
	"batched_twice_and_once_wrong": {
		damage: inBatched(withAnother(func(r *delivery.Receipt) { r.Records++ })),
		verify: []verify.Kind{verify.BadReceipt},
		check:  []check.Kind{check.Untrue},
	},
	"batched_and_alone_wrong": {
		damage: func(w *world) string {
			e, _ := w.batch()
			_, r := w.receiptOf(e, 0, lake)
			r.Bytes++
			return w.addReceipt(r)
		},
		verify: []verify.Kind{verify.BadReceipt},
		check:  []check.Kind{check.Untrue},
	},
}

// TestDebtsWithSeveralReceipts: it is no problem if a debt has several receipts, and if one of them
// says that it was delivered, it was.
func TestDebtsWithSeveralReceipts(t *testing.T) {
	good := newWorld(t).batched(t)
	for hazard, more := range map[string]func(w *world, e *ledger.Entry, r delivery.Receipt){
		"alone":    func(w *world, _ *ledger.Entry, r delivery.Receipt) { w.addReceipt(r) },
		"given_up": func(w *world, _ *ledger.Entry, r delivery.Receipt) { w.addReceipt(givenUp(r)) },
		"in_another_batch": func(w *world, e *ledger.Entry, r delivery.Receipt) {
			r.Worker, r.Existed = "another", true
			put(w.t, w.staging, delivery.BatchKey(e.Log(), e.Seq, r.Encode()), r.Encode(), objstore.Info{})
		},
		"twice_in_one": func(w *world, e *ledger.Entry, r delivery.Receipt) {
			w.replaceReceipt(e, 0, lake, withAnother(func(*delivery.Receipt) {}))
		},
	} {
		t.Run(hazard, func(t *testing.T) {
			w := good.clone(t)
			e, _ := w.batch()
			_, r := w.receiptOf(e, 0, lake)
			more(w, e, r)
			w.requireAllWell()
		})
	}
}

func givenUp(r delivery.Receipt) delivery.Receipt {
	return delivery.Receipt{File: r.File, Destination: r.Destination, Outcome: delivery.Skipped, Worker: "operator", At: r.At}
}
