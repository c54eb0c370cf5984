package mirror

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/objstore"
)

func syncAll(t *testing.T, m objstore.Reader, uri string, opts SyncOptions) (SyncResult, error) {
	t.Helper()
	p := place(t, uri)
	return Sync(t.Context(), m, p, List(t.Context(), m, p, Filter{}), opts)
}

// Files lie where `aws s3 sync` of the same place puts them.
func TestSyncLayout(t *testing.T) {
	m := bucket(t)
	put(t, m, "some/path/"+key("web", day1, 0), "{}\n")
	for uri, want := range map[string]string{
		"s3://acme-logs/some/path":                                         key("web", day1, 0),
		"s3://acme-logs/some/path/segment-logs/":                           fmt.Sprintf("web/%d/%s", day1, name(day1, 0)),
		"s3://acme-logs/some/path/segment-logs/web/":                       fmt.Sprintf("%d/%s", day1, name(day1, 0)),
		fmt.Sprintf("s3://acme-logs/some/path/segment-logs/web/%d/", day1): name(day1, 0),
		"s3://acme-logs/some/path/" + key("web", day1, 0):                  name(day1, 0),
	} {
		dir := t.TempDir()
		got, err := syncAll(t, m, uri, SyncOptions{Dir: dir})
		require.NoError(t, err)
		require.EqualValues(t, 1, got.Downloaded, uri)
		require.Equal(t, []string{want}, filesIn(t, dir), uri)
	}
}

func TestSync(t *testing.T) {
	for _, decompress := range []bool{false, true} {
		t.Run(fmt.Sprintf("decompress_%v", decompress), func(t *testing.T) {
			m, dir := bucket(t), t.TempDir()
			var found, read int64
			opts := SyncOptions{Dir: dir, Decompress: decompress, Parallel: 1, Found: func(f File) { found += f.Size }, Read: func(n int64) { read += n }}
			got, err := syncAll(t, m, "s3://acme-logs/segment-logs/web", opts)
			require.NoError(t, err)
			require.Equal(t, SyncResult{Downloaded: 4, Bytes: found}, got)
			require.Equal(t, found, read)

			path := filepath.Join(dir, fmt.Sprint(day1), name(day1, 0))
			want := gzipped(t, "{\"s\":\"web\",\"n\":0}\n")
			if decompress {
				path, want = strings.TrimSuffix(path, ".gz")+".ndjson", []byte("{\"s\":\"web\",\"n\":0}\n")
			}
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, want, b)
			// `aws s3 sync` skips a file that is no younger than the object.
			head, err := m.Head(t.Context(), key("web", day1, 0))
			require.NoError(t, err)
			info, err := os.Stat(path)
			require.NoError(t, err)
			require.Equal(t, head.LastModified.UnixMilli(), info.ModTime().UnixMilli())

			// Again: nothing is read.
			m.gets = nil
			got, err = syncAll(t, m, "s3://acme-logs/segment-logs/web", opts)
			require.NoError(t, err)
			require.Equal(t, SyncResult{Skipped: 4}, got)
			require.Empty(t, m.gets)
		})
	}
}

