package auditor

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/objstore/objstoretest"
	"github.com/sealift/sealift/pkg/verify"
)

// naiveStatus computes the status by reading everything, entry by entry and receipt by receipt.
func naiveStatus(t *testing.T, staging objstore.Store) map[string]DestinationStatus {
	ctx := t.Context()
	all := map[string]DestinationStatus{}
	logs, err := ledger.Logs(ctx, staging, "sealift.events", "1")
	require.NoError(t, err)
	for _, l := range logs {
		chain := ledger.NewChain(staging, l)
		head, err := chain.HeadSeq(ctx)
		require.NoError(t, err)
		for e, err := range chain.Entries(ctx, 0, head, 1) {
			require.NoError(t, err)
			for i := range e.Files {
				f := &e.Files[i]
				one := Sum{Files: 1, Records: f.Records, Bytes: f.GzipBytes}
				for _, id := range f.Owed {
					d := all[id]
					d.ID = id
					ref, received := delivery.Ref(e, i), time.UnixMilli(f.Received).UTC()
					switch outcome, at := naiveReceipt(t, staging, ref, id); {
					case outcome == delivery.Delivered:
						d.Delivered.add(one)
						if received.After(d.NewestDelivered) {
							d.NewestDelivered = received
						}
						if at.After(d.LastDelivery) {
							d.LastDelivery = at
						}
						all[id] = d
						continue
					case outcome != "":
						d.GivenUp.add(one)
						all[id] = d
						continue
					}
					if _, err := staging.Head(ctx, delivery.ParkedKey(ref, id)); err == nil {
						d.Parked.add(one)
					} else {
						d.Pending.add(one)
					}
					if d.OldestOwed.IsZero() || received.Before(d.OldestOwed) {
						d.OldestOwed = received
					}
					all[id] = d
				}
			}
		}
	}
	return all
}

// naiveReceipt reads every receipt that may close a debt, and returns its outcome and when it was
// closed.
func naiveReceipt(t *testing.T, staging objstore.Store, ref delivery.FileRef, dest string) (outcome delivery.Outcome, at time.Time) {
	keep := func(r delivery.Receipt, stored time.Time) {
		if r.File != ref || r.Destination != dest {
			return
		}
		if outcome != delivery.Delivered {
			outcome = r.Outcome
		}
		if stored = time.UnixMilli(stored.UnixMilli()).UTC(); at.IsZero() || stored.Before(at) {
			at = stored
		}
	}
	for info, err := range objstore.All(t.Context(), staging, delivery.BatchPrefix(ref.Log(), ref.Seq)) {
		require.NoError(t, err)
		b, err := objstore.Read(t.Context(), staging, info.Key, 1<<20)
		require.NoError(t, err)
		for line := range bytes.Lines(b) {
			if r, err := delivery.DecodeReceipt(line); err == nil && r.Outcome == delivery.Delivered {
				keep(r, info.LastModified)
			}
		}
	}
	key := delivery.ReceiptKey(ref, dest)
	info, err := staging.Head(t.Context(), key)
	if err != nil {
		require.ErrorIs(t, err, objstore.ErrNotFound)
		return outcome, at
	}
	b, err := objstore.Read(t.Context(), staging, key, 1<<20)
	require.NoError(t, err)
	r, err := delivery.DecodeReceipt(b)
	require.NoError(t, err)
	keep(r, info.LastModified)
	return outcome, at
}

// requireSameStatus compares a status with naiveStatus's.
func requireSameStatus(t *testing.T, staging objstore.Store, s *Status, why any) {
	t.Helper()
	got := map[string]DestinationStatus{}
	for _, d := range s.Destinations {
		require.Equal(t, d.Parked.Files > 0, d.ParkedNote != "", why)
		d.ParkedNote, d.ParkedAt = "", time.Time{}
		got[d.ID] = d
	}
	require.Equal(t, naiveStatus(t, staging), got, why)
}

func readStatus(t *testing.T, staging objstore.Store) *Status {
	t.Helper()
	s, err := ReadStatus(t.Context(), StatusConfig{Concurrency: 4}, staging, nil)
	require.NoError(t, err)
	return s
}

// history is a random history of a ledger and its debts.
type history struct {
	*rig
	*rand.Rand
	auditors []*Auditor
	logs     []ledger.Log
	debts    []historyDebt
	hints    map[string][]byte // earlier states of hints
	n        int
}

type historyDebt struct {
	e    *ledger.Entry
	i    int
	dest string
}

