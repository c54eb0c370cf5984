package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/gziptest"
	"github.com/sealift/sealift/pkg/objstore"
)

func TestSyncFailures(t *testing.T) {
	uri := fmt.Sprintf("s3://acme-logs/segment-logs/web/%d", day1)
	fault := func(on string, err error) func(op objstore.Op) objstore.Fault {
		return func(op objstore.Op) (f objstore.Fault) {
			if op.Name == "get" && strings.HasSuffix(op.Key, on) {
				f.Before = err
			}
			return f
		}
	}
	t.Run("one_denied_file_fails_alone", func(t *testing.T) {
		m := bucket(t)
		m.SetFault(fault(name(day1, 0), objstore.ErrDenied))
		got, err := syncAll(t, m, uri, SyncOptions{Dir: t.TempDir()})
		require.NoError(t, err)
		require.EqualValues(t, 1, got.Downloaded)
		require.EqualValues(t, 1, got.Failed)
		require.ErrorIs(t, got.Problems[0], objstore.ErrDenied)
	})
	t.Run("deleted_meanwhile", func(t *testing.T) {
		m := bucket(t)
		p := place(t, uri)
		files := List(t.Context(), m, p, Filter{})
		got, err := Sync(t.Context(), m, p, func(yield func(File, error) bool) {
			for f := range files {
				if !assertNoError(t, m.Delete(t.Context(), f.Key)) || !yield(f, nil) {
					return
				}
			}
		}, SyncOptions{Dir: t.TempDir()})
		require.NoError(t, err)
		require.EqualValues(t, 2, got.Failed)
		require.ErrorIs(t, got.Problems[0], objstore.ErrNotFound)
	})
	t.Run("changed_after_its_delivery", func(t *testing.T) {
		m, dir := bucket(t), t.TempDir()
		putRaw(t, m, key("web", day1, 0), gziptest.Zip("tampered\n"), map[string]string{"sha256": strings.Repeat("0", 64)})
		got, err := syncAll(t, m, uri, SyncOptions{Dir: dir})
		require.NoError(t, err)
		require.ErrorIs(t, got.Problems[0], errCorrupt)
		require.ErrorContains(t, got.Problems[0], key("web", day1, 0))
		require.Equal(t, []string{name(day1, 1)}, filesIn(t, dir))
	})
	t.Run("without_sha256_gzip_tells", func(t *testing.T) {
		for _, decompress := range []bool{false, true} {
			m, dir := bucket(t), t.TempDir()
			good := gziptest.Zip(randomLines(1000))
			for n, b := range [][]byte{good, good[:len(good)-1], append(append([]byte(nil), good[:100]...), good[101:]...), []byte("no gzip"), nil} {
				putRaw(t, m, key("web", day1, n), b, map[string]string{"sha256": "of something else"})
			}
			got, err := syncAll(t, m, uri, SyncOptions{Dir: dir, Decompress: decompress})
			require.NoError(t, err)
			require.EqualValues(t, 1, got.Downloaded)
			require.EqualValues(t, 4, got.Failed)
			for _, p := range got.Problems {
				require.ErrorIs(t, p, errCorrupt)
			}
			require.Len(t, filesIn(t, dir), 1)
		}
	})
	t.Run("replaced_since_it_was_listed", func(t *testing.T) {
		m, dir := bucket(t), t.TempDir()
		got, err := Sync(t.Context(), m, place(t, uri), func(yield func(File, error) bool) {
			for f := range List(t.Context(), m, place(t, uri), Filter{}) {
				f.Size++
				yield(f, nil)
				return
			}
		}, SyncOptions{Dir: dir})
		require.NoError(t, err)
		require.ErrorIs(t, got.Problems[0], objstore.ErrChanged)
		require.Empty(t, filesIn(t, dir))
	})
	t.Run("store_away_ends_it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m, dir := bucket(t), t.TempDir()
			m.SetFault(fault("", objstore.ErrUnavailable))
			got, err := syncAll(t, m, "s3://acme-logs", SyncOptions{Dir: dir, Parallel: 2})
			require.ErrorIs(t, err, objstore.ErrUnavailable)
			require.ErrorContains(t, err, "4 files in a row")
			require.EqualValues(t, 4, got.Failed)
		})
	})
	t.Run("silent_connection_is_given_up", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m, dir := &flakyStore{Memory: objstore.NewMemory("acme-logs")}, t.TempDir()
			put(t, m, key("web", day1, 0), "{}\n")
			var silent atomic.Int64
			got, err := syncAll(t, silentAtFirst{m, &silent}, "s3://acme-logs", SyncOptions{Dir: dir})
			require.NoError(t, err)
			require.EqualValues(t, 1, got.Downloaded, got.Problems)
			require.EqualValues(t, 2, silent.Load())
		})
	})
	t.Run("silent_connection_of_a_comparison_is_given_up", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m, dir := &flakyStore{Memory: objstore.NewMemory("acme-logs")}, t.TempDir()
			put(t, m, key("web", day1, 0), "{}\n")
			lines := strings.TrimSuffix(name(day1, 0), ".gz") + ".ndjson"
			require.NoError(t, os.WriteFile(filepath.Join(dir, lines), []byte("{}\n"), 0o600))
			require.NoError(t, os.Chtimes(filepath.Join(dir, lines), time.Time{}, time.Unix(1, 0)))
			var silent atomic.Int64
			got, err := syncAll(t, silentAtFirst{m, &silent}, uri, SyncOptions{Dir: dir, Decompress: true})
			require.NoError(t, err)
			require.EqualValues(t, 1, got.Skipped, got.Problems)
			require.EqualValues(t, 2, silent.Load())
		})
	})
	t.Run("listing_fails_in_between", func(t *testing.T) {
		m, dir := bucket(t), t.TempDir()
		gone := errors.New("gone")
		got, err := Sync(t.Context(), m, place(t, uri), func(yield func(File, error) bool) {
			for f := range List(t.Context(), m, place(t, uri), Filter{}) {
				yield(f, nil)
				break
			}
			yield(File{}, gone)
		}, SyncOptions{Dir: dir})
		require.ErrorIs(t, err, gone)
		require.EqualValues(t, 1, got.Downloaded, "a started file was not finished")
	})
	t.Run("cancelled", func(t *testing.T) {
		m := bucket(t)
		ctx, cancel := context.WithCancel(t.Context())
		p := place(t, uri)
		files := List(ctx, m, p, Filter{})
		cancel()
		_, err := Sync(ctx, m, p, files, SyncOptions{Dir: t.TempDir()})
		require.ErrorIs(t, err, context.Canceled)
	})
	t.Run("many_problems_are_counted", func(t *testing.T) {
		m := &flakyStore{Memory: objstore.NewMemory("acme-logs")}
		for n := range 50 {
			put(t, m, key("web", day1, n), "{}\n")
		}
		m.SetFault(fault("", objstore.ErrDenied))
		got, err := syncAll(t, m, "s3://acme-logs", SyncOptions{Dir: t.TempDir()})
		require.NoError(t, err)
		require.EqualValues(t, 50, got.Failed)
		require.Len(t, got.Problems, maxProblems)
	})
}

