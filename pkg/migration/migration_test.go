package migration

import (
	"bytes"
	"cmp"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/goldentest"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/ledger/ledgertest"
	"github.com/sealift/sealift/pkg/objstore"
)

const dest = "ws_7Q2hTz9LkPq4Wc8B/acme-prod"

var (
	classic = Place{Bucket: "acme-logs/raw"}
	byRole  = Place{Bucket: "acme-logs/raw", RoleARN: "arn:aws:iam::123456789012:role/segment-logs"}
	tried   = Note{
		Version: 1, Destination: dest, Step: Tried, From: classic, To: byRole, Test: "acme-logs/raw/segment-logs/sealift-check/", By: "host-1", At: 1795360001000, Attempt: "ABC",
	}
)

func TestGoldenNote(t *testing.T) {
	got, err := decode(goldentest.Equal(t, "testdata/note.v1.json", tried.encode()))
	require.NoError(t, err)
	require.Equal(t, tried, got)
	require.Equal(t, "migrations/"+dest+"/00003.json", noteKey(dest, 3))
}

func TestBadNotes(t *testing.T) {
	for hazard, change := range map[string]func(*Note){
		"another_version": func(n *Note) { n.Version = 2 },
		"no_such_step":    func(n *Note) { n.Step = "stepped" },
		"no_destination":  func(n *Note) { n.Destination = "" },
		"no_from":         func(n *Note) { n.From = Place{} },
		"no_to":           func(n *Note) { n.To = Place{} },
	} {
		n := tried
		change(&n)
		_, err := decode(n.encode())
		require.ErrorIs(t, err, errBadNote, hazard)
	}
	for _, b := range [][]byte{[]byte(`{"version":1,"more":2}`), append(tried.encode(), '}')} {
		_, err := decode(b)
		require.ErrorIs(t, err, errBadNote, string(b))
	}
}

// The catalog decides, and the notes tell what that means.
func TestNextPhase(t *testing.T) {
	elsewhere := Place{Bucket: "elsewhere"}
	for hazard, c := range map[string]struct {
		step Step // "": no note
		now  Place
		want Phase
		err  error
	}{
		"nothing_yet":             {"", classic, Idle, nil},
		"begun":                   {Begun, classic, Try, nil},
		"tried":                   {Tried, classic, Switch, nil},
		"switch_was_interrupted":  {Switched, classic, Switch, nil},
		"switched":                {Switched, byRole, Confirm, nil},
		"switched_by_hand":        {Tried, byRole, Confirm, nil},
		"switched_by_hand_early":  {Begun, byRole, Confirm, nil},
		"confirmed":               {Confirmed, byRole, Idle, nil},
		"confirmed_and_undone":    {Confirmed, classic, Idle, nil},
		"aborted":                 {Aborted, classic, Idle, nil},
		"changed_otherwise":       {Tried, elsewhere, Idle, ErrChanged},
		"changed_after_switching": {Switched, elsewhere, Idle, ErrChanged},
		"changed_when_over":       {Confirmed, elsewhere, Idle, nil},
	} {
		var last *Note
		if c.step != "" {
			n := tried
			n.Step = c.step
			last = &n
		}
		got, err := NextPhase(last, c.now)
		require.ErrorIs(t, err, c.err, hazard)
		require.Equal(t, c.want, got, hazard)
	}
}