// receipt writes a receipt as copiers do.
func (h *history) receipt(d historyDebt, o delivery.Outcome) {
	f := &d.e.Files[d.i]
	r := delivery.Receipt{File: delivery.Ref(d.e, d.i), Destination: d.dest, Outcome: o, Worker: strings.Repeat("w", h.IntN(delivery.MaxWorker+1)), At: time.Now().UnixMilli()}
	if o == delivery.Delivered {
		r.Bucket, r.Key, r.SHA256, r.Bytes, r.Records = "one", delivery.ObjectKey("", d.e.Log(), f), f.SHA256, f.GzipBytes, f.Records
	}
	_, err := h.staging.Put(h.t.Context(), delivery.ReceiptKey(r.File, d.dest), bytes.NewReader(r.Encode()), objstore.PutOptions{IfAbsent: true})
	if err != nil {
		require.ErrorIs(h.t, err, objstore.ErrExists)
	}
}

var historySteps = []struct {
	name string
	do   func(*history)
}{
	{"seal", func(h *history) {
		dests := []string{one, two, "ws_b/one", "ws_b/three", "ws_c/x"}
		owed := dests[:h.IntN(len(dests)+1)]
		var contents []string
		for range h.IntN(8) {
			h.n++
			contents = append(contents, fmt.Sprint("content", h.n))
		}
		ago := time.Duration(h.IntN(3600)) * time.Second
		e := h.seal(h.logs[h.IntN(len(h.logs))], ago, owed, contents...)
		for i := range e.Files {
			for _, dest := range owed {
				h.debts = append(h.debts, historyDebt{e, i, dest})
			}
		}
	}},
	{"deliver", func(h *history) { h.forSome(func(d historyDebt) { h.receipt(d, delivery.Delivered) }) }},
	{"deliver more", func(h *history) { h.forSome(func(d historyDebt) { h.receipt(d, delivery.Delivered) }) }},
	{"deliver together", func(h *history) {
		h.forOne(func(d historyDebt) {
			var files []int
			for i := range d.e.Files {
				// An audit may have counted it as given up.
				if outcome, _ := naiveReceipt(h.t, h.staging, delivery.Ref(d.e, i), d.dest); (outcome == "" || outcome == delivery.Delivered) && h.IntN(2) == 0 {
					files = append(files, i)
				}
			}
			if len(files) > 0 {
				h.batch(d.e, d.dest, files...)
			}
		})
	}},
	{"give up", func(h *history) { h.forOne(func(d historyDebt) { h.receipt(d, delivery.Skipped) }) }},
	{"park", func(h *history) { h.forSome(func(d historyDebt) { h.park(d.e, d.i, d.dest) }) }},
	{"redrive", func(h *history) {
		h.forOne(func(d historyDebt) {
			require.NoError(h.t, h.staging.Delete(h.t.Context(), delivery.ParkedKey(delivery.Ref(d.e, d.i), d.dest)))
		})
	}},
	{"audit", func(h *history) { _, _ = h.auditors[h.IntN(len(h.auditors))].Audit(h.t.Context()) }},
	{"audit cut short", func(h *history) {
		left := h.IntN(40)
		h.staging.SetFault(func(objstore.Op) objstore.Fault {
			if left--; left < 0 {
				return objstore.Fault{Before: objstore.ErrUnavailable}
			}
			return objstore.Fault{}
		})
		_, _ = h.auditors[h.IntN(len(h.auditors))].Audit(h.t.Context())
		h.staging.SetFault(nil)
	}},
	{"audit answered late", func(h *history) { // the slower of two auditors writes last
		h.staging.SetFault(func(op objstore.Op) objstore.Fault {
			return objstore.Fault{Ghost: op.Name == "put" && strings.HasPrefix(op.Key, hintPrefix)}
		})
		_, _ = h.auditors[h.IntN(len(h.auditors))].Audit(h.t.Context())
		h.staging.SetFault(nil)
	}},
	{"late hint arrives", func(h *history) { h.staging.ReleaseGhosts() }},
	{"hint deleted", func(h *history) {
		require.NoError(h.t, h.staging.Delete(h.t.Context(), hintKey(h.logs[h.IntN(len(h.logs))])))
	}},
	{"hint of a release that reads all receipts", func(h *history) {
		l := h.logs[h.IntN(len(h.logs))]
		old, err := loadHint(h.t.Context(), h.staging, l)
		require.NoError(h.t, err)
		old.Seen = nil
		require.NoError(h.t, old.store(h.t.Context(), h.staging, l))
	}},
	{"batch of a later release", func(h *history) {
		h.forOne(func(d historyDebt) {
			if outcome, _ := naiveReceipt(h.t, h.staging, delivery.Ref(d.e, d.i), d.dest); outcome == "" || outcome == delivery.Delivered {
				batch := append(delivery.EncodeBatch([]delivery.Receipt{copierReceipt(d.e, d.i, d.dest)}), "{\"version\":2}\n"...)
				h.stage(delivery.BatchKey(d.e.Log(), d.e.Seq, batch), string(batch))
			}
		})
	}},
	{"hint of a former release", func(h *history) {
		h.stage(hintKey(h.logs[h.IntN(len(h.logs))]), `{"version":1,"through":1,"open":[1],"collected":0}`)
	}},
	{"hint of another ledger", func(h *history) {
		h.stage(hintKey(h.logs[h.IntN(len(h.logs))]),
			`{"version":2,"through":1,"attempt":"another","collected":-1,"accounts":{"ws_a/one":{"delivered":{"files":9}}}}`)
	}},
	{"hint kept", func(h *history) {
		for info, err := range objstore.All(h.t.Context(), h.staging, hintPrefix) {
			require.NoError(h.t, err)
			b, err := objstore.Read(h.t.Context(), h.staging, info.Key, maxHint)
			require.NoError(h.t, err)
			h.hints[info.Key] = b
		}
	}},
	{"old hint restored", func(h *history) {
		for _, key := range slices.Sorted(maps.Keys(h.hints)) {
			h.stage(key, string(h.hints[key]))
		}
	}},
}

