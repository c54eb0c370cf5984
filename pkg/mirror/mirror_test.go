package mirror

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sealift/sealift/pkg/objstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	day1 = int64(1763683200000) // 2025-11-21
	day2 = day1 + 86_400_000
)

func put(t *testing.T, s objstore.Store, key, lines string) {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := io.WriteString(z, lines)
	require.NoError(t, errors.Join(err, z.Close()))
	sum := sha256.Sum256(b.Bytes())
	_, err = s.Put(t.Context(), key, bytes.NewReader(b.Bytes()), objstore.PutOptions{
		ContentEncoding: "gzip", Metadata: map[string]string{"sha256": hex.EncodeToString(sum[:])},
	})
	require.NoError(t, err)
}

func key(source string, day int64, n int) string {
	return fmt.Sprintf("segment-logs/%s/%d/%d.aaaaaaaaaaaa.bbbbbbb.0.gz", source, day, day+int64(n))
}

func bucket(t *testing.T) *objstore.Memory {
	t.Helper()
	m := objstore.NewMemory("acme-logs")
	for _, source := range []string{"app", "app-2", "web"} {
		for _, day := range []int64{day1, day2} {
			for n := range 2 {
				put(t, m, key(source, day, n), fmt.Sprintf("{\"s\":\"%s\",\"n\":%d}\n", source, n))
			}
		}
	}
	for _, odd := range []string{
		"segment-logs/README", "segment-logs/../etc/1.gz", "segment-logs/web/1763683200000/../../x.gz",
		"segment-logs/web/today/1.a.gz", "segment-logs/web/01763683200000/1.a.gz", "segment-logs/web/1763683200000/..gz", "other/1.gz",
	} {
		put(t, m, odd, "x\n")
	}
	return m
}

func collect(t *testing.T, files iter.Seq2[File, error]) (keys []string) {
	t.Helper()
	for f, err := range files {
		require.NoError(t, err)
		keys = append(keys, f.Key)
	}
	return keys
}

func TestList(t *testing.T) {
	m := bucket(t)
	require.Len(t, collect(t, List(t.Context(), m, Filter{})), 12, "and nothing that is not Sealift's")
	require.Equal(t, []string{key("app", day2, 0), key("app", day2, 1)}, collect(t, List(t.Context(), m, Filter{Source: "app", Day: day2})))
	require.Len(t, collect(t, List(t.Context(), m, Filter{Source: "app"})), 4, "app-2 is another source")
	require.Equal(t, []string{
		// In the order of keys: '-' comes before '/'.
		key("app-2", day1, 0), key("app-2", day1, 1), key("app", day1, 0), key("app", day1, 1), key("web", day1, 0), key("web", day1, 1),
	}, collect(t, List(t.Context(), m, Filter{Day: day1})))
	require.Empty(t, collect(t, List(t.Context(), objstore.NewMemory("empty"), Filter{Day: day1})))

	f, ok := parse(objstore.Info{Key: key("web", day1, 7), Size: 3})
	require.True(t, ok)
	require.Equal(t, File{Key: key("web", day1, 7), Source: "web", Day: day1, Name: "1763683200007.aaaaaaaaaaaa.bbbbbbb.0.gz", Received: day1 + 7, Size: 3}, f)
	require.Equal(t, "2025-11-21", f.Date())
}

func TestListPages(t *testing.T) {
	m := objstore.NewMemory("big")
	for n := range 2001 {
		_, err := m.Put(t.Context(), key("web", day1, n), strings.NewReader("x"), objstore.PutOptions{})
		require.NoError(t, err)
	}
	require.Len(t, collect(t, List(t.Context(), m, Filter{Source: "web"})), 2001)
}

func TestListErrorEndsIt(t *testing.T) {
	m := bucket(t)
	m.SetFault(func(op objstore.Op) objstore.Fault { return objstore.Fault{Before: objstore.ErrDenied} })
	for _, f := range []Filter{{}, {Day: day1}} {
		var n int
		for _, err := range List(t.Context(), m, f) {
			n++
			require.ErrorIs(t, err, objstore.ErrDenied)
		}
		require.Equal(t, 1, n)
	}
}

func TestParseDay(t *testing.T) {
	for _, in := range []string{"2025-11-21", "1763683200000"} {
		ms, err := ParseDay(in)
		require.NoError(t, err)
		require.Equal(t, day1, ms)
	}
	for _, in := range []string{"", "yesterday", "2025-11-31", "1763683200001", "0", "-86400000"} {
		_, err := ParseDay(in)
		require.ErrorContains(t, err, "2026-11-22", in)
	}
}

func TestSync(t *testing.T) {
	m, dir := bucket(t), t.TempDir()
	var found, read int64
	opts := SyncOptions{Dir: dir, Parallel: 1, Found: func(f File) { found += f.Size }, Read: func(n int64) { read += n }}
	got, err := Sync(t.Context(), m, List(t.Context(), m, Filter{Source: "web"}), opts)
	require.NoError(t, err)
	require.Equal(t, int64(4), got.Downloaded)
	require.Equal(t, found, read)
	require.Equal(t, found, got.Bytes)

	path := filepath.Join(dir, "web", fmt.Sprint(day1), fmt.Sprintf("%d.aaaaaaaaaaaa.bbbbbbb.0.gz", day1))
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	line, err := io.ReadAll(z)
	require.NoError(t, err)
	require.Equal(t, "{\"s\":\"web\",\"n\":0}\n", string(line))

	// Again: what is whole is skipped, what is torn is fetched anew.
	require.NoError(t, os.Truncate(path, 3))
	got, err = Sync(t.Context(), m, List(t.Context(), m, Filter{Source: "web"}), opts)
	require.NoError(t, err)
	require.Equal(t, int64(1), got.Downloaded)
	require.Equal(t, int64(3), got.Skipped)
}

