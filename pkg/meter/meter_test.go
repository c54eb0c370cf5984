package meter

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sealift/sealift/pkg/goldentest"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/objstore/objstoretest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	one = "ws_7Q2hTz9LkPq4Wc8B/acme-prod"
	two = "ws_7Q2hTz9LkPq4Wc8B/archive"
)

var discardLog = slog.New(slog.DiscardHandler)

func TestGolden(t *testing.T) {
	accounts := map[string]Account{
		one: {Counts: Counts{Puts: 14, DataKeys: 12, AssumeRoles: 2, StagingReads: 26, StagingWrites: 13}, Delivered: 1795360001000},
		two: {Counts: Counts{Puts: 3}, Trouble: &Trouble{Reason: "put_denied", Cause: "denied", Fix: "allow it", Since: 1795359940000, At: 1795360000000, Until: 1795360010000}},
	}
	page := page{Version: 1, Worker: "host-copier-1a2b3c4d", Number: 1795360002000, From: 1795359942000, To: 1795360002000, Destinations: accounts}
	got, err := decodePage(goldentest.Equal(t, "testdata/page.v1.json", page.encode()))
	require.NoError(t, err)
	require.Equal(t, page, got)
	sum := sum{Version: 1, Number: 41, Folded: map[string]folded{page.Worker: {Through: page.Number, At: 1795362000000}}, Since: 1795000000000, Destinations: accounts}
	back, err := decodeSum(goldentest.Equal(t, "testdata/sum.v1.json", sum.encode()))
	require.NoError(t, err)
	require.Equal(t, sum, back)
	goldentest.Equal(t, "testdata/keys.v1.txt", []byte(pageKey(page.Worker, page.Number)+"\n"+SumKey(sum.Number)+"\n"))
	worker, number, ok := parsePageKey(pageKey(page.Worker, page.Number))
	require.True(t, ok)
	require.Equal(t, page.Worker, worker)
	require.Equal(t, page.Number, number)
}

func TestDecodersRefuse(t *testing.T) {
	for _, b := range []string{"", "hello", `{"version":2,"worker":"a"}`, `{"version":1,"worker":"a","more":1}`, `{"version":1}`, `{"version":1,"worker":"a"} {}`} {
		_, err := decodePage([]byte(b))
		require.ErrorIs(t, err, errBadPage, b)
	}
	for _, b := range []string{"", `{"version":2}`, `{"version":1,"number":-1}`, `{"version":1,"number":3}`, `{"version":1,"worker":"a"}`} {
		_, err := decodeSum([]byte(b))
		require.ErrorIs(t, err, errBadPage, b)
	}
}