func assertNoError(t *testing.T, err error) bool {
	if err != nil {
		t.Errorf("unexpected: %v", err)
	}
	return err == nil
}

// silentAtFirst is a store whose first two connections hang forever: one before its answer, one
// within it.
type silentAtFirst struct {
	*flakyStore
	n *atomic.Int64
}

func (s silentAtFirst) GetFrom(ctx context.Context, key, etag string, from int64) (io.ReadCloser, objstore.Info, error) {
	fail := func() error {
		<-ctx.Done()
		return &objstore.Error{Op: "get", Kind: objstore.ErrUnavailable, Err: ctx.Err()}
	}
	if s.n.Load() == 0 {
		s.n.Add(1)
		return nil, objstore.Info{}, fail()
	}
	r, info, err := s.flakyStore.GetFrom(ctx, key, etag, from)
	if s.n.Load() == 1 {
		s.n.Add(1)
		r = io.NopCloser(readFunc(func([]byte) (int, error) { return 0, fail() }))
	}
	return r, info, err
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

// Failures of the local disk end the run, because every file would fail.
func TestSyncDiskFailures(t *testing.T) {
	uri := "s3://acme-logs/segment-logs/web"
	t.Run("file_instead_of_a_folder", func(t *testing.T) {
		m, dir := bucket(t), t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, fmt.Sprint(day1)), nil, 0o600))
		_, err := syncAll(t, m, uri, SyncOptions{Dir: dir})
		require.ErrorIs(t, err, syscall.ENOTDIR)
		require.Contains(t, Fix(err, place(t, uri)), "move it away")
	})
	t.Run("not_allowed", func(t *testing.T) {
		_, err := syncAll(t, bucket(t), uri, SyncOptions{Dir: "/proc/1"}) // nobody may create folders there
		require.Error(t, err)
		var disk *diskError
		require.ErrorAs(t, err, &disk)
	})
	t.Run("disk_full", func(t *testing.T) {
		_, err := os.Stat("/dev/full")
		if err != nil {
			require.ErrorIs(t, err, os.ErrNotExist) // only Linux has it
			return
		}
		full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
		require.NoError(t, err)
		p := &part{full, "x"}
		defer p.Close()
		_, err = p.Write([]byte("x"))
		require.ErrorIs(t, err, syscall.ENOSPC)
		require.True(t, fatal(err))
		require.Contains(t, Fix(err, Place{}), "make room")
	})
}