func TestSyncDecompressed(t *testing.T) {
	m, dir := bucket(t), t.TempDir()
	opts := SyncOptions{Dir: dir, Decompress: true}
	for range 2 {
		got, err := Sync(t.Context(), m, List(t.Context(), m, Filter{Day: day1}), opts)
		require.NoError(t, err)
		require.Equal(t, int64(6), got.Downloaded+got.Skipped)
	}
	b, err := os.ReadFile(filepath.Join(dir, "app", fmt.Sprint(day1), fmt.Sprintf("%d.aaaaaaaaaaaa.bbbbbbb.0.ndjson", day1+1)))
	require.NoError(t, err)
	require.Equal(t, "{\"s\":\"app\",\"n\":1}\n", string(b))
}

func TestSyncFaults(t *testing.T) {
	filter := Filter{Source: "web", Day: day1}
	t.Run("transient_error_is_retried", func(t *testing.T) {
		m := bucket(t)
		m.SetFault(func(op objstore.Op) (f objstore.Fault) {
			if op.Name == "get" && op.N == 1 {
				f.Before = objstore.ErrUnavailable
			}
			return f
		})
		got, err := Sync(t.Context(), m, List(t.Context(), m, filter), SyncOptions{Dir: t.TempDir()})
		require.NoError(t, err)
		require.Equal(t, int64(2), got.Downloaded)
	})
	t.Run("one_denied_file_fails_alone", func(t *testing.T) {
		m := bucket(t)
		m.SetFault(func(op objstore.Op) (f objstore.Fault) {
			if op.Name == "get" && op.Key == key("web", day1, 0) {
				f.Before = objstore.ErrDenied
			}
			return f
		})
		got, err := Sync(t.Context(), m, List(t.Context(), m, filter), SyncOptions{Dir: t.TempDir()})
		require.NoError(t, err)
		require.Equal(t, int64(1), got.Downloaded)
		require.Len(t, got.Failed, 1)
		require.ErrorIs(t, got.Failed[0], objstore.ErrDenied)
	})
	t.Run("changed_object_leaves_no_file", func(t *testing.T) {
		m, dir := bucket(t), t.TempDir()
		_, err := m.Put(t.Context(), key("web", day1, 0), strings.NewReader("tampered"), objstore.PutOptions{Metadata: map[string]string{"sha256": strings.Repeat("0", 64)}})
		require.NoError(t, err)
		got, err := Sync(t.Context(), m, List(t.Context(), m, filter), SyncOptions{Dir: dir})
		require.NoError(t, err)
		require.ErrorContains(t, got.Failed[0], "changed after its delivery")
		require.Equal(t, 1, countFiles(t, dir))
	})
	t.Run("short_read_leaves_no_file", func(t *testing.T) {
		m, dir := bucket(t), t.TempDir()
		short := func(yield func(File, error) bool) {
			for f := range List(t.Context(), m, filter) {
				f.Size++ // the listing promised more
				yield(f, nil)
				return
			}
		}
		got, err := Sync(t.Context(), m, short, SyncOptions{Dir: dir})
		require.NoError(t, err)
		require.ErrorIs(t, got.Failed[0], objstore.ErrUnavailable)
		require.Zero(t, countFiles(t, dir))
	})
	t.Run("cancelled", func(t *testing.T) {
		m := bucket(t)
		ctx, cancel := context.WithCancel(t.Context())
		files := List(t.Context(), m, filter)
		cancel()
		_, err := Sync(ctx, m, files, SyncOptions{Dir: t.TempDir()})
		require.ErrorIs(t, err, context.Canceled)
	})
}

func countFiles(t *testing.T, dir string) (n int) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if !d.IsDir() {
			n++
		}
		return err
	}))
	return n
}

func TestCat(t *testing.T) {
	m := bucket(t)
	var out bytes.Buffer
	require.NoError(t, Cat(t.Context(), m, List(t.Context(), m, Filter{Source: "app", Day: day1}), &out, false, nil))
	require.Equal(t, "{\"s\":\"app\",\"n\":0}\n{\"s\":\"app\",\"n\":1}\n", out.String())

	out.Reset()
	var read int64
	require.NoError(t, Cat(t.Context(), m, List(t.Context(), m, Filter{Source: "app", Day: day1}), &out, true, func(n int64) { read += n }))
	require.Equal(t, int64(out.Len()), read)
	z, err := gzip.NewReader(&out)
	require.NoError(t, err)
	lines, err := io.ReadAll(z)
	require.NoError(t, err)
	require.Equal(t, 2, bytes.Count(lines, []byte("\n")))

	_, err = m.Put(t.Context(), key("app", day1, 1), strings.NewReader("no gzip"), objstore.PutOptions{})
	require.NoError(t, err)
	err = Cat(t.Context(), m, List(t.Context(), m, Filter{Source: "app", Day: day1}), io.Discard, false, nil)
	require.ErrorContains(t, err, key("app", day1, 1))
}

func FuzzParse(f *testing.F) {
	f.Add(key("web", day1, 1))
	f.Add("segment-logs/web/1763683200000/1..gz")
	f.Add("segment-logs/web/-86400000/1.a.gz")
	f.Fuzz(func(t *testing.T, key string) {
		file, ok := parse(objstore.Info{Key: key})
		if !ok {
			return
		}
		require.Equal(t, key, fmt.Sprintf("%s%s/%d/%s", root, file.Source, file.Day, file.Name))
		path := SyncOptions{Dir: "dir"}.path(file)
		require.True(t, filepath.IsLocal(path) && filepath.Dir(filepath.Dir(filepath.Dir(path))) == "dir", path)
	})
}
