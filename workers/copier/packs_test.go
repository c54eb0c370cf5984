package copier

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/ledger/ledgertest"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/objstore/objstoretest"
)

// countRanges returns a staging bucket that counts the ranges that are read from it. If fail is not
// nil, it answers them so.
func countRanges(fail error) (staging objstore.Store, parts *atomic.Int64) {
	parts = new(atomic.Int64)
	return objstoretest.Before{Store: objstore.NewMemory("staging"), Do: func(_ context.Context, op, _ string) error {
		if op != "range" {
			return nil
		}
		parts.Add(1)
		return fail
	}}, parts
}

// stagePack stages contents as one pack and returns the files that an entry lists for it.
func stagePack(t *testing.T, staging objstore.Store, contents ...string) []ledger.File {
	var files []ledger.File
	for i, c := range contents {
		files = append(files, ledgertest.File(testLog, ledger.File{First: int64(i), Owed: []string{acmeOne}}, []byte(c)))
	}
	all := []byte(strings.Join(contents, ""))
	ledgertest.Put(t, staging, ledgertest.Pack(testLog, 1, files, all), all)
	return files
}

// Files that are next to each other are read with one request, whichever is needed first.
func TestNeighboursInAPackAreReadTogether(t *testing.T) {
	kb := func(n int, c string) string { return strings.Repeat(c, n<<10) }
	for hazard, c := range map[string]struct {
		contents []string
		change   func([]ledger.File)
		fail     error
		none     []int // files that readWithNeighbours does not return
		parts    int
	}{
		"neighbours":               {contents: []string{"a", "bb", "ccc"}, parts: 1},
		"two_stretches":            {contents: []string{kb(100, "a"), kb(100, "b"), kb(100, "c"), kb(1, "d"), kb(1, "e")}, parts: 2},
		"alone_in_its_stretch":     {contents: []string{kb(255, "a"), kb(2, "b"), kb(255, "c")}, none: []int{2}, parts: 1},
		"no_pack":                  {contents: []string{"a", "b"}, change: func(f []ledger.File) { f[0].PackBytes, f[1].PackBytes = 0, 0 }, none: []int{0, 1}},
		"another_pack_in_between":  {contents: []string{"a", "b", "c", "d"}, change: func(f []ledger.File) { f[2].StagedKey = "other" }, none: []int{2, 3}, parts: 1},
		"a_gap":                    {contents: []string{"a", "bb", "c", "d"}, change: func(f []ledger.File) { f[1].GzipBytes-- }, none: []int{1}, parts: 2},
		"too_large":                {contents: []string{"a", kb(600, "b")}, none: []int{0, 1}},
		"one_is_damaged":           {contents: []string{"a", "b", "c"}, change: func(f []ledger.File) { f[1].SHA256 = f[0].SHA256 }, none: []int{1}, parts: 1},
		"the_object_ends_too_soon": {contents: []string{"a", "b"}, change: func(f []ledger.File) { f[1].GzipBytes++ }, none: []int{0, 1}, parts: 2},
		"staging_is_away":          {contents: []string{"a", "b"}, fail: errors.New("away"), none: []int{0, 1}, parts: 2},
	} {
		t.Run(hazard, func(t *testing.T) {
			store, parts := countRanges(c.fail)
			e := &ledger.Entry{Files: stagePack(t, store, c.contents...)}
			if c.change != nil {
				c.change(e.Files)
			}
			p := newPacks(store)
			var none []int
			for i := range e.Files {
				s := p.readWithNeighbours(t.Context(), e, i)
				if s == nil {
					none = append(none, i)
					continue
				}
				got, err := io.ReadAll(s)
				require.NoError(t, err)
				require.Equal(t, c.contents[i], string(got))
				require.Equal(t, sha256.Sum256(got), s.sum)
			}
			require.Equal(t, c.none, none)
			require.EqualValues(t, c.parts, parts.Load())
		})
	}
}

func TestConcurrentReadersOfAPackShareOneRequest(t *testing.T) {
	store, parts := countRanges(nil)
	var contents []string
	for i := range 50 {
		contents = append(contents, fmt.Sprint("file ", i))
	}
	e := &ledger.Entry{Files: stagePack(t, store, contents...)}
	p := newPacks(store)
	var all sync.WaitGroup
	for i := range e.Files {
		all.Go(func() {
			if s := p.readWithNeighbours(t.Context(), e, i); s == nil {
				t.Error("file not returned")
			}
		})
	}
	all.Wait()
	require.EqualValues(t, 1, parts.Load())
}

// If two entries describe one pack differently, for example because one is damaged, each gets the
// stretch that it asks for.
func TestEntriesThatDescribeAPackDifferently(t *testing.T) {
	store := objstore.NewMemory("staging")
	files := stagePack(t, store, "a", "b", "c")
	p := newPacks(store)
	require.NotNil(t, p.readWithNeighbours(t.Context(), &ledger.Entry{Files: files[:2]}, 0))
	require.NotNil(t, p.readWithNeighbours(t.Context(), &ledger.Entry{Files: files}, 2))
}

func TestPackCacheIsBounded(t *testing.T) {
	store, parts := countRanges(nil)
	p := newPacks(store)
	for i := range 3 * maxSpans {
		e := &ledger.Entry{Files: stagePack(t, store, fmt.Sprint("a", i), "b")}
		for f := range e.Files {
			require.NotNil(t, p.readWithNeighbours(t.Context(), e, f))
		}
	}
	require.EqualValues(t, 3*maxSpans, parts.Load())
	require.Len(t, p.spans, maxSpans)
	require.Len(t, p.order, maxSpans)
}

// Bytes that were damaged in transit or in memory reach nobody: the file is read again, alone.
// After a failure, a job's file is read alone at once.
func TestFileDamagedInTheCacheIsReadAlone(t *testing.T) {
	r := newRig(t)
	r.seal([]string{acmeOne}, "first") // starts the chain
	e := ledgertest.Append(t, r.staging, ledgertest.Next(r.head, stagePack(t, r.staging, "a", "b", "c")...))
	job := func(i, attempt int) delivery.Job {
		return delivery.Job{Version: 1, File: delivery.Ref(e, i), Destination: acmeOne, Attempt: attempt}
	}
	require.Equal(t, outcomeDone, r.runJob(t.Context(), job(0, 0)).kind)
	require.Len(t, r.packs.spans, 1)
	for key, b := range r.packs.spans {
		require.Equal(t, "abc", string(b))
		r.packs.spans[key] = bytes.Repeat([]byte("x"), len(b))
	}
	require.Equal(t, outcomeDone, r.runJob(t.Context(), job(1, 0)).kind)
	require.Equal(t, outcomeDone, r.runJob(t.Context(), job(2, 1)).kind)
	var got []string
	for _, content := range r.objects("one-logs") {
		got = append(got, content)
	}
	require.ElementsMatch(t, []string{"a", "b", "c"}, got)
}
