package e2e

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/stream"
	"github.com/sealift/sealift/pkg/verify"
	"github.com/sealift/sealift/workers/rotator"
)

// rehome turns files that were owed to the archive into another destination's, as if that had been
// so from the beginning.
func (w *world) rehome(to string, which func(ledger.File) bool) {
	w.t.Helper()
	for _, e := range w.entries() {
		var moved []int
		for i := range e.Files {
			f := &e.Files[i]
			at := slices.Index(f.Owed, archive)
			if at < 0 || !which(*f) {
				continue
			}
			f.Owed[at] = to
			slices.Sort(f.Owed)
			moved = append(moved, i)
		}
		w.editEntry(e, func(*ledger.Entry) {})
		for _, i := range moved {
			w.editReceipt(e, i, archive, func(r *delivery.Receipt) { r.Destination = to })
		}
	}
}

// TestObjectsAllowedInABucket: objects that were put for somebody who shares the place, or
// shared it then, are right; other destinations' objects are not.
func TestObjectsAllowedInABucket(t *testing.T) {
	const (
		second  = worldWorkspace + "/second"
		foreign = "ws_foreign0000000000000/archive"
	)
	all := func(ledger.File) bool { return true }
	first := func(f ledger.File) bool { return f.Source == sourceID(0) }
	old := func(c *verify.Config) { c.Retain = time.Nanosecond }
	// stray puts a file that is only owed to the lake into the archive.
	stray := func(w *world) {
		e, i := w.lakeOnly()
		b, info := readObject(w.t, w.buckets[lake], w.objectKey(lake, e, i))
		put(w.t, w.buckets[archive], w.objectKey(archive, e, i), b, info)
	}
	good := newWorld(t)
	batched := good.batched(t)
	for hazard, c := range map[string]struct {
		world  func(w *world)
		change func(*verify.Config)
		want   []verify.Kind
		past   int64
		raised bool // mentions that staging.retain may have been raised
	}{
		"two_destinations_in_one_place": {world: func(w *world) {
			w.rehome(second, first)
			w.buckets[second] = w.buckets[archive]
		}},
		"one_of_two_in_one_place_is_verified": {world: func(w *world) {
			w.rehome(second, first)
			w.buckets[second] = w.buckets[archive]
		}, change: func(c *verify.Config) { c.Destination = archive }},
		"just_delivered_there": {world: func(w *world) {
			w.rehome(second, first)
			w.buckets[second] = w.buckets[archive]
			for _, e := range w.entries() {
				for i, f := range e.Files {
					if slices.Contains(f.Owed, second) {
						w.removeReceipt(e, i, second)
					}
				}
			}
		}, change: func(c *verify.Config) { c.Overdue = time.Hour }},
		"destination_renamed": {world: func(w *world) {
			day := w.second().Files[0].Stream().Day()
			w.rehome(second, func(f ledger.File) bool { return f.Stream().Day() == day })
		}},
		"destination_left_a_shared_place": {world: func(w *world) { w.rehome(second, first) }},
		"new_destination_in_a_shared_place_backfilled": {world: func(w *world) {
			w.buckets[second] = w.buckets[archive]
			e, i := w.lakeOnly()
			order := w.orderFor("r1", func(o *delivery.Order) { o.Destinations = []string{second} })
			put(t, w.staging, delivery.OrderKey("r1"), order.Encode(), objstore.Info{})
			b, info := readObject(w.t, w.buckets[lake], w.objectKey(lake, e, i))
			put(w.t, w.buckets[archive], w.objectKey(archive, e, i), b, info)
		}},
		"another_users_sources": {world: func(w *world) {
			put(w.t, w.buckets[archive], "segment-logs/of-another-fleet/1795305600000/x.gz", []byte("x"), objstore.Info{})
		}},
		"another_customers_file": {world: func(w *world) {
			w.rehome(foreign, all)
			w.buckets[foreign] = w.buckets[archive]
			stray(w)
		}, want: []verify.Kind{verify.NotOwed}},
		"another_customers_file_long_ago": {world: func(w *world) {
			w.rehome(foreign, all)
			w.buckets[foreign] = w.buckets[archive]
			stray(w)
		}, change: old, want: []verify.Kind{verify.NotOwed}},
		"backfill_after_its_order_expired": {world: stray, change: old, past: 1},
		"backfill_whose_order_was_lost":    {world: stray, want: []verify.Kind{verify.NotOwed}, raised: true},
	} {
		judge := func(t *testing.T, w *world) {
			c.world(w)
			r := w.verify(c.change)
			require.Equal(t, c.want, kindsOf(r), "%v", r.Examples)
			require.Empty(t, r.Unread)
			for _, p := range r.Examples {
				require.Equal(t, c.raised, strings.Contains(p.What, "before staging.retain was raised"), p.What)
			}
			var past int64
			for _, d := range r.Destinations {
				past += d.Past
			}
			require.Equal(t, c.past, past)
		}
		t.Run(hazard, func(t *testing.T) { judge(t, good.clone(t)) })
		t.Run(hazard+"/in_batches", func(t *testing.T) { judge(t, batched.clone(t)) })
	}
}

