package auditor

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/ledger/ledgertest"
	"github.com/sealift/sealift/pkg/objstore"
)

// requests are the numbers of requests about the receipts and the entries of a ledger.
type requests struct{ listings, batches, singles, entries int }

// countRequests counts them from now on.
func (r *rig) countRequests() *requests {
	n := new(requests)
	r.staging.SetFault(func(op objstore.Op) objstore.Fault {
		switch {
		case op.Name == "get" && strings.HasPrefix(op.Key, "ledger/"):
			n.entries++
		case !strings.HasPrefix(op.Key, "receipts/"):
		case op.Name == "list":
			n.listings++
		case strings.Contains(op.Key, "/batch/"):
			n.batches++
		default:
			n.singles++
		}
		return objstore.Fault{}
	})
	return n
}

// What an earlier audit read is not read again while a destination is down, or while what it got
// late is kept: neither by audits nor by `sealift destinations status`.
func TestReceiptsAreReadOnce(t *testing.T) {
	const n = 20
	for state, c := range map[string]struct {
		change      func(r *rig, e *ledger.Entry)
		openEntries int      // that the status has to look at
		added       requests // of an audit after receipts were added to one entry
	}{
		"queued": {func(*rig, *ledger.Entry) {}, n, requests{listings: n, batches: 4, entries: 3}},
		// The note of what is not parked any more is looked up.
		"parked":         {func(r *rig, e *ledger.Entry) { r.park(e, 6, one); r.park(e, 7, one) }, n, requests{listings: n + 1, batches: 8, entries: 3}},
		"delivered_late": {func(r *rig, e *ledger.Entry) { r.batch(e, one, 6, 7) }, 0, requests{listings: n, batches: 5, entries: 3}},
	} {
		t.Run(state, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRigWithoutRedis(t)
				var entries []*ledger.Entry
				for range n {
					e := r.seal(log0, 30*time.Hour, []string{one}, "a", "b", "c", "d", "e", "f", "g", "h")
					r.batch(e, one, 0, 1)
					r.batch(e, one, 2, 3)
					r.batch(e, one, 4, 5)
					entries = append(entries, e)
				}
				r.audit()
				for _, e := range entries {
					c.change(r, e)
				}
				r.audit()
				r.audit() // deletes what is old enough
				got := r.countRequests()
				report := r.audit()
				require.Equal(t, requests{listings: n, entries: 2}, *got, "want only the head and the hint's entry read")
				require.EqualValues(t, n, report.Entries)
				require.EqualValues(t, 2*c.openEntries, report.Undelivered())
				got = r.countRequests()
				s := readStatus(t, r.staging)
				require.Equal(t, requests{listings: c.openEntries, entries: 1}, *got)
				requireSameStatus(t, r.staging, s, state)

				r.batch(entries[7], one, 5, 6)
				requireSameStatus(t, r.staging, readStatus(t, r.staging), "added")
				got = r.countRequests()
				r.audit()
				require.Equal(t, c.added, *got)
				requireSameStatus(t, r.staging, readStatus(t, r.staging), "added and audited")
			})
		})
	}
}

// Nor are they when the files that were delivered have been deleted.
func TestReceiptsAreNotReadAgainAfterDeletion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigWithoutRedis(t)
		e := r.seal(log0, time.Hour, []string{one}, "a", "b", "c")
		r.batch(e, one, 0, 1)
		r.park(e, 2, one)
		r.audit()
		time.Sleep(2 * r.cfg.Retain)
		require.EqualValues(t, 2, r.audit().Collected)
		r.audit() // reads them once more
		got := r.countRequests()
		require.EqualValues(t, 1, r.audit().Parked)
		require.Equal(t, requests{listings: 1, entries: 2}, *got, "want only the head and the hint's entry read")
	})
}

// A batch that could not be read or understood is read again, although nothing else is listed: it
// may close debts.
func TestReceiptsNotUnderstoodAreReadAgain(t *testing.T) {
	r := newRig(t, nil)
	e := r.seal(log0, time.Hour, []string{one}, "a", "b", "c")
	batch := r.batch(e, one, 0, 1)
	r.staging.SetFault(func(op objstore.Op) objstore.Fault {
		if op.Name == "get" && op.Key == batch {
			return objstore.Fault{Before: objstore.ErrNotFound}
		}
		return objstore.Fault{}
	})
	require.EqualValues(t, 3, r.audit().Undelivered())
	require.Empty(t, r.storedHint(log0).Seen)
	r.staging.SetFault(nil)
	require.EqualValues(t, 2, r.audit().Delivered)
	require.Contains(t, r.storedHint(log0).Seen, e.Seq)

	later := append(delivery.EncodeBatch([]delivery.Receipt{copierReceipt(e, 0, one)}), "{\"version\":2}\n"...)
	r.stage(delivery.BatchKey(log0, e.Seq, later), string(later))
	r.audit()
	require.Empty(t, r.storedHint(log0).Seen)
}

