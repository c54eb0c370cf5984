package auditor

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/minio/crc64nvme"
	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/ledger/ledgertest"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/objstore/objstoretest"
	"github.com/sealift/sealift/pkg/replay"
	"github.com/sealift/sealift/pkg/verify"
)

// sealMixed is like seal with valid gzip files: the first ones in a pack, the others alone.
func (r *rig) sealMixed(l ledger.Log, ago time.Duration, owed []string, packed, alone int) *ledger.Entry {
	at := time.Now().Add(-ago)
	head := r.heads[l]
	if head == nil {
		head = ledgertest.Append(r.t, r.staging, ledgertest.Init(l, at))
	}
	line := []byte("{}\n")
	sum := crc64nvme.New()
	_, _ = sum.Write(line)
	var files []ledger.File
	var pack []byte
	z := gzip.NewWriter(io.Discard)
	for i := range packed + alone {
		var content bytes.Buffer
		z.Reset(&content)
		z.Name = fmt.Sprint(head.Seq, " ", i) // so that no two are the same
		_, err := z.Write(line)
		require.NoError(r.t, err)
		require.NoError(r.t, z.Close())
		f := ledgertest.File(l, ledger.File{First: head.LowWatermark + int64(i), Hour: at.Truncate(time.Hour).UnixMilli(), Received: at.UnixMilli(), Owed: owed, RawCRC64: fmt.Sprintf("%016x", sum.Sum64())}, content.Bytes())
		if i < packed {
			pack = append(pack, content.Bytes()...)
		} else {
			r.stage(f.StagedKey, content.String())
		}
		files = append(files, f)
	}
	if packed > 0 {
		r.stage(ledgertest.Pack(l, head.Seq+1, files[:packed], pack), string(pack))
	}
	e := ledgertest.Next(head, files...)
	e.WrittenAt = at.UnixMilli()
	r.heads[l] = ledgertest.Append(r.t, r.staging, e)
	return e
}

// requireNoProblems runs the check of `sealift verify --deep`.
func (r *rig) requireNoProblems(collected int64) {
	r.t.Helper()
	report, err := verify.Verify(r.t.Context(), verify.Config{Partition: -1, Deep: true, Retain: r.cfg.Retain}, verify.Deps{Staging: r.staging})
	require.NoError(r.t, err)
	require.Zero(r.t, report.Problems, report.Examples)
	require.Equal(r.t, collected, report.Staged.Collected)
	require.Equal(r.t, report.Files-collected, report.Staged.Read)
}

// receipt is like deliver, with everything that a copier writes.
func (r *rig) receipt(e *ledger.Entry, i int, dest string) {
	ledgertest.Receipt(r.t, r.staging, e, i, dest, copierReceipt(e, i, dest))
}

// batch delivers files with one request, and returns the key of their receipts.
func (r *rig) batch(e *ledger.Entry, dest string, files ...int) string {
	var receipts []delivery.Receipt
	for _, i := range files {
		receipts = append(receipts, copierReceipt(e, i, dest))
	}
	return ledgertest.Batch(r.t, r.staging, e, receipts...)
}

// copierReceipt is what a copier writes.
func copierReceipt(e *ledger.Entry, i int, dest string) delivery.Receipt {
	f := &e.Files[i]
	return delivery.Receipt{
		File: delivery.Ref(e, i), Destination: dest, Outcome: delivery.Delivered,
		Bucket: "b", Key: delivery.ObjectKey("", e.Log(), f), SHA256: f.SHA256, Bytes: f.GzipBytes, Records: f.Records, At: time.Now().UnixMilli(),
	}
}

// deletions collects, from now on, the keys of staged objects that are deleted.
func (r *rig) deletions() *[]string {
	keys := new([]string)
	r.staging.SetFault(func(op objstore.Op) objstore.Fault {
		if op.Name == "delete" && strings.HasPrefix(op.Key, "data/") {
			*keys = append(*keys, op.Key)
		}
		return objstore.Fault{}
	})
	return keys
}

