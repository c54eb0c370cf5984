package mirror

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/objstore"
)

// If there are two runs into the same folder, one may finish a file between the other's look at it
// and its download.
func TestSyncBesideAnother(t *testing.T) {
	const uri = "s3://acme-logs/segment-logs/web"
	for name, c := range map[string]struct {
		decompress bool
		then       func(t *testing.T, path string)
		want       SyncResult
	}{
		"same":       {false, nil, SyncResult{Skipped: 4}},
		"decompress": {true, nil, SyncResult{Skipped: 4}},
		"touched": {false, func(t *testing.T, path string) {
			require.NoError(t, os.Chtimes(path, time.Now(), time.Now()))
		}, SyncResult{Skipped: 4}},
		"edited": {false, func(t *testing.T, path string) { require.NoError(t, os.WriteFile(path, []byte("mine"), 0o600)) }, SyncResult{Skipped: 3, Differing: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			m, dir := bucket(t), t.TempDir()
			opts := SyncOptions{Dir: dir, Decompress: c.decompress, Parallel: 1}
			other, found, read := opts, int64(0), int64(0)
			opts.OnRead = func(n int64) { read += n }
			opts.OnFound = func(f File) {
				if found += f.Size; found > f.Size {
					return
				}
				got, err := syncAll(t, m, uri, other)
				require.NoError(t, err)
				require.EqualValues(t, 4, got.Downloaded)
				if c.then != nil {
					c.then(t, filepath.Join(dir, fmt.Sprint(day1), f.Name))
				}
			}
			got, err := syncAll(t, m, uri, opts)
			require.NoError(t, err)
			got.Problems = nil
			require.Equal(t, c.want, got)
			require.Len(t, filesIn(t, dir), 4, "a part was left")
			if c.want.Differing == 0 {
				require.Equal(t, found, read)
			}
		})
	}
}

// slowStore takes five seconds to begin an answer.
type slowStore struct{ *flakyStore }

func (s slowStore) GetFrom(ctx context.Context, key, etag string, from int64) (io.ReadCloser, objstore.Info, error) {
	time.Sleep(5 * time.Second)
	return s.flakyStore.GetFrom(ctx, key, etag, from)
}

// With two concurrent runs into the same folder, no file is downloaded twice, none fails, and
// neither run ends before all files are there.
func TestSyncWhileAnother(t *testing.T) {
	const uri = "s3://acme-logs/segment-logs/web"
	for name, cut := range map[string]bool{"to_the_end": false, "the_other_is_cut_short": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, p, dir := slowStore{bucket(t)}, place(t, uri), t.TempDir()
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				var other SyncResult
				ended := make(chan error, 1)
				go func() {
					var err error
					other, err = Sync(ctx, m, p, List(ctx, m, p, Filter{}), SyncOptions{Dir: dir})
					ended <- err
				}()
				time.Sleep(time.Second)
				if cut {
					time.AfterFunc(time.Second, stop)
				}
				got, err := syncAll(t, m, uri, SyncOptions{Dir: dir})
				require.NoError(t, err)
				require.Len(t, filesIn(t, dir), 4)
				require.Equal(t, cut, <-ended != nil)
				require.EqualValues(t, 4, got.Downloaded+other.Downloaded)
				require.EqualValues(t, 4, got.Downloaded+got.Skipped)
				require.Equal(t, cut, got.Downloaded == 4)
			})
		})
	}
}

// If another run holds files and does not continue, for example because it is suspended, that is
// reported once, and waited for.
func TestSyncReportsWaiting(t *testing.T) {
	const uri = "s3://acme-logs/segment-logs/web"
	for name, c := range map[string]struct {
		held time.Duration
		want int
	}{
		"stopped":      {time.Hour, 1},
		"soon_over":    {busyWarnAfter - busyPause, 0},
		"not_so_quick": {busyWarnAfter + busyPause, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, p, dir := bucket(t), place(t, uri), t.TempDir()
				var held []string
				for f, err := range List(t.Context(), m, p, Filter{}) {
					require.NoError(t, err)
					if len(held) == 2 {
						break
					}
					part, err := openPart(SyncOptions{Dir: dir}.path(p, f))
					require.NoError(t, err)
					held = append(held, part.Name())
					time.AfterFunc(c.held, func() { _ = part.Close() })
				}
				var waitedFor []string
				got, err := syncAll(t, m, uri, SyncOptions{Dir: dir, OnWaiting: func(part string) { waitedFor = append(waitedFor, part) }})
				require.NoError(t, err)
				require.EqualValues(t, 4, got.Downloaded)
				require.Len(t, waitedFor, c.want)
				for _, part := range waitedFor {
					require.Contains(t, held, part)
				}
			})
		})
	}
}

// If there are two concurrent runs into the same folder, one fetches a file and the other finds it
// busy; a part that was renamed in between is not mistaken for a part.
func TestPartsAreLocked(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.gz")
	p, err := openPart(path)
	require.NoError(t, err)
	_, err = openPart(path)
	require.ErrorIs(t, err, errBusy)

	_, err = p.Write([]byte("x"))
	require.NoError(t, err)
	late, err := os.OpenFile(p.Name(), os.O_RDWR, 0)
	require.NoError(t, err)
	require.NoError(t, p.install(time.Now()))
	require.NoError(t, p.Close())
	lateHeld, err := (&part{late, path}).lock()
	require.NoError(t, err)
	require.False(t, lateHeld, "a part that was renamed was locked")
	require.NoError(t, late.Close())

	// The file appeared while it was downloaded: it is kept.
	again, err := openPart(path)
	require.NoError(t, err)
	defer again.Close()
	require.ErrorIs(t, again.install(time.Now()), errDiffers)
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "x", string(b))
}

// Somebody else who may write into the folder can neither make us overwrite a file of ours nor
// prevent the others from being downloaded.
func TestSymlinkedPartIsNotFollowed(t *testing.T) {
	for name, target := range map[string]string{"to_a_file": "precious", "to_nowhere": "new", "to_itself": ""} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const uri = "s3://acme-logs/segment-logs/web"
				m, p, dir, elsewhere := bucket(t), place(t, uri), t.TempDir(), t.TempDir()
				precious := filepath.Join(elsewhere, "precious")
				require.NoError(t, os.WriteFile(precious, []byte("ours"), 0o600))
				for f, err := range List(t.Context(), m, p, Filter{}) {
					require.NoError(t, err)
					link := partPath(SyncOptions{Dir: dir}.path(p, f))
					require.NoError(t, os.MkdirAll(filepath.Dir(link), 0o700))
					to := link
					if target != "" {
						to = filepath.Join(elsewhere, target)
					}
					require.NoError(t, os.Symlink(to, link))
					break
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				got, err := Sync(ctx, m, p, List(ctx, m, p, Filter{}), SyncOptions{Dir: dir})
				require.NoError(t, err)
				require.EqualValues(t, 3, got.Downloaded)
				require.EqualValues(t, 1, got.Failed)
				require.ErrorContains(t, got.Problems[0], "is a symbolic link: remove it")
				b, err := os.ReadFile(precious)
				require.NoError(t, err)
				require.Equal(t, "ours", string(b))
				there, err := os.ReadDir(elsewhere)
				require.NoError(t, err)
				require.Len(t, there, 1, "something was written through the link")
			})
		})
	}
}
