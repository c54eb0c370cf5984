package mirror

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/gziptest"
	"github.com/sealift/sealift/pkg/objstore"
)

func TestCat(t *testing.T) {
	m := bucket(t)
	files := List(t.Context(), m, place(t, "s3://acme-logs/segment-logs/app"), DayFilter(day1))
	var out bytes.Buffer
	require.NoError(t, Cat(t.Context(), m, files, &out, CatOptions{}))
	require.Equal(t, "{\"s\":\"app\",\"n\":0}\n{\"s\":\"app\",\"n\":1}\n", out.String())

	out.Reset()
	require.NoError(t, Cat(t.Context(), m, files, &out, CatOptions{Raw: true, Parallel: 1}))
	require.Equal(t, "{\"s\":\"app\",\"n\":0}\n{\"s\":\"app\",\"n\":1}\n", gziptest.Unzip(t, &out), "concatenated gzip files are not one")
}

// However many files are read concurrently, and however their connections break, lines come in the
// order of the keys.
func TestCatKeepsTheOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &flakyStore{Memory: objstore.NewMemory("acme-logs")}
		var want strings.Builder
		for n := range 20 {
			text := fmt.Sprintf("{\"file\":%d}\n", n) + randomLines(n*n*1000)
			put(t, m, key("web", day1, n), text)
			want.WriteString(text)
		}
		m.cut = func(key string, n int) int {
			if n > 3 {
				return -1
			}
			return len(key) * n * 10
		}
		files := List(t.Context(), m, place(t, "s3://acme-logs/segment-logs/web"), Filter{})
		for _, parallel := range []int{1, 4, 50} {
			var out strings.Builder
			require.NoError(t, Cat(t.Context(), m, files, &out, CatOptions{Parallel: parallel}))
			require.Equal(t, want.String(), out.String())
		}
	})
}

// Cat reads ahead, but not everything: a pager may stop after the first screen.
func TestCatReadsAheadWithinBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &flakyStore{Memory: objstore.NewMemory("acme-logs")}
		object := gziptest.Zip(strings.Repeat("{\"n\":1}\n", 1<<20)) // 8 MiB
		for n := range 20 {
			putRaw(t, m, key("web", day1, n), object, nil)
		}
		files := List(t.Context(), m, place(t, "s3://acme-logs/segment-logs/web"), Filter{})
		ctx, cancel := context.WithCancel(t.Context())
		r, w := io.Pipe()
		done := make(chan error)
		go func() { done <- Cat(ctx, m, files, w, CatOptions{Parallel: 3}) }()
		_, err := r.Read(make([]byte, 10))
		require.NoError(t, err)
		synctest.Wait()
		m.mu.Lock()
		require.Len(t, m.gets, 3, "more than that file and two ahead were read")
		m.mu.Unlock()
		gone := errors.New("the reader is gone")
		require.NoError(t, r.CloseWithError(gone))
		require.ErrorIs(t, <-done, gone)
		cancel()
	})
}

// Large files are inflated by goroutines of their own, which end with the file.
func TestLargeFiles(t *testing.T) {
	text := randomLines(6 << 20)
	object := gziptest.Zip(text)
	require.Greater(t, len(object), minInflateAhead)
	for hazard, c := range map[string]struct {
		object []byte
		want   error
	}{
		"whole":           {object, nil},
		"cut_off":         {object[:len(object)-9], errCorrupt},
		"changed":         {append(append([]byte(nil), object[:len(object)-8]...), "12345678"...), errCorrupt},
		"another_follows": {append(append([]byte(nil), object...), "garbage"...), errCorrupt},
	} {
		t.Run(hazard, func(t *testing.T) {
			m, dir := objstore.NewMemory("acme-logs"), t.TempDir()
			putRaw(t, m, key("web", day1, 0), c.object, nil)
			var out strings.Builder
			err := Cat(t.Context(), m, List(t.Context(), m, place(t, "s3://acme-logs"), Filter{}), &out, CatOptions{})
			got, syncErr := syncAll(t, m, "s3://acme-logs", SyncOptions{Dir: dir, Decompress: true})
			require.NoError(t, syncErr)
			if c.want != nil {
				require.ErrorIs(t, err, c.want)
				require.ErrorIs(t, got.Problems[0], c.want)
				return
			}
			require.NoError(t, err)
			require.EqualValues(t, 1, got.Downloaded)
			require.Equal(t, sha256.Sum256([]byte(text)), sha256.Sum256([]byte(out.String())))
		})
	}
	t.Run("consumer_stops", func(t *testing.T) {
		m := objstore.NewMemory("acme-logs")
		putRaw(t, m, key("web", day1, 0), object, nil)
		gone := errors.New("the reader is gone")
		err := Cat(t.Context(), m, List(t.Context(), m, place(t, "s3://acme-logs"), Filter{}), writeFunc(func([]byte) (int, error) { return 0, gone }), CatOptions{})
		require.ErrorIs(t, err, gone)
	})
}

func TestCatEndsWithTheFirstError(t *testing.T) {
	web := place(t, "s3://acme-logs/segment-logs/web")
	for hazard, c := range map[string]struct {
		spoil func(*testing.T, *flakyStore)
		want  error
	}{
		"not_gzip": {func(t *testing.T, m *flakyStore) { putRaw(t, m, key("web", day1, 1), []byte("no gzip"), nil) }, errCorrupt},
		"changed_after_its_delivery": {func(t *testing.T, m *flakyStore) {
			putRaw(t, m, key("web", day1, 1), gziptest.Zip("{}\n"), map[string]string{"sha256": strings.Repeat("0", 64)})
		}, errCorrupt},
		"denied": {func(_ *testing.T, m *flakyStore) {
			m.SetFault(func(op objstore.Op) (f objstore.Fault) {
				if op.Key == key("web", day1, 1) {
					f.Before = objstore.ErrDenied
				}
				return f
			})
		}, objstore.ErrDenied},
		"listing": {func(_ *testing.T, m *flakyStore) {
			m.SetFault(func(op objstore.Op) (f objstore.Fault) {
				if op.Name == "list" {
					f.Before = objstore.ErrNoBucket
				}
				return f
			})
		}, objstore.ErrNoBucket},
	} {
		for _, raw := range []bool{false, true} {
			if raw && hazard == "not_gzip" {
				continue // its bytes are what is stored
			}
			t.Run(fmt.Sprintf("%s_raw_%v", hazard, raw), func(t *testing.T) {
				m := bucket(t)
				c.spoil(t, m)
				var out bytes.Buffer
				err := Cat(t.Context(), m, List(t.Context(), m, web, Filter{}), &out, CatOptions{Raw: raw})
				require.ErrorIs(t, err, c.want)
				if !errors.Is(c.want, objstore.ErrNoBucket) {
					require.ErrorContains(t, err, key("web", day1, 1))
				}
				require.NotContains(t, out.String(), `"n":0}`+"\n"+`{"s":"web","n":0}`, "the next day's file was started")
			})
		}
	}
	t.Run("cancelled", func(t *testing.T) {
		m := bucket(t)
		ctx, cancel := context.WithCancel(t.Context())
		var n atomic.Int64
		err := Cat(ctx, m, List(ctx, m, web, Filter{}), writeFunc(func(p []byte) (int, error) {
			n.Add(1)
			cancel()
			return len(p), nil
		}), CatOptions{})
		require.ErrorIs(t, err, context.Canceled)
		require.EqualValues(t, 1, n.Load(), "another file was started")
	})
}

type writeFunc func([]byte) (int, error)

func (f writeFunc) Write(p []byte) (int, error) { return f(p) }