func TestLog(t *testing.T) {
	store := objstore.NewMemory("staging")
	l, err := Open(t.Context(), store, dest)
	require.NoError(t, err)
	require.Nil(t, l.Last())
	require.NoError(t, l.Append(t.Context(), Note{Step: Begun, From: classic, To: byRole, By: "me"}))
	require.NoError(t, l.Append(t.Context(), Note{Step: Tried, From: classic, To: byRole, By: "me"}))
	again, err := Open(t.Context(), store, dest)
	require.NoError(t, err)
	require.Equal(t, l.Last(), again.Last())
	require.WithinDuration(t, time.Now(), time.UnixMilli(again.Last().At), time.Minute)

	// Two people continue from the same step, and one of them wins.
	require.NoError(t, l.Append(t.Context(), Note{Step: Switched, From: classic, To: byRole, By: "me"}))
	err = again.Append(t.Context(), Note{Step: Aborted, From: classic, To: byRole, By: "you"})
	require.ErrorIs(t, err, errTaken)
	require.ErrorContains(t, err, "switched, by me")
	require.Equal(t, Tried, again.Last().Step)

	// The reply is lost, and one's own note is not mistaken for another's.
	store.SetFault(func(op objstore.Op) objstore.Fault {
		if op.Name == "put" {
			return objstore.Fault{After: objstore.ErrUnavailable}
		}
		return objstore.Fault{}
	})
	require.NoError(t, l.Append(t.Context(), Note{Step: Confirmed, From: classic, To: byRole, By: "me"}))
	require.True(t, l.Last().Over())

	store.SetFault(nil)
	other := tried
	other.Destination = "ws_other/x"
	_, err = store.Put(t.Context(), noteKey(dest, 4), bytes.NewReader(other.encode()), objstore.PutOptions{})
	require.NoError(t, err)
	_, err = Open(t.Context(), store, dest)
	require.ErrorIs(t, err, errBadNote)
}

// newDeliveredLedger is a ledger of one partition with a file in each of its entries.
func newDeliveredLedger(t *testing.T, n int) (*objstore.Memory, FileFinder, func(entry int, r delivery.Receipt)) {
	store := objstore.NewMemory("staging")
	l := ledger.Log{Topic: "events", Incarnation: "1"}
	entries := []*ledger.Entry{ledgertest.Append(t, store, ledgertest.Init(l, time.Now()))}
	for i := range n {
		f := ledgertest.File(l, ledger.File{First: int64(10 * i), Last: int64(10*i + 9), GzipBytes: int64(1000 - i), SHA256: fmt.Sprintf("%064x", i), Owed: []string{dest, "ws_other/x"}}, nil)
		entries = append(entries, ledgertest.Append(t, store, ledgertest.Next(entries[i], f)))
		ledgertest.Put(t, store, f.StagedKey, nil)
	}
	return store, FileFinder{Staging: store, Topic: "events", Incarnation: "1", Destination: dest}, func(entry int, r delivery.Receipt) {
		e := entries[entry]
		r.Key = cmp.Or(r.Key, delivery.ObjectKey("raw", l, &e.Files[0]))
		ledgertest.Receipt(t, store, e, 0, dest, r)
	}
}

func TestReadArrivals(t *testing.T) {
	_, finder, receipt := newDeliveredLedger(t, 8)
	since := time.Now().UnixMilli()
	receipt(1, delivery.Receipt{Bucket: "acme-logs", At: since - 1000})                                                    // before
	receipt(2, delivery.Receipt{Bucket: "acme-logs", At: since + 1000, Worker: "late"})                                    // from a copier that is behind
	receipt(3, delivery.Receipt{Bucket: "acme-logs", At: since + 3000, Role: byRole.RoleARN})                              //
	receipt(4, delivery.Receipt{Bucket: "acme-logs", At: since + 2000, Role: byRole.RoleARN, Worker: "first"})             //
	receipt(5, delivery.Receipt{Bucket: "acme-logs", At: since + 500, Role: byRole.RoleARN, Replay: "a"})                  // ordered by a replay
	receipt(6, delivery.Receipt{Bucket: "acme-logs", At: since + 500, Role: byRole.RoleARN, Outcome: delivery.Skipped})    // given up
	receipt(7, delivery.Receipt{Bucket: "acme-logs", Key: "segment-logs/web/1.gz", At: since + 500, Role: byRole.RoleARN}) // under another prefix
	a, err := finder.ReadArrivals(t.Context(), byRole, since)
	require.NoError(t, err)
	require.EqualValues(t, 2, a.New)
	require.Equal(t, "first", a.First.Worker)
	require.EqualValues(t, 2, a.Old)
	require.Equal(t, "late", a.LastOld.Worker)

	finder.Destination = "ws_other/x"
	a, err = finder.ReadArrivals(t.Context(), byRole, since)
	require.NoError(t, err)
	require.Zero(t, a.New+a.Old)
}