// Invariant: I4. A parked file keeps only its own object in staging, and no other of its entry: one
// of an hour's 400 files may be parked for weeks.
func TestParkedFileKeepsOnlyItsOwnObject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigWithoutRedis(t)
		mixed := r.sealMixed(log0, time.Hour, []string{one, two}, 3, 3)
		nobody := r.sealMixed(log0, time.Hour, nil, 2, 1)
		for i := range mixed.Files {
			r.receipt(mixed, i, one)
			if i != 1 && i != 4 { // one in the pack, one alone
				r.receipt(mixed, i, two)
			}
		}
		r.park(mixed, 1, two)
		r.park(mixed, 4, two)
		r.audit()
		r.requireNoProblems(0)
		time.Sleep(r.cfg.Retain)
		deleted := r.deletions()
		require.EqualValues(t, 2+3, r.audit().Collected)
		require.ElementsMatch(t, []string{mixed.Files[3].StagedKey, mixed.Files[5].StagedKey, nobody.Files[0].StagedKey, nobody.Files[2].StagedKey}, *deleted)
		r.requireNoProblems(5)
		require.Equal(t, []int64{mixed.Seq}, r.storedHint(log0).Open)

		deleted = r.deletions()
		time.Sleep(25 * time.Hour)
		require.Zero(t, r.audit().Collected)
		require.Empty(t, *deleted, "deleted a second time")

		r.receipt(mixed, 1, two)
		r.audit()
		r.requireNoProblems(5)
		time.Sleep(r.cfg.Retain)
		require.EqualValues(t, 3, r.audit().Collected, "want the pack deleted after its full retention")
		require.Equal(t, []string{mixed.Files[0].StagedKey}, *deleted)
		r.requireNoProblems(8)

		ledgertest.Receipt(t, r.staging, mixed, 4, two, delivery.Receipt{Outcome: delivery.Skipped})
		time.Sleep(r.cfg.Retain)
		require.EqualValues(t, 1, r.audit().Collected)
		require.Equal(t, []string{mixed.Files[0].StagedKey, mixed.Files[4].StagedKey}, *deleted, "deleted a second time")
		r.requireNoProblems(9)
		r.audit()
		require.Empty(t, r.storedHint(log0).Open)
		require.Empty(t, r.storedHint(log0).Swept)
	})
}

// A file that was delivered late is deleted later, although it was not old enough when its entry's
// turn came and the entry is still open.
func TestFileDeliveredLateIsDeletedBesideAParkedOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigWithoutRedis(t)
		e := r.sealMixed(log0, 0, []string{one}, 0, 4)
		r.receipt(e, 0, one)
		r.park(e, 3, one)
		time.Sleep(time.Hour)
		r.receipt(e, 1, one)
		r.audit()
		time.Sleep(r.cfg.Retain - 30*time.Minute)
		deleted := r.deletions()
		require.EqualValues(t, 1, r.audit().Collected)
		r.receipt(e, 2, one)
		time.Sleep(time.Hour)
		require.EqualValues(t, 1, r.audit().Collected)
		time.Sleep(r.cfg.Retain)
		require.EqualValues(t, 1, r.audit().Collected)
		require.Equal(t, []string{e.Files[0].StagedKey, e.Files[1].StagedKey, e.Files[2].StagedKey}, *deleted)
		r.requireNoProblems(3)
	})
}

// Invariant: I4. What was delivered with others is kept from the time of their batch on, whatever
// else closes its debt later.
func TestFilesDeliveredInABatchAreKeptFromItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigWithoutRedis(t)
		e := r.sealMixed(log0, 0, []string{one}, 0, 5)
		r.receipt(e, 0, one)
		time.Sleep(time.Hour)
		r.batch(e, one, 0, 1, 2)
		time.Sleep(time.Hour)
		ledgertest.Receipt(t, r.staging, e, 2, one, delivery.Receipt{Outcome: delivery.Skipped})
		ledgertest.Receipt(t, r.staging, e, 3, one, delivery.Receipt{Outcome: delivery.Skipped})
		time.Sleep(time.Hour)
		r.batch(e, one, 2, 3)
		bad := append(delivery.EncodeBatch([]delivery.Receipt{copierReceipt(e, 1, one)}), "{\"version\":1}\n"...)
		r.stage(delivery.BatchKey(log0, e.Seq, bad), string(bad))

		deleted := r.deletions()
		for n, want := range []int{0, 1, 3, 4, 4} { // hours after the first one may go
			time.Sleep(time.Until(time.UnixMilli(e.WrittenAt).Add(r.cfg.Retain + time.Duration(n-1)*time.Hour + time.Minute)))
			r.audit()
			require.Len(t, *deleted, want, n)
		}
		require.True(t, r.exists(e.Files[4].StagedKey), "deleted although it is owed")
	})
}