// What is there stays as it is, whatever it is.
func TestSyncRewritesNothing(t *testing.T) {
	type as int
	const raw, keyed, lines as = 0, 1, 2
	old := time.Now().Add(-48 * time.Hour)
	for hazard, c := range map[string]struct {
		as            // keyed: raw, and the object lies encrypted with a key of KMS
		metadata bool // the object tells its sha256
		there    func(t *testing.T, path string, object []byte)
		skipped  bool
		says     string
	}{
		"torn":               {raw, true, write(3), false, "it has 3 bytes, the object "},
		"empty":              {raw, true, write(0), false, "it has 0 bytes"},
		"edited_same_size":   {raw, true, edit, false, "the same size, and other bytes"},
		"edited_no_sha256":   {raw, false, edit, false, "the same size, and other bytes"},
		"copied_time_is_not": {raw, true, write(-1), true, ""},
		"copied_no_sha256":   {raw, false, write(-1), true, ""},
		"edited_keyed":       {keyed, false, edit, false, "the same size, and other bytes"},
		"edited_end_keyed":   {keyed, false, editEnd, false, "the same size, and other bytes"},
		"copied_keyed":       {keyed, false, write(-1), true, ""},
		"folder":             {raw, true, func(t *testing.T, path string, _ []byte) { require.NoError(t, os.Mkdir(path, 0o700)) }, false, "it is no file"},
		"dangling_link":      {raw, true, func(t *testing.T, path string, _ []byte) { require.NoError(t, os.Symlink("nowhere", path)) }, false, "a link to nowhere"},
		"link_to_the_same": {raw, true, func(t *testing.T, path string, object []byte) {
			write(-1)(t, path+".elsewhere", object)
			require.NoError(t, os.Symlink(path+".elsewhere", path))
		}, true, ""},
		"lines_edited": {lines, true, func(t *testing.T, path string, _ []byte) {
			require.NoError(t, os.WriteFile(path, []byte("{\"s\":\"web\",\"n\":7}\n"), 0o600))
		}, false, "its lines are others"},
		"lines_copied": {lines, true, func(t *testing.T, path string, _ []byte) {
			require.NoError(t, os.WriteFile(path, []byte("{\"s\":\"web\",\"n\":0}\n"), 0o600))
		}, true, ""},
	} {
		t.Run(hazard, func(t *testing.T) {
			m, dir := &store{Memory: objstore.NewMemory("acme-logs")}, t.TempDir()
			object := gzipped(t, "{\"s\":\"web\",\"n\":0}\n")
			opts := objstore.PutOptions{}
			if c.as == keyed {
				opts.ServerSideEncryption = "aws:kms"
			}
			_, err := m.Put(t.Context(), key("web", day1, 0), bytes.NewReader(object), opts)
			require.NoError(t, err)
			if c.metadata {
				put(t, m, key("web", day1, 0), "{\"s\":\"web\",\"n\":0}\n")
			}
			path := filepath.Join(dir, name(day1, 0))
			if c.as == lines {
				path = strings.TrimSuffix(path, ".gz") + ".ndjson"
			}
			c.there(t, path, object)
			_ = os.Chtimes(path, old, old) // not of a dangling link
			before, _ := os.ReadFile(path)

			uri := fmt.Sprintf("s3://acme-logs/segment-logs/web/%d", day1)
			got, err := syncAll(t, m, uri, SyncOptions{Dir: dir, Decompress: c.as == lines})
			require.NoError(t, err)
			require.Zero(t, got.Downloaded+got.Failed)
			after, _ := os.ReadFile(path)
			require.Equal(t, before, after)
			if !c.skipped {
				require.EqualValues(t, 1, got.Differing)
				require.Len(t, got.Problems, 1)
				require.ErrorContains(t, got.Problems[0], c.says)
				require.ErrorContains(t, got.Problems[0], path)
				require.ErrorContains(t, got.Problems[0], "s3://acme-logs/"+key("web", day1, 0))
				return
			}
			require.EqualValues(t, 1, got.Skipped)
			// Compared once: then its time tells.
			m.gets = nil
			m.SetFault(func(op objstore.Op) (f objstore.Fault) {
				if op.Name == "head" {
					f.Before = objstore.ErrDenied
				}
				return f
			})
			got, err = syncAll(t, m, uri, SyncOptions{Dir: dir, Decompress: c.as == lines})
			require.NoError(t, err)
			require.EqualValues(t, 1, got.Skipped)
			require.Empty(t, m.gets)
		})
	}
}

// write leaves n bytes of the object, all if n < 0.
func write(n int) func(*testing.T, string, []byte) {
	return func(t *testing.T, path string, object []byte) {
		if n >= 0 {
			object = object[:n]
		}
		require.NoError(t, os.WriteFile(path, object, 0o600))
	}
}