// Files whose receipts are in batches are found as well: each batch is read once.
func TestReadArrivalsFromBatches(t *testing.T) {
	store := objstore.NewMemory("staging")
	l := ledger.Log{Topic: "events", Incarnation: "1"}
	var files []ledger.File
	for i := range 8 {
		files = append(files, ledgertest.File(l, ledger.File{First: int64(i), Owed: []string{dest, "ws_other/x"}}, fmt.Append(nil, i)))
	}
	e := ledgertest.Append(t, store, ledgertest.Next(ledgertest.Append(t, store, ledgertest.Init(l, time.Now())), files...))
	since := time.Now().UnixMilli()
	receipt := func(i int, to, role string, after int64) delivery.Receipt {
		key := delivery.ObjectKey("raw", l, &e.Files[i])
		return delivery.Receipt{File: delivery.Ref(e, i), Destination: to, Bucket: "acme-logs", Key: key, SHA256: e.Files[i].SHA256, Role: role, At: since + after}
	}
	ledgertest.Receipt(t, store, e, 0, dest, receipt(0, dest, "", 500))
	ledgertest.Receipt(t, store, e, 1, dest, delivery.Receipt{Outcome: delivery.Skipped, At: since + 500})
	ledgertest.Batch(t, store, e, receipt(1, dest, byRole.RoleARN, 3000), receipt(2, dest, byRole.RoleARN, 2000), receipt(2, "ws_other/x", byRole.RoleARN, 1))
	ledgertest.Batch(t, store, e, receipt(2, dest, byRole.RoleARN, 2000), receipt(3, dest, "", 1000), receipt(4, dest, byRole.RoleARN, -1000))
	good, foreign := receipt(5, dest, byRole.RoleARN, 4000), receipt(6, dest, byRole.RoleARN, 1)
	good.Outcome, foreign.Outcome, foreign.File.Seq = delivery.Delivered, delivery.Delivered, e.Seq+1
	bad := append(delivery.EncodeBatch([]delivery.Receipt{foreign, good}), "hello\n"...)
	ledgertest.Put(t, store, delivery.BatchKey(l, e.Seq, bad), bad)

	asked := map[string]int{}
	store.SetFault(func(op objstore.Op) objstore.Fault {
		if strings.HasPrefix(op.Key, "receipts/") {
			asked[op.Name]++
		}
		return objstore.Fault{}
	})
	a, err := FileFinder{Staging: store, Topic: "events", Incarnation: "1", Destination: dest}.ReadArrivals(t.Context(), byRole, since)
	require.NoError(t, err)
	require.EqualValues(t, 3, a.New)
	require.Equal(t, since+2000, a.First.At)
	require.EqualValues(t, 2, a.Old)
	require.Equal(t, since+1000, a.LastOld.At)
	require.Equal(t, map[string]int{"list": 1, "get": 3 + 1}, asked)
}

func TestFindSmallFile(t *testing.T) {
	store, finder, _ := newDeliveredLedger(t, 40)
	f, ok, err := finder.FindSmallFile(t.Context())
	require.NoError(t, err)
	require.True(t, ok)
	require.EqualValues(t, 1000-39, f.File.GzipBytes, "the smallest of the newest files")
	require.NoError(t, store.Delete(t.Context(), f.File.StagedKey))
	f, ok, err = finder.FindSmallFile(t.Context())
	require.NoError(t, err)
	require.True(t, ok)
	require.EqualValues(t, 1000-38, f.File.GzipBytes, "the smallest of those that are still in staging")

	finder.Destination = "ws_other/y"
	_, ok, err = finder.FindSmallFile(t.Context())
	require.NoError(t, err)
	require.False(t, ok)
}