// A hint that wrongly says that an entry owes nothing may delay its jobs, but never deletes what is
// owed, and an audit of everything does not ask it.
func TestFullAuditDoesNotAskWhatWasSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigWithoutRedis(t)
		e := r.seal(log0, time.Hour, []string{one}, "a", "b")
		r.deliver(e, 0, one)
		r.audit()
		require.Len(t, r.jobs.take(), 1)
		h := r.storedHint(log0)
		require.Contains(t, h.Seen, e.Seq)
		h.Accounts[one].Delivered.add(h.Accounts[one].Debts[0].sum())
		h.Accounts[one].Debts = nil
		require.NoError(t, h.store(t.Context(), r.staging, log0))
		time.Sleep(2 * r.cfg.Retain)
		require.Zero(t, r.audit().Missing)
		require.Equal(t, []bool{false, true}, []bool{r.exists(e.Files[0].StagedKey), r.exists(e.Files[1].StagedKey)})
		r.cfg.Full = true
		report := r.audit()
		require.EqualValues(t, 1, report.Missing)
		require.EqualValues(t, 1, report.Delivered)
		require.Equal(t, []delivery.Job{{Version: 1, File: delivery.Ref(e, 1), Destination: one}}, r.jobs.take())
		require.Len(t, r.storedHint(log0).Accounts[one].Debts, 1)
	})
}

// A file that is owed to nobody, and that a replay held back when its turn to be deleted came, is
// deleted afterwards, although nothing else changes in its entry.
func TestFileOwedToNobodyIsDeletedAfterAReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigWithoutRedis(t)
		head := r.seal(log0, time.Hour, nil)
		owed, free := file(log0, 0, 0, "owed"), file(log0, 1, 1, "free")
		owed.Owed, free.Owed = []string{one}, nil
		for _, f := range []ledger.File{owed, free} {
			r.stage(f.StagedKey, "x")
		}
		e := ledgertest.Append(t, r.staging, ledgertest.Next(head, owed, free))
		r.park(e, 0, one)
		r.audit()
		time.Sleep(r.cfg.Retain)
		r.order(e)
		r.audit()
		require.Equal(t, 2, r.stagedFiles(e))
		require.NoError(t, r.staging.Delete(t.Context(), delivery.OrderKey("r")))
		r.audit()
		require.Equal(t, []bool{true, false}, []bool{r.exists(owed.StagedKey), r.exists(free.StagedKey)})
	})
}

// What an audit has counted as closed is not counted again, whether the receipts of its entry are
// read again or not.
func TestClosedFilesAreCountedOnce(t *testing.T) {
	r := newRig(t, nil)
	e := r.seal(log0, time.Hour, []string{one}, "a", "b", "c", "d")
	r.batch(e, one, 0, 1)
	r.park(e, 2, one)
	r.park(e, 3, one)
	requireCounts := func(want counts) {
		t.Helper()
		report := r.audit()
		want.OldestUndeliveredSeconds = report.OldestUndeliveredSeconds
		require.Equal(t, want, report.counts)
	}
	requireCounts(counts{Owed: 4, Delivered: 2, Parked: 2})
	requireCounts(counts{Owed: 2, Parked: 2})
	r.deliver(e, 2, one)
	requireCounts(counts{Owed: 2, Delivered: 1, Parked: 1})
	requireCounts(counts{Owed: 1, Parked: 1})
	r.cfg.Full = true
	require.EqualValues(t, 3, r.audit().Delivered)
}

// Whatever happens to an object, a listing with it is not taken for the former one.
func TestListingsDiffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigWithoutRedis(t)
		e := r.seal(log0, time.Hour, []string{one}, "a", "b", "c")
		r.deliver(e, 0, one)
		batch := r.batch(e, one, 1, 2)
		var digests []string
		digest := func() string {
			found, err := listReceipts(t.Context(), r.staging, log0, e.Seq)
			require.NoError(t, err)
			return found.digest
		}
		body, err := objstore.Read(t.Context(), r.staging, batch, 1<<20)
		require.NoError(t, err)
		for _, do := range []func(){
			func() {},
			func() { r.deliver(e, 1, one) },
			func() { require.NoError(t, r.staging.Delete(t.Context(), batch)) },
			func() { r.stage(batch, string(body)) }, // restored
			func() { r.stage(batch, "damaged") },
		} {
			time.Sleep(time.Second)
			do()
			digests = append(digests, digest())
			require.Equal(t, digests[len(digests)-1], digest(), "listed a second time")
		}
		slices.Sort(digests)
		require.Len(t, slices.Compact(digests), 5)
	})
}