func edit(t *testing.T, path string, object []byte) {
	object[len(object)/2] ^= 1
	require.NoError(t, os.WriteFile(path, object, 0o600))
}

func editEnd(t *testing.T, path string, object []byte) {
	object[len(object)-6] ^= 1
	require.NoError(t, os.WriteFile(path, object, 0o600))
}

// A connection that breaks is no news: the next one goes on where it was.
func TestSyncGoesOnAfterCuts(t *testing.T) {
	for _, decompress := range []bool{false, true} {
		t.Run(fmt.Sprintf("decompress_%v", decompress), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, dir := &store{Memory: objstore.NewMemory("acme-logs")}, t.TempDir()
				text := randomLines(200 << 10)
				put(t, m, key("web", day1, 0), text)
				m.cut = func(_ string, n int) int {
					if n > 9 {
						return -1
					}
					return n * 1000
				}
				m.SetFault(func(op objstore.Op) (f objstore.Fault) {
					if op.Name == "get" && op.N%3 == 1 {
						f.Before = objstore.ErrUnavailable
					}
					return f
				})
				got, err := syncAll(t, m, "s3://acme-logs", SyncOptions{Dir: dir, Decompress: decompress})
				require.NoError(t, err)
				require.Equal(t, int64(1), got.Downloaded, got.Problems)
				var resumed int
				for _, g := range m.gets {
					if !strings.HasSuffix(g, " 0") {
						resumed++
					}
				}
				require.Greater(t, resumed, 5, m.gets)
				path := filepath.Join(dir, filepath.FromSlash(key("web", day1, 0)))
				if decompress {
					b, err := os.ReadFile(strings.TrimSuffix(path, ".gz") + ".ndjson")
					require.NoError(t, err)
					require.Equal(t, text, string(b))
					return
				}
				b, err := os.ReadFile(path)
				require.NoError(t, err)
				require.Equal(t, gzipped(t, text), b)
			})
		})
	}
}

// randomLines are lines that gzip can do little with.
func randomLines(n int) string {
	var b strings.Builder
	random, some := rand.NewChaCha8([32]byte{}), make([]byte, 1<<10)
	for b.Len() < n {
		_, _ = random.Read(some)
		b.WriteString(base64.StdEncoding.EncodeToString(some) + "\n")
	}
	return b.String()
}

// What an interrupted run left is gone on with by the next one, and is proved
// to be of the object.
func TestSyncResumes(t *testing.T) {
	text := randomLines(100 << 10)
	for hazard, c := range map[string]struct {
		part       func(object []byte) []byte
		decompress bool
		from       int // of the first GET; -1: len(part)
		gets       int
	}{
		"ninety_percent":          {func(o []byte) []byte { return o[:len(o)*9/10] }, false, -1, 1},
		"all_but_its_name":        {func(o []byte) []byte { return o }, false, -2, 1},
		"longer_than_the_object":  {func(o []byte) []byte { return append(append([]byte(nil), o...), "more"...) }, false, -2, 1},
		"nothing":                 {func([]byte) []byte { return nil }, false, 0, 1},
		"spoiled_by_a_crash":      {func(o []byte) []byte { return make([]byte, len(o)/2) }, false, -1, 2},
		"of_lines_it_begins_anew": {func(o []byte) []byte { return o[:len(o)*9/10] }, true, 0, 1},
	} {
		t.Run(hazard, func(t *testing.T) {
			for _, sha256 := range []bool{true, false} {
				m, dir := &store{Memory: objstore.NewMemory("acme-logs")}, t.TempDir()
				object := gzipped(t, text)
				putRaw(t, m, key("web", day1, 0), object, nil)
				if sha256 {
					put(t, m, key("web", day1, 0), text)
				}
				final, want := name(day1, 0), object
				if c.decompress {
					final, want = strings.TrimSuffix(final, ".gz")+".ndjson", []byte(text)
				}
				part := c.part(object)
				require.NoError(t, os.WriteFile(filepath.Join(dir, "."+final+".part"), part, 0o600))
				var read atomic.Int64
				got, err := syncAll(t, m, fmt.Sprintf("s3://acme-logs/segment-logs/web/%d", day1), SyncOptions{
					Dir: dir, Decompress: c.decompress, Read: func(n int64) { read.Add(n) },
				})
				require.NoError(t, err)
				require.EqualValues(t, 1, got.Downloaded, got.Problems)
				require.Equal(t, []string{final}, filesIn(t, dir))
				b, err := os.ReadFile(filepath.Join(dir, final))
				require.NoError(t, err)
				require.Equal(t, want, b)
				from := map[int]int{-1: len(part), -2: len(object) - 1, 0: 0}[c.from]
				require.Len(t, m.gets, c.gets)
				require.Equal(t, fmt.Sprintf("%s %d", key("web", day1, 0), from), m.gets[0])
				if c.gets == 1 {
					require.EqualValues(t, len(object), read.Load(), "progress counts what was there")
				}
			}
		})
	}
}