func FuzzDecodePage(f *testing.F) {
	f.Add([]byte(`{"version":1,"worker":"a","number":1,"from":1,"to":2,"destinations":{"a/b":{"puts":1,"trouble":{"reason":"x"}}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := decodePage(b); err == nil {
			again, err := decodePage(p.encode())
			require.NoError(t, err)
			require.Equal(t, string(p.encode()), string(again.encode()))
		}
	})
}

// Prices are per thousand, or per ten thousand.
func TestCost(t *testing.T) {
	c := Counts{Puts: 1_000_000, DataKeys: 1_000_000, AssumeRoles: 1_000_000, StagingReads: 1_000_000, StagingWrites: 1_000_000}
	require.InDelta(t, 5+3, c.Cost().Bucket, 1e-9)
	require.InDelta(t, 0.4+5, c.Cost().Operator, 1e-9)
}

func TestLatestTryDecidesFailing(t *testing.T) {
	early, late := &Trouble{Reason: "a", At: 10}, &Trouble{Reason: "b", At: 20}
	for hazard, c := range map[string]struct {
		a, b    Account
		reason  string
		failing bool
	}{
		"worked_since":   {Account{Trouble: early}, Account{Delivered: 15}, "a", false},
		"failed_since":   {Account{Delivered: 15}, Account{Trouble: late}, "b", true},
		"other_copiers":  {Account{Trouble: late}, Account{Trouble: early, Delivered: 12}, "b", true},
		"never_tried":    {Account{}, Account{}, "", false},
		"only_delivered": {Account{Delivered: 1}, Account{}, "", false},
	} {
		for _, sum := range []Account{c.a.Plus(c.b), c.b.Plus(c.a)} {
			require.Equal(t, c.failing, sum.Failing(), hazard)
			if c.reason != "" {
				require.Equal(t, c.reason, sum.Trouble.Reason, hazard)
			}
		}
	}
}

// TestFastClockHidesNothing: a failure or success noted by a clock that was a year ahead
// does not remain the latest for a year.
func TestFastClockHidesNothing(t *testing.T) {
	const year = 365 * 24 * time.Hour
	staging := objstore.NewMemory("staging")
	now := time.Now()
	page := func(worker string, ahead time.Duration, a Account) {
		at := now.Add(ahead).UnixMilli()
		p := page{Worker: worker, Number: at, From: at, To: at, Destinations: map[string]Account{one: a}}
		_, err := staging.Put(t.Context(), pageKey(worker, at), bytes.NewReader(p.encode()), objstore.PutOptions{})
		require.NoError(t, err)
	}
	read := func() Account {
		all, _, err := Read(t.Context(), staging)
		require.NoError(t, err)
		return all[one]
	}
	ms := func(d time.Duration) int64 { return now.Add(d).UnixMilli() }
	page("ahead", year, Account{
		Delivered: ms(year - 2*time.Second),
		Trouble:   &Trouble{Reason: "put_denied", Since: ms(-time.Hour), At: ms(year - time.Second), Until: ms(year + time.Minute)},
	})
	a := read()
	require.True(t, a.Failing(), "the order of its tries changed")
	require.InDelta(t, ms(-2*time.Second), a.Delivered, 1000)
	require.InDelta(t, ms(-time.Second), a.Trouble.At, 1000)
	require.InDelta(t, ms(time.Minute), a.Trouble.Until, 1000)
	require.Equal(t, ms(-time.Hour), a.Trouble.Since)
	require.NoError(t, Fold(t.Context(), staging, discardLog))
	page("right", 0, Account{Delivered: ms(0)})
	require.False(t, read().Failing(), "still failing after a success")
}

func TestBook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		staging := objstore.NewMemory("staging")
		b := NewBook(staging, "copier-1", discardLog)
		// It does not run while something is noted, because it may write a page at any moment.
		run := func() (stop func()) {
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { b.Run(ctx); close(done) }()
			return func() { cancel(); <-done }
		}
		stop := run()
		time.Sleep(time.Hour)
		stop()
		require.Empty(t, staging.Puts(""), "there is nothing to write")

		begun := time.Now()
		b.Count(one, Counts{Puts: 1, AssumeRoles: 1})
		b.RecordFailure(one, Trouble{Reason: "put_denied", Cause: "c", Fix: "f"})
		time.Sleep(10 * time.Second)
		b.RecordFailure(one, Trouble{Reason: "no_bucket", Cause: "c", Fix: "f"})
		b.RestUntil(one, begun.Add(time.Minute))
		b.RestUntil(two, begun.Add(time.Minute))
		b.Count(two, Counts{})
		stop = run()
		time.Sleep(2 * pageInterval)
		require.Len(t, staging.Puts(""), 1)
		stop()
		b.RecordSuccess(one)
		time.Sleep(time.Second)
		b.RecordFailure(one, Trouble{Reason: "put_denied"})
		run()() // the last page

		got, since, err := Read(t.Context(), staging)
		require.NoError(t, err)
		require.Len(t, got, 1)
		require.Equal(t, Counts{Puts: 1, AssumeRoles: 1}, got[one].Counts)
		require.True(t, got[one].Failing())
		require.Equal(t, got[one].Trouble.Since, got[one].Trouble.At, "a success in between was forgotten")
		require.False(t, since.After(begun))
		b.WritePages(t.Context())
		require.Len(t, staging.Puts(""), 2)

		first, err := objstore.Read(t.Context(), staging, staging.Puts("")[0].Key, 1<<20)
		require.NoError(t, err)
		p, err := decodePage(first)
		require.NoError(t, err)
		require.Equal(t, begun.UnixMilli(), p.Destinations[one].Trouble.Since)
		require.Equal(t, "no_bucket", p.Destinations[one].Trouble.Reason)
		require.Equal(t, begun.Add(time.Minute).UnixMilli(), p.Destinations[one].Trouble.Until)
	})
}

// TestChangesAreWrittenSoon: a first failure, another cause and a recovery are written within
// seconds; mere repetitions wait for the next page.
func TestChangesAreWrittenSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		staging := objstore.NewMemory("staging")
		b := NewBook(staging, "copier-1", discardLog)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { b.Run(ctx); close(done) }()
		defer func() { cancel(); <-done }()
		for _, c := range []struct {
			what  string
			note  func()
			pages int
		}{
			{"it fails", func() { b.RecordFailure(one, Trouble{Reason: "no_bucket", Cause: "a"}) }, 1},
			{"it fails again, with another file", func() { b.RecordFailure(one, Trouble{Reason: "no_bucket", Cause: "b"}) }, 0},
			{"for another reason", func() { b.RecordFailure(one, Trouble{Reason: "put_denied", Cause: "b"}) }, 1},
			{"another fix", func() { b.RecordFailure(one, Trouble{Reason: "put_denied", Cause: "b", Fix: "f"}) }, 1},
			{"it works", func() { b.RecordSuccess(one) }, 1},
			{"it works again", func() { b.RecordSuccess(one) }, 0},
			{"many at once", func() {
				for i := range 1000 {
					b.RecordFailure(fmt.Sprintf("ws/%d", i), Trouble{Reason: "sts"})
				}
			}, 1},
		} {
			before := len(staging.Puts(""))
			c.note()
			time.Sleep(urgentPageAfter + time.Millisecond)
			require.Len(t, staging.Puts(""), before+c.pages, c.what)
		}
		time.Sleep(10 * pageInterval)
		require.Len(t, staging.Puts(""), 5, "a page was written without news")
	})
}

func read(t *testing.T, staging objstore.Store) Counts {
	t.Helper()
	all, _, err := Read(t.Context(), staging)
	require.NoError(t, err)
	return all[one].Counts
}

// A page whose fate is not known is written again unchanged, and counted once, even if it arrives a
// third time after it was folded and deleted.
func TestPageCountsOnce(t *testing.T) {
	staging := objstore.NewMemory("staging")
	b := NewBook(staging, "copier-1", discardLog)
	b.Count(one, Counts{Puts: 1})
	staging.SetFault(func(objstore.Op) objstore.Fault { return objstore.Fault{After: objstore.ErrUnavailable, Ghost: true} })
	b.WritePages(t.Context())
	b.Count(one, Counts{Puts: 10})
	b.WritePages(t.Context())
	staging.SetFault(nil)
	require.EqualValues(t, 1, read(t, staging).Puts)
	b.WritePages(t.Context())
	require.EqualValues(t, 11, read(t, staging).Puts)
	require.NoError(t, Fold(t.Context(), staging, discardLog))
	require.EqualValues(t, 11, read(t, staging).Puts)
	require.NoError(t, Fold(t.Context(), staging, discardLog))
	left, err := staging.List(t.Context(), pagesPrefix, "", 0)
	require.NoError(t, err)
	require.Empty(t, left)
	require.Equal(t, 2, staging.ReleaseGhosts())
	require.EqualValues(t, 11, read(t, staging).Puts)
	require.NoError(t, Fold(t.Context(), staging, discardLog))
	require.EqualValues(t, 11, read(t, staging).Puts)
}

// Copiers write, die and come back under other names, auditors fold concurrently and are
// interrupted, and requests are repeated: everything that was written is counted once.
func TestNothingIsCountedTwiceOrLost(t *testing.T) {
	setFoldBatchSize(t, 2)
	folded := 0
	for seed := range uint64(300) {
		d := rand.New(rand.NewPCG(seed, 7))
		staging := objstore.NewMemory("staging")
		written := int64(0) // in pages that are stored
		inFlight := func(op objstore.Op) objstore.Fault {
			switch d.IntN(12) {
			case 0:
				return objstore.Fault{Before: objstore.ErrUnavailable, Ghost: op.Name == "put" && strings.HasPrefix(op.Key, sumsPrefix)}
			case 1:
				return objstore.Fault{After: objstore.ErrUnavailable}
			case 2:
				return objstore.Fault{Ghost: op.Name == "put"}
			}
			return objstore.Fault{}
		}
		lives, books, unwritten := 0, make([]*Book, 3), make([]int64, 3)
		for i := range books {
			books[i] = NewBook(staging, fmt.Sprint("copier-", lives), discardLog)
			lives++
		}
		for range 80 {
			i := d.IntN(len(books))
			switch d.IntN(8) {
			case 0, 1:
				n := int64(1 + d.IntN(9))
				books[i].Count(one, Counts{Puts: n})
				unwritten[i] += n
			case 2, 3:
				staging.SetFault(inFlight)
				books[i].WritePages(t.Context())
				staging.SetFault(nil)
				books[i].WritePages(t.Context())
				written, unwritten[i] = written+unwritten[i], 0
			case 4: // killed
				books[i], unwritten[i] = NewBook(staging, fmt.Sprint("copier-", lives), discardLog), 0
				lives++
			case 5:
				staging.SetFault(inFlight)
				if Fold(t.Context(), staging, discardLog) == nil {
					folded++
				}
				staging.SetFault(nil)
			case 6: // one PUT overtakes another
				once := true
				staging.SetFault(func(op objstore.Op) objstore.Fault {
					if once && op.Name == "put" {
						once = false
						return objstore.Fault{Before: objstore.ErrUnavailable, Ghost: true}
					}
					return objstore.Fault{}
				})
				_ = Fold(t.Context(), staging, discardLog)
				staging.SetFault(nil)
				require.NoError(t, Fold(t.Context(), staging, discardLog))
			case 7:
				staging.ReleaseGhosts()
			}
			require.Equal(t, written, read(t, staging).Puts, "seed %d", seed)
		}
		require.NoError(t, Fold(t.Context(), staging, discardLog))
		require.NoError(t, Fold(t.Context(), staging, discardLog))
		left, err := staging.List(t.Context(), "usage/", "", 0)
		require.NoError(t, err)
		require.LessOrEqual(t, len(left), 2, "pages pile up")
	}
	require.Positive(t, folded)
}

func setFoldBatchSize(t *testing.T, n int) {
	was := foldBatchSize
	foldBatchSize = n
	t.Cleanup(func() { foldBatchSize = was })
}

// If nobody has folded for long, what was read is kept even if a later page cannot be read; and
// pages of a later release do not hold up a batch.
func TestManyPagesAreFoldedInBatches(t *testing.T) {
	setFoldBatchSize(t, 50)
	staging := objstore.NewMemory("staging")
	for n := range 200 {
		page := page{Worker: fmt.Sprintf("copier-%d", n%2), Number: int64(n), From: 1, Destinations: map[string]Account{one: {Counts: Counts{Puts: 1}}}}
		_, err := staging.Put(t.Context(), pageKey(page.Worker, page.Number), bytes.NewReader(page.encode()), objstore.PutOptions{})
		require.NoError(t, err)
		_, err = staging.Put(t.Context(), pageKey("copier-", int64(n)), strings.NewReader(`{"version":2}`), objstore.PutOptions{})
		require.NoError(t, err)
	}
	pages := func(worker string) int {
		left, err := staging.List(t.Context(), pagesPrefix+worker, "", 0)
		require.NoError(t, err)
		return len(left)
	}
	staging.SetFault(func(op objstore.Op) objstore.Fault {
		if op.Key == pageKey("copier-1", 199) {
			return objstore.Fault{Before: objstore.ErrUnavailable}
		}
		return objstore.Fault{}
	})
	require.ErrorIs(t, Fold(t.Context(), staging, discardLog), objstore.ErrUnavailable)
	require.Zero(t, pages("copier-0"), "they are folded and deleted")
	require.Positive(t, pages("copier-1"))
	staging.SetFault(nil)
	require.EqualValues(t, 200, read(t, staging).Puts)
	require.NoError(t, Fold(t.Context(), staging, discardLog))
	require.NoError(t, Fold(t.Context(), staging, discardLog))
	require.Equal(t, []int{0, 0, 200}, []int{pages("copier-0"), pages("copier-1"), pages("copier-/")})
	require.EqualValues(t, 200, read(t, staging).Puts)
}

// A reader starts over if somebody folds meanwhile.
func TestReadDuringFold(t *testing.T) {
	staging := objstore.NewMemory("staging")
	b := NewBook(staging, "copier-1", discardLog)
	for n := range 3 {
		b.Count(one, Counts{Puts: 1})
		b.WritePages(t.Context())
		if n == 0 {
			require.NoError(t, Fold(t.Context(), staging, discardLog))
		}
	}
	for at := range 12 { // before the request with this number
		n := 0
		r := objstoretest.Before{Store: staging, Do: func(_ context.Context, op, _ string) error {
			if op != "list" {
				return nil
			}
			if n == at {
				require.NoError(t, Fold(t.Context(), staging, discardLog))
				require.NoError(t, Fold(t.Context(), staging, discardLog))
				b.Count(one, Counts{Puts: 1})
				b.WritePages(t.Context())
			}
			n++
			return nil
		}}
		before := read(t, staging).Puts
		all, _, err := Read(t.Context(), r)
		require.NoError(t, err)
		require.Contains(t, []int64{before, before + 1}, all[one].Puts, at)
	}
	always := objstoretest.Before{Store: staging, Do: func(_ context.Context, op, _ string) error {
		if op == "list" {
			b.Count(one, Counts{Puts: 1})
			b.WritePages(t.Context())
			require.NoError(t, Fold(t.Context(), staging, discardLog))
		}
		return nil
	}}
	_, _, err := Read(t.Context(), always)
	require.ErrorIs(t, err, errFolded, "retried forever")
}

func TestHazards(t *testing.T) {
	put := func(t *testing.T, s objstore.Store, key, body string) {
		_, err := s.Put(t.Context(), key, strings.NewReader(body), objstore.PutOptions{})
		require.NoError(t, err)
	}
	t.Run("nothing_noted", func(t *testing.T) {
		all, since, err := Read(t.Context(), objstore.NewMemory("staging"))
		require.NoError(t, err)
		require.Empty(t, all)
		require.Zero(t, since)
		require.NoError(t, Fold(t.Context(), objstore.NewMemory("staging"), discardLog))
	})
	t.Run("page_of_a_later_release", func(t *testing.T) {
		staging := objstore.NewMemory("staging")
		put(t, staging, pageKey("copier-2", 1), `{"version":2}`)
		put(t, staging, pagesPrefix+"stray", "x")
		put(t, staging, sumsPrefix+"stray", "x")
		require.Zero(t, read(t, staging))
		require.NoError(t, Fold(t.Context(), staging, discardLog))
		_, err := staging.Head(t.Context(), pageKey("copier-2", 1))
		require.NoError(t, err)
	})
	t.Run("damaged_page", func(t *testing.T) {
		staging := objstore.NewMemory("staging")
		put(t, staging, pageKey("copier-1", 1), "torn")
		put(t, staging, pageKey("copier-2", 1), `{"version":2}`)
		b := NewBook(staging, "copier-1", discardLog)
		b.Count(one, Counts{Puts: 1})
		b.WritePages(t.Context())
		for range 2 {
			require.NoError(t, Fold(t.Context(), staging, discardLog))
			require.EqualValues(t, 1, read(t, staging).Puts)
		}
		left, err := staging.List(t.Context(), pagesPrefix, "", 0)
		require.NoError(t, err)
		require.Len(t, left, 1)
		require.Equal(t, pageKey("copier-2", 1), left[0].Key)
	})
	t.Run("sum_of_a_later_release", func(t *testing.T) { // it must not be counted again
		staging := objstore.NewMemory("staging")
		put(t, staging, SumKey(3), `{"version":2}`)
		_, _, err := Read(t.Context(), staging)
		require.ErrorIs(t, err, errBadPage)
		require.ErrorIs(t, Fold(t.Context(), staging, discardLog), errBadPage)
	})
	t.Run("staging_away", func(t *testing.T) {
		staging := objstore.NewMemory("staging")
		b := NewBook(staging, "copier-1", discardLog)
		b.Count(one, Counts{Puts: 1})
		b.WritePages(t.Context())
		for n := range 4 {
			calls := 0
			staging.SetFault(func(objstore.Op) objstore.Fault {
				if calls++; calls == n+1 {
					return objstore.Fault{Before: objstore.ErrUnavailable}
				}
				return objstore.Fault{}
			})
			_, _, err := Read(t.Context(), staging)
			require.ErrorIs(t, err, objstore.ErrUnavailable)
		}
	})
}

// Workers that have stopped are eventually forgotten.
func TestWorkersAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		staging := objstore.NewMemory("staging")
		for day := range 30 {
			b := NewBook(staging, fmt.Sprint("copier-", day), discardLog)
			b.Count(one, Counts{Puts: 1})
			b.WritePages(t.Context())
			require.NoError(t, Fold(t.Context(), staging, discardLog))
			time.Sleep(24 * time.Hour)
		}
		keys, err := listSums(t.Context(), staging)
		require.NoError(t, err)
		b, err := objstore.Read(t.Context(), staging, keys[0], 1<<20)
		require.NoError(t, err)
		s, err := decodeSum(b)
		require.NoError(t, err)
		require.Len(t, s.Folded, 8)
		require.EqualValues(t, 30, s.Destinations[one].Puts)
	})
}

func TestStore(t *testing.T) {
	store := CountingStore(objstore.NewMemory("staging"))
	m := new(Counter)
	ctx := WithCounter(t.Context(), m)
	_, err := store.Put(ctx, "a", strings.NewReader("x"), objstore.PutOptions{})
	require.NoError(t, err)
	_, _, err = store.Get(ctx, "a")
	require.NoError(t, err)
	_, err = store.Head(ctx, "b")
	require.ErrorIs(t, err, objstore.ErrNotFound, "it is counted as well")
	_, err = store.List(ctx, "", "", 0)
	require.NoError(t, err)
	require.NoError(t, store.Delete(ctx, "a"))
	_, err = store.List(t.Context(), "", "", 0)
	require.NoError(t, err)
	require.Equal(t, Counts{StagingReads: 2, StagingWrites: 2}, m.Counts())
}