func (h *history) forOne(do func(historyDebt)) {
	if len(h.debts) > 0 {
		do(h.debts[h.IntN(len(h.debts))])
	}
}

func (h *history) forSome(do func(historyDebt)) {
	for range h.IntN(10) {
		h.forOne(do)
	}
}

// Whatever happened, the status is what the ledger, the receipts and the parked jobs say, and what
// `sealift verify` counts; and an audit finds just those debts, whatever others noted.
func TestStatusIsExact(t *testing.T) {
	walked, total := int64(0), int64(0)
	for seed := range uint64(60) {
		h := &history{rig: newRig(t, nil), Rand: rand.New(rand.NewPCG(seed, 1)), hints: map[string][]byte{}}
		h.auditors = []*Auditor{h.Auditor, h.newAuditor(func(c *Config) { c.Force, c.Grace = true, 0 }), h.newAuditor(func(c *Config) { c.Full, c.Force = true, true }), h.newAuditor(nil)}
		h.auditors[3].idleVisits = 1
		finder := h.newAuditor(func(c *Config) { c.Force, c.DryRun, c.Grace = true, true, 0 })
		for p := range 1 + h.IntN(3) {
			l := log0
			l.Partition = p
			h.logs = append(h.logs, l)
		}
		var did []string
		for range 120 {
			step := historySteps[h.IntN(len(historySteps))]
			did = append(did, step.name)
			step.do(h)
			if h.IntN(8) == 0 {
				s := readStatus(t, h.staging)
				requireSameStatus(t, h.staging, s, fmt.Sprint("seed ", seed, did))
				var pending, parked int64
				for _, d := range s.Destinations {
					pending, parked = pending+d.Pending.Files, parked+d.Parked.Files
				}
				report, err := finder.Audit(t.Context())
				require.NoError(t, err)
				require.Equal(t, []int64{pending, parked}, []int64{report.Missing, report.Parked}, fmt.Sprint("seed ", seed, did))
				walked += s.Walked
				for _, l := range h.logs {
					if head := h.heads[l]; head != nil {
						total += head.Seq + 1
					}
				}
			}
		}
		h.staging.ReleaseGhosts()
		s := readStatus(t, h.staging)
		requireSameStatus(t, h.staging, s, seed)
		report, err := verify.Verify(t.Context(), verify.Config{Partition: -1, AllowGaps: true}, verify.Deps{Staging: h.staging})
		if len(h.debts) == 0 {
			continue
		}
		require.NoError(t, err)
		got := map[string]DestinationStatus{}
		for _, d := range s.Destinations {
			got[d.ID] = d
		}
		require.Len(t, got, len(report.Destinations))
		for _, d := range report.Destinations {
			require.Equal(t, d.Closed, got[d.ID].Delivered.Files+got[d.ID].GivenUp.Files)
			require.Equal(t, d.Pending, got[d.ID].Pending.Files)
			require.Equal(t, d.Parked, got[d.ID].Parked.Files)
		}
	}
	require.Less(t, walked, total*3/4, "hints did not save walks")
}