// TestSinceIncludesTheEntryBefore: the first entry of a window is compared with the one before it,
// or that one is reported as missing.
func TestSinceIncludesTheEntryBefore(t *testing.T) {
	good := newWorld(t)
	for hazard, c := range map[string]struct {
		damage func(w *world, before *ledger.Entry)
		want   []verify.Kind
		unread bool
	}{
		"nothing": {damage: func(*world, *ledger.Entry) {}},
		"missing": {damage: func(w *world, before *ledger.Entry) {
			w.remove(w.staging, ledger.EntryKey(before.Log(), before.Seq))
		}, want: []verify.Kind{verify.ChainGap}},
		"cut_short": {damage: func(w *world, before *ledger.Entry) {
			w.edit(w.staging, ledger.EntryKey(before.Log(), before.Seq), func(b []byte) []byte { return b[:len(b)/2] })
		}, want: []verify.Kind{verify.EntryCorrupt}},
		"cannot_be_read": {damage: func(*world, *ledger.Entry) {}, unread: true},
	} {
		t.Run(hazard, func(t *testing.T) {
			w := good.clone(t)
			before := w.second()
			first := before.Seq + 1
			require.Positive(t, before.Seq, "want an entry with older ones before it")
			c.damage(w, before)
			// What follows is written again, later than everything else.
			chain := "ledger/" + before.Log().String() + "/"
			since := time.Now()
			for info, err := range objstore.All(context.Background(), w.staging, chain) {
				require.NoError(t, err)
				if _, seq, ok := ledger.ParseEntryKey(info.Key); ok && seq >= first {
					w.edit(w.staging, info.Key, func(b []byte) []byte { return b })
				}
			}
			w.refuseWrites(w.staging, func(op objstore.Op) error {
				if c.unread && op.Name == "get" && op.Key == ledger.EntryKey(before.Log(), before.Seq) {
					return objstore.ErrInvalid
				}
				return nil
			})
			r, err := w.verifyAs(func(c *verify.Config) { c.Since = since; c.Partition = before.Partition }, w.open)
			require.NoError(t, err)
			require.Equal(t, c.want, kindsOf(r), "%v", r.Examples)
			require.Equal(t, c.unread, len(r.Unread) > 0, "%v", r.Unread)
			if len(c.want) > 0 {
				require.Contains(t, r.Examples[0].String(), placeOf(before))
			}
		})
	}
}

// TestLostChainsAreReported: each missing chain is reported by what it left. If it was the last
// one, there is nothing to verify, which is an error.
func TestLostChainsAreReported(t *testing.T) {
	good := newWorld(t)
	for hazard, c := range map[string]struct {
		remove []string // with {log} for one of the chains
		err    error
		want   []verify.Kind
	}{
		"one":                        {remove: []string{"ledger/{log}/"}, want: []verify.Kind{verify.ChainGap}},
		"one_and_its_receipts":       {remove: []string{"ledger/{log}/", "receipts/{log}/"}, want: []verify.Kind{verify.ChainGap}},
		"one_and_its_staged_objects": {remove: []string{"ledger/{log}/", "data/{log}/"}, want: []verify.Kind{verify.ChainGap}},
		"all":                        {remove: []string{"ledger/"}, err: verify.ErrNoLedger, want: []verify.Kind{verify.ChainGap}},
		"one_outside_the_selection":  {remove: []string{"ledger/{log}/"}},
	} {
		t.Run(hazard, func(t *testing.T) {
			w := good.clone(t)
			e := w.second()
			l, ref := e.Log(), delivery.Ref(e, 0)
			// What belongs to the chain is reported with it, and the report does not say to delete
			// it.
			order := w.orderFor("r1", func(o *delivery.Order) { o.Force = true })
			put(t, w.staging, delivery.OrderKey("r1"), order.Encode(), objstore.Info{})
			w.replay(order, e, lake)
			w.removeReceipt(e, 0, lake)
			put(t, w.staging, delivery.ParkedKey(ref, lake), []byte("{}"), objstore.Info{})
			put(t, w.staging, "receipts/"+l.String()+"/\u00e9", []byte("x"), objstore.Info{})
			for _, prefix := range c.remove {
				w.removeAll(strings.ReplaceAll(prefix, "{log}", l.String()))
			}
			w.refuseWrites(w.staging, nil)
			r, err := w.verifyAs(func(cfg *verify.Config) {
				if c.want == nil {
					cfg.Partition = (l.Partition + 1) % pipelinePartitions
				}
			}, w.open)
			require.ErrorIs(t, err, c.err)
			require.Equal(t, c.want, kindsOf(r), "%v", r.Examples)
			if c.want != nil {
				require.Contains(t, r.Examples[0].Where, l.Topic)
			}
		})
	}
}

// TestAcceptedLossIsNotReported: both judges count what Kafka removed as an upper bound, and do not
// count what comes after it against that.
func TestAcceptedLossIsNotReported(t *testing.T) {
	w := newWorld(t)
	head := w.entries()[len(w.entries())-1]
	chain := ledger.NewChain(w.staging, head.Log())
	lost, err := rotator.AcceptLoss(t.Context(), chain, head.Cluster, stream.Bounds{First: head.LowWatermark + 50, End: head.LowWatermark + 60}, "operator")
	require.NoError(t, err)
	after := *lost
	after.Seq, after.Kind, after.Attempt, after.Skipped, after.LowWatermark = lost.Seq+1, ledger.KindSeal, "after", map[string]int64{"not_a_json_object": 10}, lost.LowWatermark+10
	require.NoError(t, chain.Append(t.Context(), &after))
	less := w.clone(t)
	r := w.verify(nil)
	require.True(t, r.OK(), "%v", r.Examples)
	require.EqualValues(t, 50, r.Skipped[ledger.SkippedLost])
	books, err := w.installation().Check()
	require.NoError(t, err)
	require.True(t, books.OK(), "%v", books.Problems)

	after.Seq, after.Attempt, after.LowWatermark = after.Seq+1, "less", after.LowWatermark+11
	require.NoError(t, ledger.NewChain(less.staging, head.Log()).Append(t.Context(), &after))
	require.EqualValues(t, 1, less.verify(nil).ByKind[verify.Unaccounted], "the second skip is not counted as unaccounted")
}
