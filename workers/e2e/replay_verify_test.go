package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/verify"
)

// replay does what a replay's copier does: it puts the file's lines, compressed anew, and writes
// the replay's receipt.
func (w *world) replay(order *delivery.Order, e *ledger.Entry, dest string) (object string) {
	w.t.Helper()
	f, ref := &e.Files[0], delivery.Ref(e, 0)
	body, info := readObject(w.t, w.staging, f.StagedKey)
	body = editLines(func(l []string) []string { return l })(body[f.StagedAt : f.StagedAt+f.GzipBytes])
	sum := sha256.Sum256(body)
	info.Metadata = delivery.ObjectMetadata(e.Log(), f)
	info.Metadata["sha256"] = hex.EncodeToString(sum[:])
	object = delivery.ObjectKey(order.Prefix(w.prefixes[dest]), e.Log(), f)
	put(w.t, w.buckets[dest], object, body, info)
	at, err := w.buckets[dest].Head(context.Background(), object)
	require.NoError(w.t, err)
	r := delivery.Receipt{File: ref, Destination: dest, Outcome: delivery.Delivered, Bucket: map[string]string{lake: "lake", archive: "archive"}[dest],
		Key: object, ETag: at.ETag, SHA256: hex.EncodeToString(sum[:]), Bytes: int64(len(body)), Records: f.Records, Worker: "c", Replay: order.ID}
	put(w.t, w.staging, delivery.ReplayReceiptKey(order.ID, ref, dest), r.Encode(), objstore.Info{})
	return object
}

// orderFor returns an order for everything so far.
func (w *world) orderFor(id string, change func(*delivery.Order)) *delivery.Order {
	o := &delivery.Order{ID: id, Topic: "events", Incarnation: "1", Heads: map[int]int64{}, From: delivery.FromKafka, CreatedAt: time.Now().UnixMilli(), CreatedBy: "test"}
	for _, e := range w.entries() {
		o.Heads[e.Partition] = max(o.Heads[e.Partition], e.Seq)
	}
	change(o)
	return o
}

// TestReplaysAreVerified: what an order covers is right, and the same objects without their order
// are not.
func TestReplaysAreVerified(t *testing.T) {
	good := newWorld(t)
	batched := good.batched(t)
	var shared, lakeOnly *ledger.Entry // a file owed to both destinations, and one owed to the lake
	for _, e := range good.entries() {
		switch {
		case len(e.Files) == 0:
		case len(e.Files[0].Owed) == 2:
			shared = e
		default:
			lakeOnly = e
		}
	}
	for name, test := range map[string]struct {
		order   func(*delivery.Order)
		e       *ledger.Entry
		dest    string
		without []verify.Kind // problems if the order is lost
	}{
		"rewritten":            {order: func(o *delivery.Order) { o.Force = true }, e: shared, dest: lake, without: []verify.Kind{verify.ObjectChanged, verify.BadOrder}},
		"in_a_view":            {order: func(o *delivery.Order) { o.View = "v2" }, e: shared, dest: archive, without: []verify.Kind{verify.BadOrder}},
		"at_a_new_destination": {order: func(o *delivery.Order) { o.Destinations = []string{archive} }, e: lakeOnly, dest: archive, without: []verify.Kind{verify.NotOwed, verify.BadOrder}},
	} {
		judge := func(t *testing.T, w *world) {
			order := w.orderFor("r1", test.order)
			put(t, w.staging, delivery.OrderKey("r1"), order.Encode(), objstore.Info{})
			object := w.replay(order, test.e, test.dest)
			r := w.verify(nil)
			require.True(t, r.OK(), "%v", r.Examples)
			require.EqualValues(t, 1, r.Receipts.Replayed)

			damaged := w.clone(t)
			damaged.remove(damaged.buckets[test.dest], object)
			r = damaged.verify(nil)
			require.Equal(t, map[verify.Kind]int64{verify.ObjectMissing: 1}, r.ByKind, "want one missing object, whatever receipts it has")

			w.staging.SetFault(nil)
			w.remove(w.staging, delivery.OrderKey("r1"))
			require.Equal(t, test.without, kindsOf(w.verify(nil)))
		}
		t.Run(name, func(t *testing.T) { judge(t, good.clone(t)) })
		t.Run(name+"/in_batches", func(t *testing.T) { judge(t, batched.clone(t)) })
	}
}