// A hint that is wrong about what was deleted costs requests: nothing is kept forever, and nothing
// that is owed is deleted.
func TestWrongHintAboutDeletedObjects(t *testing.T) {
	for hazard, spoil := range map[string]func(*hint){
		"lost":                func(h *hint) { *h = emptyHint() },
		"of_an_earlier_audit": func(h *hint) { h.Swept = nil },
		"a_clock_was_ahead":   func(h *hint) { h.setSwept(1, time.Now().Add(1000*time.Hour).UnixMilli()) },
		"of_a_closed_entry":   func(h *hint) { h.setSwept(0, 1) },
	} {
		check := func(t *testing.T, audited bool) { // whether an audit reads the receipt that came late before its file is old enough
			synctest.Test(t, func(t *testing.T) {
				r := newRigWithoutRedis(t)
				e := r.sealMixed(log0, time.Hour, []string{one}, 0, 3)
				r.receipt(e, 0, one)
				r.park(e, 2, one)
				time.Sleep(r.cfg.Retain)
				r.audit()
				r.receipt(e, 1, one)
				require.Equal(t, 2, r.stagedFiles(e))
				h := r.storedHint(log0)
				require.Contains(t, h.Swept, e.Seq)
				spoil(&h)
				require.NoError(t, h.store(t.Context(), r.staging, log0))
				if audited {
					r.audit()
				}
				time.Sleep(r.cfg.Retain)
				r.audit()
				require.Equal(t, []bool{false, false, true}, []bool{r.exists(e.Files[0].StagedKey), r.exists(e.Files[1].StagedKey), r.exists(e.Files[2].StagedKey)})
			})
		}
		t.Run(hazard, func(t *testing.T) { check(t, false) })
		t.Run(hazard+"_and_audited", func(t *testing.T) { check(t, true) })
	}
}

// The time for deleting what was left of open entries is bounded like the rest.
func TestGarbageOfOpenEntriesIsBoundedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigWithoutRedis(t)
		var entries []*ledger.Entry
		for range 4 * entriesAtOnce {
			e := r.sealMixed(log0, 25*time.Hour, []string{one}, 0, 2)
			r.park(e, 1, one)
			entries = append(entries, e)
		}
		r.audit() // their turn is over
		for _, e := range entries {
			r.receipt(e, 0, one)
		}
		time.Sleep(r.cfg.Retain)
		r.deps.Staging = objstoretest.Slow(r.deps.Staging, 20*time.Minute, "delete")
		gone := int64(0)
		for audits := 1; gone < int64(len(entries)); audits++ {
			begun := time.Now()
			report := r.auditOnSchedule()
			require.LessOrEqual(t, time.Since(begun), 40*time.Minute)
			gone += report.Collected
			require.Equal(t, gone < int64(len(entries)), report.Behind > 0)
			require.Less(t, audits, 5)
			time.Sleep(time.Hour)
		}
	})
}

// Invariant: I4. Whatever happens, and whatever audits noted, an object is deleted only when all of
// its debts have been closed for long enough and no replay needs it; in the end all such objects
// are gone.
func TestStagedObjectsAreDeletedExactlyWhenAllowed(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			g := &garbageHistory{rig: newRigWithoutRedis(t), Rand: rand.New(rand.NewPCG(seed, 2)), deleted: map[string]bool{}}
			g.idleVisits = 1
			for range 150 {
				g.step()
				g.checkDeletions(fmt.Sprint("seed ", seed))
				time.Sleep(time.Duration(g.IntN(8*60)) * time.Minute)
			}
			time.Sleep(g.cfg.Retain + time.Hour)
			g.staging.SetFault(nil)
			for range 25 { // idle entries are visited within a day
				g.audit()
				time.Sleep(time.Hour)
			}
			for _, e := range g.entries {
				for i := range e.Files {
					require.Equal(t, g.closedAt(e, e.Files[i].StagedKey).IsZero(), g.exists(e.Files[i].StagedKey), "seed %d, entry %d file %d", seed, e.Seq, i)
				}
			}
		})
	}
}

// garbageHistory is a random history of a ledger, its debts, replays and audits.
type garbageHistory struct {
	*rig
	*rand.Rand
	entries   []*ledger.Entry
	order     *delivery.Order // the last one given
	orderTime time.Time
	hint      []byte // an old hint
	deleted   map[string]bool
}

