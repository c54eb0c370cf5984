package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/check"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/verify"
)

// mutations are what is done to a good world, and what the checkers must report.
var mutations = map[string]mutation{
	// A customer's objects.
	"line_dropped": {
		damage: inLake(editLines(func(l []string) []string { return l[1:] })),
		verify: []verify.Kind{verify.ObjectChanged},
		check:  []check.Kind{check.Changed},
	},
	"line_doubled": {
		damage: inLake(editLines(func(l []string) []string { return append(l, l[0]) })),
		verify: []verify.Kind{verify.ObjectChanged},
		check:  []check.Kind{check.Changed},
	},
	"line_altered": {
		damage: inLake(editLines(func(l []string) []string { l[1] = replaceOnce(l[1], `"n":`, `"m":`); return l })),
		verify: []verify.Kind{verify.ObjectChanged},
		check:  []check.Kind{check.Changed},
	},
	"lines_reordered": {
		damage: inLake(editLines(func(l []string) []string { l[1], l[2] = l[2], l[1]; return l })),
		verify: []verify.Kind{verify.ObjectChanged},
		check:  []check.Kind{check.Changed},
	},
	"object_dropped": {
		damage: func(w *world) string {
			key := w.objectKey(lake, w.second(), 0)
			w.remove(w.buckets[lake], key)
			return key
		},
		verify: []verify.Kind{verify.ObjectMissing},
		check:  []check.Kind{check.Missing},
	},
	"object_doubled_under_another_name": {
		damage: func(w *world) string {
			key := w.objectKey(lake, w.second(), 0)
			to := key[:len(key)-4] + "0.gz"
			if to == key {
				to = key[:len(key)-4] + "1.gz"
			}
			w.copyTo(w.buckets[lake], key, to)
			return to
		},
		verify: []verify.Kind{verify.ObjectForeign},
		check:  []check.Kind{check.Foreign},
	},
	"object_in_another_source": {damage: movedInLake("/segment-logs/src", "/segment-logs/srd"), verify: []verify.Kind{verify.ObjectMissing}, check: []check.Kind{check.Missing, check.Foreign}},
	"object_in_another_of_our_sources": {
		damage: func(w *world) string {
			e := w.second()
			other := sourceID(3)
			if e.Files[0].Source == other {
				other = sourceID(2)
			}
			return movedInLake(e.Files[0].Source, other)(w)
		},
		verify: []verify.Kind{verify.ObjectForeign, verify.ObjectMissing},
		check:  []check.Kind{check.Missing, check.Foreign},
	},
	"object_in_another_day": {
		damage: func(w *world) string {
			day := fmt.Sprintf("/%d/", w.second().Files[0].Stream().Day())
			return movedInLake(day, "/0/")(w)
		},
		verify: []verify.Kind{verify.ObjectForeign, verify.ObjectMissing},
		check:  []check.Kind{check.Missing, check.Foreign},
	},
	"object_below_another_prefix": {damage: movedInLake("acme/raw/", "acme/"), verify: []verify.Kind{verify.ObjectMissing}, check: []check.Kind{check.Missing, check.Foreign}},
	"gzip_truncated":              {damage: inLake(func(b []byte) []byte { return b[:len(b)-1] }), verify: []verify.Kind{verify.ObjectChanged}, check: []check.Kind{check.Changed}},
	"gzip_with_a_second_member":   {damage: inLake(func(b []byte) []byte { return append(b, emptyObject()...) }), verify: []verify.Kind{verify.ObjectChanged}, check: []check.Kind{check.Changed}},
	"object_without_bytes":        {damage: inLake(func([]byte) []byte { return nil }), verify: []verify.Kind{verify.ObjectChanged}, check: []check.Kind{check.Changed}},
	"object_without_lines":        {damage: inLake(func([]byte) []byte { return emptyObject() }), verify: []verify.Kind{verify.ObjectChanged}, check: []check.Kind{check.Changed}},
	"one_bit_of_an_object":        {damage: inLake(func(b []byte) []byte { b[len(b)/2] ^= 1; return b }), verify: []verify.Kind{verify.ObjectChanged}, check: []check.Kind{check.Changed}},
	"objects_swapped": {
		damage: func(w *world) string {
			one, two := w.objectKey(lake, w.sealedEntries()[0], 0), w.objectKey(lake, w.second(), 0)
			b1, i1 := readObject(w.t, w.buckets[lake], one)
			b2, i2 := readObject(w.t, w.buckets[lake], two)
			put(w.t, w.buckets[lake], one, b2, i2)
			put(w.t, w.buckets[lake], two, b1, i1)
			return two
		},
		verify: []verify.Kind{verify.ObjectChanged},
		check:  []check.Kind{check.Changed},
	},
	"foreign_object": {
		damage: func(w *world) string {
			key := "acme/raw/segment-logs/" + w.second().Files[0].Source + "/test.txt"
			put(w.t, w.buckets[lake], key, []byte("x"), objstore.Info{})
			return key
		},
		verify: []verify.Kind{verify.ObjectForeign},
		check:  []check.Kind{check.Foreign},
	},
	"foreign_objects_in_another_spelling_of_a_day": { // as many as there are in the real folder
		damage: func(w *world) string {
			folder := w.lastFolder()
			other := folder[:len(folder)-len("1795305600000/")] + "0" + folder[len(folder)-len("1795305600000/"):]
			for info, err := range objstore.All(context.Background(), w.buckets[lake], folder) {
				require.NoError(w.t, err)
				put(w.t, w.buckets[lake], other+strings.TrimPrefix(info.Key, folder), []byte("x"), objstore.Info{})
			}
			return other
		},
		verify: []verify.Kind{verify.ObjectForeign},
		check:  []check.Kind{check.Foreign},
	},
	"object_at_a_destination_of_which_its_source_is_none": {
		damage: func(w *world) string {
			e, i := w.lakeOnly()
			b, info := readObject(w.t, w.buckets[lake], w.objectKey(lake, e, i))
			put(w.t, w.buckets[archive], w.objectKey(archive, e, i), b, info)
			return w.objectKey(archive, e, i)
		},
		verify: []verify.Kind{verify.NotOwed},
		check:  []check.Kind{check.Foreign},
	},

	// Staged objects.
	"staged_dropped": {
		damage: func(w *world) string {
			e := w.second()
			w.remove(w.staging, e.Files[0].StagedKey)
			return placeOf(e)
		},
		verify: []verify.Kind{verify.StagedMissing},
		check:  []check.Kind{check.Missing},
	},
	"staged_dropped_while_owed": {
		damage: func(w *world) string {
			e := w.second()
			w.remove(w.staging, e.Files[0].StagedKey)
			w.removeReceipt(e, 0, lake)
			return placeOf(e)
		},
		verify: []verify.Kind{verify.Debt, verify.StagedMissing},
		check:  []check.Kind{check.Missing, check.Owed, check.Foreign},
	},
	"staged_truncated":           {damage: inStaging(func(b []byte) []byte { return b[:len(b)-1] }), verify: []verify.Kind{verify.StagedSize}, check: []check.Kind{check.Changed}},
	"staged_one_bit":             {damage: inStaging(func(b []byte) []byte { b[len(b)/2] ^= 1; return b }), verify: []verify.Kind{verify.StagedContent}, check: []check.Kind{check.Changed}},
	"staged_with_another_member": {damage: inStaging(func(b []byte) []byte { return append(b, emptyObject()...) }), verify: []verify.Kind{verify.StagedSize}, check: []check.Kind{check.Changed}},
	"staged_swapped": {
		damage: func(w *world) string {
			one, two := w.sealedEntries()[0].Files[0].StagedKey, w.second().Files[0].StagedKey
			b1, i1 := readObject(w.t, w.staging, one)
			b2, i2 := readObject(w.t, w.staging, two)
			put(w.t, w.staging, one, b2, i2)
			put(w.t, w.staging, two, b1, i1)
			return placeOf(w.second())
		},
		verify: []verify.Kind{verify.StagedSize},
		check:  []check.Kind{check.Changed},
	},

	// Packs: the world's small files are staged together.
	"files_swapped_in_a_pack": {
		damage: func(w *world) string {
			e := w.packed()
			w.edit(w.staging, e.Files[0].StagedKey, func(b []byte) []byte {
				first, second := e.Files[0].GzipBytes, e.Files[0].GzipBytes+e.Files[1].GzipBytes
				return slices.Concat(b[first:second], b[:first], b[second:])
			})
			return placeOf(e)
		},
		verify: []verify.Kind{verify.StagedContent},
		check:  []check.Kind{check.Changed},
	},
	"file_at_another_offset_of_its_pack": {
		damage: inPacked(func(e *ledger.Entry) { e.Files[1].StagedAt-- }),
		verify: []verify.Kind{verify.FileNames, verify.StagedContent},
		check:  []check.Kind{check.Broken, check.Changed},
	},
	"file_in_a_larger_pack": {
		damage: inPacked(func(e *ledger.Entry) { e.Files[1].PackBytes++ }),
		verify: []verify.Kind{verify.FileNames, verify.StagedSize},
		check:  []check.Kind{check.Broken},
	},
	"pack_of_another_entry": {
		damage: func(w *world) string {
			e := w.packed()
			was := e.Files[0].StagedKey
			other := strings.Replace(was, fmt.Sprintf("/%019d/", e.Seq), fmt.Sprintf("/%019d/", e.Seq+1), 1)
			w.rename(w.staging, was, other)
			w.editEntry(e, func(e *ledger.Entry) {
				for i := range e.Files {
					e.Files[i].StagedKey = other
				}
			})
			return placeOf(e)
		},
		verify: []verify.Kind{verify.FileNames},
		check:  []check.Kind{check.Broken},
	},
	"pack_with_a_file_that_is_nobodys": {
		damage: func(w *world) string {
			e := w.packed()
			w.edit(w.staging, e.Files[0].StagedKey, func(b []byte) []byte { return append(b, oneLine...) })
			w.editEntry(e, func(e *ledger.Entry) {
				for i := range e.Files {
					e.Files[i].PackBytes += int64(len(oneLine))
				}
			})
			return placeOf(e)
		},
		verify: []verify.Kind{verify.FileNames},
		check:  []check.Kind{check.Changed},
	},

	// The ledger.
	"entry_missing": {
		damage: func(w *world) string {
			e := w.second()
			w.remove(w.staging, ledger.EntryKey(e.Log(), e.Seq))
			return placeOf(e)
		},
		verify: []verify.Kind{verify.ChainGap},
		check:  []check.Kind{check.Broken, check.Untrue, check.Foreign},
	},
	"first_entry_missing": {
		damage: func(w *world) string {
			e := w.second()
			w.remove(w.staging, ledger.EntryKey(e.Log(), 0))
			return fmt.Sprintf("%s entry 0", e.Log())
		},
		verify: []verify.Kind{verify.ChainGap},
		check:  []check.Kind{check.Broken},
	},
	"chain_missing": {
		damage: func(w *world) string {
			l := w.second().Log()
			w.removeAll("ledger/" + l.String() + "/")
			return l.String()
		},
		verify: []verify.Kind{verify.ChainGap},
		check:  []check.Kind{check.Untrue, check.Foreign},
	},
	"entry_of_another_number": {
		damage: func(w *world) string {
			all := w.sealedEntries()
			one, two := ledger.EntryKey(all[0].Log(), all[0].Seq), ledger.EntryKey(all[1].Log(), all[1].Seq)
			w.copyTo(w.staging, one, two)
			return placeOf(all[1])
		},
		verify: []verify.Kind{verify.EntryCorrupt},
		check:  []check.Kind{check.Broken, check.Untrue, check.Foreign},
	},
	"entry_cut_short": {
		damage: func(w *world) string {
			e := w.second()
			w.edit(w.staging, ledger.EntryKey(e.Log(), e.Seq), func(b []byte) []byte { return b[:len(b)/2] })
			return placeOf(e)
		},
		verify: []verify.Kind{verify.EntryCorrupt},
		check:  []check.Kind{check.Broken, check.Untrue, check.Foreign},
	},
	"object_among_the_entries": {
		damage: func(w *world) string {
			key := "ledger/" + w.second().Log().String() + "/readme.txt"
			put(w.t, w.staging, key, []byte("x"), objstore.Info{})
			return key
		},
		verify: []verify.Kind{verify.ChainForeign},
		check:  []check.Kind{check.Broken},
	},
	"attempt_of_the_entry_before": {
		damage: func(w *world) string {
			e := w.second()
			before, err := ledger.NewChain(w.staging, e.Log()).Entry(w.t.Context(), e.Seq-1)
			require.NoError(w.t, err)
			w.editEntry(e, func(e *ledger.Entry) { e.Attempt = before.Attempt })
			return placeOf(e)
		},
		verify: []verify.Kind{verify.EntryOrder},
		check:  []check.Kind{check.Broken},
	},
	"watermark_back": {
		damage: inEntry(func(e *ledger.Entry) { e.LowWatermark = 0 }),
		verify: []verify.Kind{verify.SealedThrough, verify.Watermark},
		check:  []check.Kind{check.Broken},
	},
	"watermark_ahead": {
		damage: inEntry(func(e *ledger.Entry) { e.LowWatermark += 1_000 }),
		verify: []verify.Kind{verify.Overlap, verify.Unaccounted, verify.Watermark},
		check:  []check.Kind{check.Broken},
	},
	"file_over_the_one_before": {
		damage: inEntry(func(e *ledger.Entry) { e.Files[0].First = 0 }),
		verify: []verify.Kind{verify.Overlap, verify.FileNames, verify.BadReceipt, verify.ObjectForeign},
		check:  []check.Kind{check.Broken, check.Untrue, check.Foreign, check.Missing},
	},
	"file_taken_out": {
		damage: inEntry(func(e *ledger.Entry) { e.Files = e.Files[1:] }),
		verify: []verify.Kind{verify.BadReceipt, verify.ObjectForeign, verify.Unaccounted},
		check:  []check.Kind{check.Broken, check.Untrue, check.Foreign},
	},
	"wrong_count": {
		damage: inEntry(func(e *ledger.Entry) { e.Files[0].Records-- }),
		verify: []verify.Kind{verify.BadReceipt, verify.StagedContent, verify.Unaccounted},
		check:  []check.Kind{check.Broken, check.Untrue, check.Changed},
	},
	"skipped_forgotten": {
		damage: func(w *world) string {
			for _, e := range w.entries() {
				if len(e.Skipped) > 0 {
					w.editEntry(e, func(e *ledger.Entry) { e.Skipped = nil })
					return placeOf(e)
				}
			}
			return ""
		},
		verify: []verify.Kind{verify.Unaccounted},
		check:  []check.Kind{check.Broken},
	},
	"filter_invented": {
		damage: inEntry(func(e *ledger.Entry) {
			e.SealedThrough = []ledger.SealedStream{{Source: "x", Hour: e.Files[0].Hour, Offset: e.LowWatermark + 5}}
		}),
		verify: []verify.Kind{verify.SealedThrough},
		check:  []check.Kind{check.Broken},
	},
	"complete_goes_back": {
		damage: inEntry(func(e *ledger.Entry) { e.CompleteThrough = 1 }),
		verify: []verify.Kind{verify.EntryOrder},
		check:  []check.Kind{check.Broken},
	},
	"debt_taken_back":      {damage: inEntry(func(e *ledger.Entry) { e.Files[0].Owed = nil }), verify: []verify.Kind{verify.NotOwed}, check: []check.Kind{check.Untrue, check.Foreign}},
	"debt_to_somebody_new": {damage: inEntry(func(e *ledger.Entry) { e.Files[0].Owed = append(e.Files[0].Owed, "ws_zz/new") }), verify: []verify.Kind{verify.Debt}, check: []check.Kind{check.Owed}},
	"file_in_another_hour": {damage: inEntry(func(e *ledger.Entry) { e.Files[0].Hour += 3_600_000 }), verify: []verify.Kind{verify.FileNames, verify.BadReceipt, verify.ObjectForeign}, check: []check.Kind{check.Broken, check.Untrue, check.Foreign, check.Missing}},

	// Receipts and parked jobs.
	"receipt_missing": {
		damage: func(w *world) string {
			e := w.second()
			w.removeReceipt(e, 0, lake)
			return placeOf(e)
		},
		verify: []verify.Kind{verify.Debt},
		check:  []check.Kind{check.Owed, check.Foreign},
	},
	"receipt_of_another_destination": {
		damage: func(w *world) string {
			_, r := w.receiptOf(w.second(), 0, lake)
			key := delivery.ReceiptKey(r.File, worldWorkspace+"/pond")
			put(w.t, w.staging, key, r.Encode(), objstore.Info{})
			return key
		},
		verify: []verify.Kind{verify.BadReceipt, verify.NotOwed},
		check:  []check.Kind{check.Untrue},
	},
	"receipt_of_another_file": {
		damage: func(w *world) string {
			_, r := w.receiptOf(w.sealedEntries()[0], 0, lake)
			key := delivery.ReceiptKey(delivery.Ref(w.second(), 0), lake)
			put(w.t, w.staging, key, r.Encode(), objstore.Info{})
			return key
		},
		verify: []verify.Kind{verify.BadReceipt},
		check:  []check.Kind{check.Untrue},
	},
	"receipt_of_a_file_that_is_not": {
		damage: func(w *world) string {
			e := w.second()
			_, r := w.receiptOf(e, 0, lake)
			r.File.Index = 77
			return w.addReceipt(r)
		},
		verify: []verify.Kind{verify.BadReceipt},
		check:  []check.Kind{check.Untrue},
	},
	"receipt_of_an_entry_that_is_not": {
		damage: func(w *world) string {
			_, r := w.receiptOf(w.second(), 0, lake)
			r.File.Seq = 1_000
			return w.addReceipt(r)
		},
		verify: []verify.Kind{verify.BadReceipt},
		check:  []check.Kind{check.Untrue},
	},
	"receipt_with_another_key":   {damage: inReceipt(func(r *delivery.Receipt) { r.Key = "acme/raw/segment-logs/x/0/y.gz" }), verify: []verify.Kind{verify.BadReceipt}, check: []check.Kind{check.Untrue}},
	"receipt_with_another_sum":   {damage: inReceipt(func(r *delivery.Receipt) { r.SHA256 = strings.Repeat("0", 64) }), verify: []verify.Kind{verify.BadReceipt}, check: []check.Kind{check.Untrue}},
	"receipt_with_other_records": {damage: inReceipt(func(r *delivery.Receipt) { r.Records++ }), verify: []verify.Kind{verify.BadReceipt}, check: []check.Kind{check.Untrue}},
	"receipt_not_json": {
		alone: true,
		damage: func(w *world) string {
			key, _ := w.receiptOf(w.second(), 0, lake)
			w.edit(w.staging, key, func(b []byte) []byte { return b[1:] })
			return key
		},
		verify: []verify.Kind{verify.BadReceipt},
		check:  []check.Kind{check.Untrue},
	},
	"parked_that_nobody_owes": {
		damage: func(w *world) string {
			ref := delivery.Ref(w.second(), 50)
			p := delivery.Parked{Job: delivery.Job{File: ref, Destination: lake}, Cause: "c", Fix: "f"}
			put(w.t, w.staging, delivery.ParkedKey(ref, lake), p.Encode(), objstore.Info{})
			return delivery.ParkedKey(ref, lake)
		},
		verify: []verify.Kind{verify.BadParked},
		check:  nil,
	},
}