// TestObjectsOfExpiredReplaysAreVerified: what a replay wrote stays right after its order has
// expired, and what somebody else wrote there stays wrong.
func TestObjectsOfExpiredReplaysAreVerified(t *testing.T) {
	good := newWorld(t)
	e, i := good.lakeOnly()
	object := good.objectKey(lake, e, i)
	anew := editLines(func(l []string) []string { return l })
	says := func(b []byte, like objstore.Info) objstore.Info {
		like.Metadata = maps.Clone(like.Metadata)
		like.Metadata["sha256"] = fmt.Sprintf("%x", sha256.Sum256(b))
		return like
	}
	changed := []verify.Kind{verify.ObjectChanged}
	for hazard, c := range map[string]struct {
		write       func(b []byte, was objstore.Info) ([]byte, objstore.Info)
		young       bool
		quick, deep []verify.Kind
		raised      bool // mentions that staging.retain may have been raised
	}{
		"rewritten": {write: func(b []byte, was objstore.Info) ([]byte, objstore.Info) { b = anew(b); return b, says(b, was) }},
		"rewritten_and_order_lost": {write: func(b []byte, was objstore.Info) ([]byte, objstore.Info) { b = anew(b); return b, says(b, was) },
			young: true, quick: changed, deep: changed, raised: true},
		"other_lines": {write: func(b []byte, was objstore.Info) ([]byte, objstore.Info) {
			b = editLines(func(l []string) []string { return l[1:] })(b)
			return b, says(b, was)
		}, deep: changed},
		"bytes_differ_from_metadata": {write: func(b []byte, was objstore.Info) ([]byte, objstore.Info) { return anew(b), was }, quick: changed, deep: changed},
		"another_file": {write: func(b []byte, was objstore.Info) ([]byte, objstore.Info) {
			was = says(b, was)
			was.Metadata["first-offset"] = "1000000"
			return b, was
		}, quick: changed, deep: changed},
		"far_too_large": {write: func(b []byte, was objstore.Info) ([]byte, objstore.Info) {
			b = append(anew(b), make([]byte, 2<<20)...)
			return b, says(b, was)
		}, quick: changed, deep: changed},
	} {
		t.Run(hazard, func(t *testing.T) {
			w := good.clone(t)
			b, was := readObject(t, w.buckets[lake], object)
			b, was = c.write(b, was)
			put(t, w.buckets[lake], object, b, was)
			for deep, want := range map[bool][]verify.Kind{false: c.quick, true: c.deep} {
				r := w.verify(func(cfg *verify.Config) {
					cfg.Deep = deep
					if !c.young {
						cfg.Retain = time.Nanosecond
					}
				})
				require.Equal(t, want, kindsOf(r), "%v", r.Examples)
				for _, p := range r.Examples {
					require.Equal(t, c.raised, strings.Contains(p.What, "before staging.retain was raised"), p.What)
				}
				var past int64
				for _, d := range r.Destinations {
					past += d.Past
				}
				require.Equal(t, !deep && len(want) == 0, past == 1, "objects reported as past: %d", past)
			}
		})
	}
}

func kindsOf(r *verify.Report) []verify.Kind { return slices.Sorted(maps.Keys(r.ByKind)) }

// TestObjectNotOwedToItsDestinationIsReported: a real file at a destination that the ledger does
// not owe it to is reported; in the worst case it is another customer's data.
func TestObjectNotOwedToItsDestinationIsReported(t *testing.T) {
	w := newWorld(t)
	for _, e := range w.entries() {
		for i := range e.Files {
			if !slices.Contains(e.Files[i].Owed, archive) || e.Files[i].Source != sourceID(0) {
				continue
			}
			w.editEntry(e, func(e *ledger.Entry) { e.Files[i].Owed = []string{lake} })
			w.removeReceipt(e, i, archive)
			require.Equal(t, []verify.Kind{verify.NotOwed}, kindsOf(w.verify(nil)))
			return
		}
	}
	require.Fail(t, "no file is owed to the archive")
}