// What was open at the last audit takes one listing per entry, and one request for each batch, and
// no entry is read for a few files. No more requests are made at once than allowed.
func TestStatusReadsEachBatchOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigWithoutRedis(t)
		var entries []*ledger.Entry
		for range 10 {
			entries = append(entries, r.seal(log0, time.Hour, []string{one}, "a", "b", "c", "d", "e", "f"))
		}
		for i, e := range entries {
			r.batch(e, one, 0, 1+i%2) // leaves four
		}
		r.audit()
		for _, e := range entries {
			r.deliver(e, 5, one)
			r.batch(e, one, 3, 4)
		}
		var mu sync.Mutex // guards the rest
		requests, now, maxAtOnce := map[string]int{}, 0, 0
		busy := objstoretest.Before{Store: r.staging, Do: func(_ context.Context, op, _ string) error {
			mu.Lock()
			requests[op]++
			now++
			maxAtOnce = max(maxAtOnce, now)
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			now--
			mu.Unlock()
			return nil
		}}
		requireSameStatus(t, r.staging, readStatus(t, busy), "batches")
		require.Equal(t, map[string]int{"get": 2 + 3*len(entries), "list": 4 + len(entries)}, requests)
		require.Equal(t, 4, maxAtOnce)
	})
}

func TestStatusOfSomeDestinations(t *testing.T) {
	r := newRig(t, nil)
	e := r.seal(log0, time.Hour, []string{one, two}, "a", "b")
	r.deliver(e, 0, one)
	for _, audited := range []bool{false, true} {
		if audited {
			r.audit()
		}
		s, err := ReadStatus(t.Context(), StatusConfig{Destinations: []string{one}}, r.staging, nil)
		require.NoError(t, err)
		require.Len(t, s.Destinations, 1)
		require.EqualValues(t, 1, s.Destinations[0].Delivered.Files)
		require.EqualValues(t, 1, s.Destinations[0].Pending.Files)
		require.Equal(t, Sum{Files: 1, Records: 1, Bytes: 1}, s.Destinations[0].Undelivered())
		require.Equal(t, e.WrittenAt, s.Destinations[0].OldestOwed.UnixMilli())
	}
}

// The catalog's destinations are listed even before anything is owed to them.
func TestStatusOfTheCatalog(t *testing.T) {
	r := newRig(t, nil)
	r.seal(log0, time.Hour, []string{one}, "a")
	off := false
	known, err := catalog.NewSnapshot([]catalog.Workspace{{ID: "ws_aaaaaaaaaaaaaaaa", Sources: []catalog.Source{{ID: "web"}}, Destinations: []catalog.Destination{
		{Name: "new", Sources: []string{"web"}, Bucket: "new-logs"}, {Name: "off", Sources: []string{"web"}, Bucket: "off-logs", Enabled: &off},
	}}})
	require.NoError(t, err)
	s, err := ReadStatus(t.Context(), StatusConfig{}, r.staging, known)
	require.NoError(t, err)
	var states []string
	for _, d := range s.Destinations {
		states = append(states, d.ID+" "+d.State)
	}
	require.Equal(t, []string{"ws_a/one gone", "ws_aaaaaaaaaaaaaaaa/new enabled", "ws_aaaaaaaaaaaaaaaa/off disabled"}, states)
}

// If something cannot be read there is no status, since a wrong number is worse than none.
func TestNoStatusIfSomethingCannotBeRead(t *testing.T) {
	r := newRig(t, nil)
	e := r.seal(log0, time.Hour, []string{one}, "a", "b", "c")
	r.audit()
	r.deliver(e, 0, one)
	batch := r.batch(e, one, 1)
	for _, key := range []string{
		hintKey(log0), ledger.EntryKey(log0, 1), delivery.ReceiptPrefix(log0, 1), delivery.ReceiptKey(delivery.Ref(e, 0), one), batch, delivery.ParkedPrefix(""),
	} {
		r.staging.SetFault(func(op objstore.Op) objstore.Fault {
			if op.Key == key {
				return objstore.Fault{Before: objstore.ErrUnavailable}
			}
			return objstore.Fault{}
		})
		s, err := ReadStatus(context.Background(), StatusConfig{}, r.staging, nil)
		require.ErrorIs(t, err, objstore.ErrUnavailable, key)
		require.Nil(t, s)
	}
}

// cutStore cuts short the first answer that has a receipt.
type cutStore struct {
	objstore.Store
	cut bool
}

func (s *cutStore) Get(ctx context.Context, key string) (io.ReadCloser, objstore.Info, error) {
	r, info, err := s.Store.Get(ctx, key)
	if err == nil && !s.cut && strings.HasPrefix(key, "receipts/") {
		s.cut = true
		return cutBody{r}, info, nil
	}
	return r, info, err
}

type cutBody struct{ io.ReadCloser }

func (cutBody) Read([]byte) (int, error) { return 0, objstore.ErrUnavailable }

func TestStatusRetriesReceiptsCutShort(t *testing.T) {
	r := newRig(t, nil)
	e := r.seal(log0, time.Hour, []string{one}, "a")
	r.audit()
	r.deliver(e, 0, one)
	cut := &cutStore{Store: r.staging}
	requireSameStatus(t, r.staging, readStatus(t, objstore.WithReadRetries(cut)), "cut")
	require.True(t, cut.cut)
}
