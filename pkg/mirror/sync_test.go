package mirror

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/gziptest"
	"github.com/sealift/sealift/pkg/objstore"
)

func syncAll(t *testing.T, m objstore.Reader, uri string, opts SyncOptions) (SyncResult, error) {
	t.Helper()
	p := place(t, uri)
	return Sync(t.Context(), m, p, List(t.Context(), m, p, Filter{}), opts)
}

// Files are where `aws s3 sync` of the same place would put them.
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
			opts := SyncOptions{Dir: dir, Decompress: decompress, Parallel: 1, OnFound: func(f File) { found += f.Size }, OnRead: func(n int64) { read += n }}
			got, err := syncAll(t, m, "s3://acme-logs/segment-logs/web", opts)
			require.NoError(t, err)
			require.Equal(t, SyncResult{Downloaded: 4, Bytes: found}, got)
			require.Equal(t, found, read)

			path := filepath.Join(dir, fmt.Sprint(day1), name(day1, 0))
			want := gziptest.Zip("{\"s\":\"web\",\"n\":0}\n")
			if decompress {
				path, want = strings.TrimSuffix(path, ".gz")+".ndjson", []byte("{\"s\":\"web\",\"n\":0}\n")
			}
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, want, b)
			// `aws s3 sync` skips a file that is not older than the object.
			head, err := m.Head(t.Context(), key("web", day1, 0))
			require.NoError(t, err)
			info, err := os.Stat(path)
			require.NoError(t, err)
			require.Equal(t, head.LastModified.UnixMilli(), info.ModTime().UnixMilli())

			// A second run reads nothing.
			m.gets = nil
			got, err = syncAll(t, m, "s3://acme-logs/segment-logs/web", opts)
			require.NoError(t, err)
			require.Equal(t, SyncResult{Skipped: 4}, got)
			require.Empty(t, m.gets)
		})
	}
}

// Existing files stay as they are, whatever they contain.
func TestSyncRewritesNothing(t *testing.T) {
	type as int
	const raw, keyed, lines as = 0, 1, 2
	old := time.Now().Add(-48 * time.Hour)
	for hazard, c := range map[string]struct {
		as            // keyed: raw, and the object is encrypted with a KMS key
		metadata bool // the object has its sha256 as metadata
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
		"link_to_itself":     {raw, true, func(t *testing.T, path string, _ []byte) { require.NoError(t, os.Symlink(path, path)) }, false, "a link to nowhere"},
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
			m, dir := &flakyStore{Memory: objstore.NewMemory("acme-logs")}, t.TempDir()
			object := gziptest.Zip("{\"s\":\"web\",\"n\":0}\n")
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
			_ = os.Chtimes(path, old, old) // fails for a dangling link
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
			// It is compared once; after that its time is enough.
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

// write leaves the first n bytes of the object, or all if n < 0.
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

// After a connection breaks, the next one continues where it was, and nothing is reported.
func TestSyncContinuesAfterBrokenConnections(t *testing.T) {
	for _, decompress := range []bool{false, true} {
		t.Run(fmt.Sprintf("decompress_%v", decompress), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, dir := &flakyStore{Memory: objstore.NewMemory("acme-logs")}, t.TempDir()
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
				require.Equal(t, gziptest.Zip(text), b)
			})
		})
	}
}

// randomLines returns lines that gzip can hardly compress.
func randomLines(n int) string {
	var b strings.Builder
	random, some := rand.NewChaCha8([32]byte{}), make([]byte, 1<<10)
	for b.Len() < n {
		_, _ = random.Read(some)
		b.WriteString(base64.StdEncoding.EncodeToString(some) + "\n")
	}
	return b.String()
}

// The next run continues what an interrupted one left, and verifies that it belongs to the object.
func TestSyncResumes(t *testing.T) {
	text := randomLines(100 << 10)
	for hazard, c := range map[string]struct {
		part       func(object []byte) []byte
		decompress bool
		from       int // offset of the first GET; -1: len(part)
		gets       int
	}{
		"ninety_percent":           {func(o []byte) []byte { return o[:len(o)*9/10] }, false, -1, 1},
		"complete_but_unnamed":     {func(o []byte) []byte { return o }, false, -2, 1},
		"longer_than_the_object":   {func(o []byte) []byte { return append(append([]byte(nil), o...), "more"...) }, false, -2, 1},
		"nothing":                  {func([]byte) []byte { return nil }, false, 0, 1},
		"damaged_by_a_crash":       {func(o []byte) []byte { return make([]byte, len(o)/2) }, false, -1, 2},
		"decompressed_starts_over": {func(o []byte) []byte { return o[:len(o)*9/10] }, true, 0, 1},
	} {
		t.Run(hazard, func(t *testing.T) {
			for _, sha256 := range []bool{true, false} {
				m, dir := &flakyStore{Memory: objstore.NewMemory("acme-logs")}, t.TempDir()
				object := gziptest.Zip(text)
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
					Dir: dir, Decompress: c.decompress, OnRead: func(n int64) { read.Add(n) },
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
					require.EqualValues(t, len(object), read.Load(), "progress does not count the resumed bytes")
				}
			}
		})
	}
}

func TestSyncKeepsResumableParts(t *testing.T) {
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
				m, dir := &flakyStore{Memory: objstore.NewMemory("acme-logs")}, t.TempDir()
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