func TestSyncLeavesWhatCanBeResumed(t *testing.T) {
	text := randomLines(100 << 10)
	for hazard, c := range map[string]struct {
		fault error
		code  string
		left  bool
	}{
		"store_away":     {objstore.ErrUnavailable, "", true},
		"token_expired":  {objstore.ErrDenied, "ExpiredToken", true},
		"object_deleted": {objstore.ErrNotFound, "NoSuchKey", false},
		"object_changed": {objstore.ErrChanged, "PreconditionFailed", false},
		"denied":         {objstore.ErrDenied, "AccessDenied", false},
	} {
		t.Run(hazard, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, dir := &store{Memory: objstore.NewMemory("acme-logs")}, t.TempDir()
				put(t, m, key("web", day1, 0), text)
				m.cut = func(string, int) int { return 30_000 }
				m.SetFault(func(op objstore.Op) (f objstore.Fault) {
					if op.Name == "get" && op.N > 1 {
						f.Before = &objstore.Error{Op: "get", Kind: c.fault, Code: c.code}
					}
					return f
				})
				got, err := syncAll(t, m, "s3://acme-logs", SyncOptions{Dir: dir})
				if c.code == "ExpiredToken" {
					require.ErrorIs(t, err, c.fault, "every other file would meet it as well")
				} else {
					require.NoError(t, err)
					require.EqualValues(t, 1, got.Failed)
					require.ErrorIs(t, got.Problems[0], c.fault)
				}
				if c.left {
					require.Len(t, filesIn(t, dir), 1)
					m.cut = nil
					m.SetFault(nil)
					m.gets = nil
					got, err = syncAll(t, m, "s3://acme-logs", SyncOptions{Dir: dir})
					require.NoError(t, err)
					require.EqualValues(t, 1, got.Downloaded)
					require.Equal(t, []string{key("web", day1, 0) + " 30000"}, m.gets)
				} else {
					require.Empty(t, filesIn(t, dir))
				}
			})
		})
	}
}

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
		putRaw(t, m, key("web", day1, 0), gzipped(t, "tampered\n"), map[string]string{"sha256": strings.Repeat("0", 64)})
		got, err := syncAll(t, m, uri, SyncOptions{Dir: dir})
		require.NoError(t, err)
		require.ErrorIs(t, got.Problems[0], errNotWhole)
		require.ErrorContains(t, got.Problems[0], key("web", day1, 0))
		require.Equal(t, []string{name(day1, 1)}, filesIn(t, dir))
	})
	t.Run("without_sha256_gzip_tells", func(t *testing.T) {
		for _, decompress := range []bool{false, true} {
			m, dir := bucket(t), t.TempDir()
			good := gzipped(t, randomLines(1000))
			for n, b := range [][]byte{good, good[:len(good)-1], append(append([]byte(nil), good[:100]...), good[101:]...), []byte("no gzip"), nil} {
				putRaw(t, m, key("web", day1, n), b, map[string]string{"sha256": "of something else"})
			}
			got, err := syncAll(t, m, uri, SyncOptions{Dir: dir, Decompress: decompress})
			require.NoError(t, err)
			require.EqualValues(t, 1, got.Downloaded)
			require.EqualValues(t, 4, got.Failed)
			for _, p := range got.Problems {
				require.ErrorIs(t, p, errNotWhole)
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
			m, dir := &store{Memory: objstore.NewMemory("acme-logs")}, t.TempDir()
			put(t, m, key("web", day1, 0), "{}\n")
			var silent atomic.Int64
			got, err := syncAll(t, silentAtFirst{m, &silent}, "s3://acme-logs", SyncOptions{Dir: dir})
			require.NoError(t, err)
			require.EqualValues(t, 1, got.Downloaded, got.Problems)
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
		require.EqualValues(t, 1, got.Downloaded, "what was begun is finished")
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
		m := &store{Memory: objstore.NewMemory("acme-logs")}
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

// silentAtFirst is a store whose first connections say nothing for ever: one
// before its answer, one within it.
type silentAtFirst struct {
	*store
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
	r, info, err := s.store.GetFrom(ctx, key, etag, from)
	if s.n.Load() == 1 {
		s.n.Add(1)
		r = io.NopCloser(readFunc(func([]byte) (int, error) { return 0, fail() }))
	}
	return r, info, err
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

// The disk's own failures end the run: every file would meet them.
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
		_, err := syncAll(t, bucket(t), uri, SyncOptions{Dir: "/proc/1"}) // nobody may make folders there
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

// Of two runs into the same folder one may have ended between a look of the other
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
			opts.Read = func(n int64) { read += n }
			opts.Found = func(f File) {
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
			require.Len(t, filesIn(t, dir), 4, "no part is left")
			if c.want.Differing == 0 {
				require.Equal(t, found, read)
			}
		})
	}
}

// slowStore takes five seconds to begin an answer.
type slowStore struct{ *store }

func (s slowStore) GetFrom(ctx context.Context, key, etag string, from int64) (io.ReadCloser, objstore.Info, error) {
	time.Sleep(5 * time.Second)
	return s.store.GetFrom(ctx, key, etag, from)
}

// Two runs into the same folder at once: no file is downloaded twice, none fails,
// and neither ends before all are there.
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

// Another run that holds files and does not go on, as one that is stopped, is
// told of, once; and is waited for.
func TestSyncTellsOfAnotherThatIsWaitedFor(t *testing.T) {
	const uri = "s3://acme-logs/segment-logs/web"
	for name, c := range map[string]struct {
		held time.Duration
		want int
	}{
		"stopped":      {time.Hour, 1},
		"soon_over":    {busyTold - busyPause, 0},
		"not_so_quick": {busyTold + busyPause, 1},
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
				var told []string
				got, err := syncAll(t, m, uri, SyncOptions{Dir: dir, Waiting: func(part string) { told = append(told, part) }})
				require.NoError(t, err)
				require.EqualValues(t, 4, got.Downloaded)
				require.Len(t, told, c.want)
				for _, part := range told {
					require.Contains(t, held, part)
				}
			})
		})
	}
}

// Of two runs into the same folder at once one fetches a file, the other finds it
// busy; a part that got its name in between is not taken for one.
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
	require.False(t, lateHeld, "it is the file itself by now")
	require.NoError(t, late.Close())

	// The file appeared while it was downloaded: it stays.
	again, err := openPart(path)
	require.NoError(t, err)
	defer again.Close()
	require.ErrorIs(t, again.install(time.Now()), errDiffers)
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "x", string(b))
}