func (g *garbageHistory) step() {
	ctx := g.t.Context()
	switch g.IntN(13) {
	case 0, 1:
		g.entries = append(g.entries, g.sealMixed(log0, time.Duration(g.IntN(60))*time.Minute, []string{one, two}[:g.IntN(3)], []int{0, 0, 2, 3}[g.IntN(4)], g.IntN(4)))
	case 2, 3, 4:
		g.forSome(func(e *ledger.Entry, i int, dest string) { g.receipt(e, i, dest) })
	case 5:
		g.forSome(func(e *ledger.Entry, i int, dest string) {
			if g.exists(delivery.ReceiptKey(delivery.Ref(e, i), dest)) {
				return
			}
			ledgertest.Receipt(g.t, g.staging, e, i, dest, delivery.Receipt{Outcome: delivery.Skipped})
		})
	case 6:
		g.forSome(func(e *ledger.Entry, i int, dest string) { g.park(e, i, dest) })
	case 7:
		left := g.IntN(60)
		g.staging.SetFault(func(objstore.Op) objstore.Fault {
			if left--; left < 0 {
				return objstore.Fault{Before: objstore.ErrUnavailable}
			}
			return objstore.Fault{}
		})
		_, _ = g.Auditor.audit(ctx, g.IntN(2) == 0)
		g.staging.SetFault(nil)
	case 8, 9:
		_, err := g.Auditor.audit(ctx, g.IntN(2) == 0)
		require.NoError(g.t, err)
	case 10:
		switch b, err := objstore.Read(ctx, g.staging, hintKey(log0), maxHint); {
		case g.IntN(3) == 0:
			require.NoError(g.t, g.staging.Delete(ctx, hintKey(log0)))
		case g.hint != nil && g.IntN(2) == 0:
			g.stage(hintKey(log0), string(g.hint))
		case err == nil:
			g.hint = b
		}
	case 11:
		if len(g.entries) == 0 || g.order != nil && g.IntN(3) > 0 {
			break
		}
		if g.order != nil {
			require.NoError(g.t, g.staging.Delete(ctx, delivery.OrderKey(g.order.ID)))
		}
		g.order = &delivery.Order{ID: fmt.Sprint("r", len(g.entries)), Topic: log0.Topic, Incarnation: log0.Incarnation, Heads: map[int]int64{0: int64(g.IntN(len(g.entries) + 1))}, From: delivery.FromAuto}
		g.orderTime = time.Now()
		require.NoError(g.t, replay.WriteOrder(ctx, g.staging, g.order))
	case 12:
		g.forSome(func(e *ledger.Entry, i int, dest string) { g.batch(e, dest, i, g.IntN(len(e.Files))) })
	}
}

// forSome calls do for a few debts at random.
func (g *garbageHistory) forSome(do func(e *ledger.Entry, i int, dest string)) {
	for range g.IntN(10) {
		if len(g.entries) == 0 {
			return
		}
		e := g.entries[g.IntN(len(g.entries))]
		if len(e.Files) == 0 {
			continue
		}
		i := g.IntN(len(e.Files))
		if owed := e.Files[i].Owed; len(owed) > 0 {
			do(e, i, owed[g.IntN(len(owed))])
		}
	}
}

// closedAt returns when the last debt of an object's files was closed, or when the entry was
// written if there is none; zero if a debt is open.
func (g *garbageHistory) closedAt(e *ledger.Entry, key string) time.Time {
	last := time.UnixMilli(e.WrittenAt)
	for i := range e.Files {
		for _, dest := range e.Files[i].Owed {
			if e.Files[i].StagedKey != key {
				continue
			}
			outcome, at := naiveReceipt(g.t, g.staging, delivery.Ref(e, i), dest)
			if outcome == "" {
				return time.Time{}
			}
			if at.After(last) {
				last = at
			}
		}
	}
	return last
}

// checkDeletions checks that every object that is gone may have been deleted.
func (g *garbageHistory) checkDeletions(why string) {
	for _, e := range g.entries {
		for i := range e.Files {
			key := e.Files[i].StagedKey
			if g.deleted[key] || g.exists(key) {
				continue
			}
			g.deleted[key] = true
			closed := g.closedAt(e, key)
			require.False(g.t, closed.IsZero(), "%s: entry %d file %d is deleted although it is owed", why, e.Seq, i)
			require.GreaterOrEqual(g.t, time.Since(closed), g.cfg.Retain, "%s: entry %d file %d is deleted too early", why, e.Seq, i)
			needed := g.order != nil && time.Since(g.orderTime) < g.cfg.Retain && g.order.Selects(e, &e.Files[i])
			require.False(g.t, needed, "%s: entry %d file %d is deleted although a replay needs it", why, e.Seq, i)
		}
	}
}
