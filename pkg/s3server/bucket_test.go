package s3server

import (
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func newBucket(t testing.TB) *bucket {
	b, err := createBucket(t.TempDir(), Bucket{Name: "bucket", Region: "us-east-1"}, time.Now())
	require.NoError(t, err)
	return b
}

// Listings, page by page, agree with the plain definition of a listing.
func TestListAgainstModel(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		b := newModelBucket(r)
		prefix := pick(r, "", "a", "a/", "a/b/", "b", "zz", "ü")
		delimiter := pick(r, "", "/", "b", "//", "ü")
		limit := 1 + r.IntN(5)
		after := pick(r, "", "", "a/b", "a/b/c", "b", "zzz")

		var want, got []string
		seen := map[string]bool{}
		b.index.Scan(func(key string, _ entry) bool {
			if !strings.HasPrefix(key, prefix) || key <= after {
				return true
			}
			if i := strings.Index(key[len(prefix):], delimiter); delimiter != "" && i >= 0 {
				key = key[:len(prefix)+i+len(delimiter)]
			}
			if !seen[key] {
				seen[key] = true
				want = append(want, key)
			}
			return true
		})
		from := position{after: after}
		for pages := 0; ; pages++ {
			require.Less(t, pages, 100)
			p := b.list(prefix, delimiter, from, limit)
			require.LessOrEqual(t, len(p.items), limit)
			for _, i := range p.items {
				got = append(got, i.key)
			}
			if !p.truncated {
				break
			}
			require.Len(t, p.items, limit)
			last := p.items[limit-1]
			from = position{after: last.key, prefix: last.entry == nil}
		}
		require.Equal(t, want, got, "prefix %q delimiter %q after %q limit %d", prefix, delimiter, after, limit)
	}
}

func newModelBucket(r *rand.Rand) *bucket {
	b := &bucket{}
	for range r.IntN(40) {
		var key string
		for range 1 + r.IntN(6) {
			key += pick(r, "a", "b", "/", "z", "ü", "a/", "b/")
		}
		b.index.Set(key, entry{})
	}
	return b
}

func pick(r *rand.Rand, of ...string) string { return of[r.IntN(len(of))] }

func TestPastPrefix(t *testing.T) {
	for prefix, want := range map[string]string{"a": "b", "a/": "a0", "a\xff": "b", "\xff\xff": "", "": ""} {
		require.Equal(t, want, pastPrefix(prefix), "%q", prefix)
	}
}

func putFile(t *testing.T, b *bucket, key, body string, when condition) error {
	t.Helper()
	temp, err := os.CreateTemp(t.TempDir(), "put-*")
	require.NoError(t, err)
	_, err = temp.WriteString(body)
	require.NoError(t, err)
	meta := &objectMeta{Key: key, Size: int64(len(body)), ETag: hashHex(body)}
	require.NoError(t, appendMeta(temp, meta))
	require.NoError(t, temp.Close())
	err = b.commit(temp.Name(), meta, when)
	_, gone := os.Stat(temp.Name())
	require.ErrorIs(t, gone, fs.ErrNotExist)
	return err
}

// Keys are data, never paths.
func TestKeysStayInTheirDirectory(t *testing.T) {
	b := newBucket(t)
	for _, key := range []string{"../../escape", "/etc/passwd", "..", ".", "a/../b", "\x00", "con", strings.Repeat("k", 1024), "a//b", "a/"} {
		require.NoError(t, putFile(t, b, key, key, condition{}))
		inside, err := filepath.Rel(filepath.Join(b.dir, "objects"), b.path(key))
		require.NoError(t, err)
		require.Regexp(t, `^[0-9a-f]{2}/[0-9a-f]{62}$`, filepath.ToSlash(inside))
	}
	reopened, err := openBucket(filepath.Dir(b.dir), b.name, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	require.Equal(t, b.index.Keys(), reopened.index.Keys())
}

func TestConditions(t *testing.T) {
	b := newBucket(t)
	require.ErrorIs(t, putFile(t, b, "k", "one", condition{etag: "x"}), noSuchKey)
	require.NoError(t, putFile(t, b, "k", "one", condition{absent: true}))
	require.ErrorIs(t, putFile(t, b, "k", "two", condition{absent: true}), preconditionFailed)
	require.ErrorIs(t, putFile(t, b, "k", "two", condition{etag: hashHex("two")}), preconditionFailed)
	require.NoError(t, putFile(t, b, "k", "two", condition{etag: hashHex("one")}))
	require.NoError(t, b.delete("k"))
	require.NoError(t, b.delete("k"))
	require.NoError(t, putFile(t, b, "k", "three", condition{absent: true}))
}

// Descriptions may be longer than what the first read gets.
func TestLongDescriptions(t *testing.T) {
	b := newBucket(t)
	for _, n := range []int{0, 900, 1000, 1012, 1024, 2000, 5000} {
		key := fmt.Sprintf("k%d", n)
		temp, err := os.CreateTemp(t.TempDir(), "put-*")
		require.NoError(t, err)
		_, err = temp.WriteString("body")
		require.NoError(t, err)
		meta := &objectMeta{Key: key, Size: 4, Header: map[string]string{"X": strings.Repeat("x", n)}}
		require.NoError(t, appendMeta(temp, meta))
		require.NoError(t, temp.Close())
		require.NoError(t, b.commit(temp.Name(), meta, condition{}))
		o, err := b.open(key)
		require.NoError(t, err, "%d", n)
		require.Equal(t, *meta, o.meta)
		require.NoError(t, o.Close())
	}
}

func TestTornObjectsAreLeftOut(t *testing.T) {
	b := newBucket(t)
	for i := range 5 {
		require.NoError(t, putFile(t, b, fmt.Sprint(i), "the body", condition{}))
	}
	whole, err := os.ReadFile(b.path("0"))
	require.NoError(t, err)
	for key, damaged := range map[string][]byte{
		"0": {}, "1": whole[:len(whole)-1], "2": whole[1:], "3": append(slices.Clone(whole[:len(whole)-12]), "\xff\xff\xff\xffSLS3OBJ1"...),
	} {
		require.NoError(t, os.WriteFile(b.path(key), damaged, 0o600))
	}
	var log strings.Builder
	reopened, err := openBucket(filepath.Dir(b.dir), b.name, slog.New(slog.NewTextHandler(&log, nil)))
	require.NoError(t, err)
	require.Equal(t, []string{"4"}, reopened.index.Keys())
	require.Equal(t, 4, strings.Count(log.String(), "left out"))
	for i := range 4 { // an unreadable object does not occupy its key
		require.NoError(t, putFile(t, reopened, fmt.Sprint(i), "again", condition{absent: true}))
	}
	aside, err := os.ReadDir(filepath.Join(b.dir, "torn"))
	require.NoError(t, err)
	require.Len(t, aside, 4)
}

// Foreign files among the objects are not objects, and a copied object does not belong to the key
// of its file name.
func TestStrayFilesAreNotObjects(t *testing.T) {
	b := newBucket(t)
	require.NoError(t, putFile(t, b, "deleted", "the body", condition{}))
	require.NoError(t, putFile(t, b, "there", "the body", condition{}))
	file, stray := b.path("deleted"), b.path("deleted")+" copy"
	require.NoError(t, os.Link(file, stray))
	require.NoError(t, b.delete("deleted"))
	for _, dir := range []string{filepath.Dir(b.dir), filepath.Join(b.dir, "objects")} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, ".DS_Store"), nil, 0o600))
	}
	require.NoError(t, os.MkdirAll(filepath.Join(filepath.Dir(b.path("there")), "@eaDir", "SYNO"), 0o700))
	foreign := filepath.Join(b.dir, "objects", "@eaDir", "x")
	require.NoError(t, os.Mkdir(filepath.Dir(foreign), 0o700))
	require.NoError(t, os.WriteFile(foreign, nil, 0o600))
	reopened, err := openBucket(filepath.Dir(b.dir), b.name, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	require.Equal(t, []string{"there"}, reopened.index.Keys())
	require.NoFileExists(t, stray)
	require.FileExists(t, foreign, "a foreign file was moved")
}

// A deletion that fails changes nothing, and can be tried again.
func TestFailedBucketDeletionChangesNothing(t *testing.T) {
	b := newBucket(t)
	description := filepath.Join(b.dir, "bucket.json")
	require.NoError(t, os.Remove(description))
	require.NoError(t, os.MkdirAll(filepath.Join(description, "in the way"), 0o700))
	_, err := b.remove()
	require.Error(t, err)
	require.NoError(t, putFile(t, b, "k", "one", condition{absent: true}))
	require.NoError(t, b.delete("k"))
	require.NoError(t, os.RemoveAll(description)) // as if an earlier attempt had got this far
	removed, err := b.remove()
	require.NoError(t, err)
	require.True(t, removed)
	require.ErrorIs(t, putFile(t, b, "k", "one", condition{absent: true}), noSuchBucket)
}

// BenchmarkListHead shows that finding the head of a chain costs no more in a full bucket.
func BenchmarkListHead(b *testing.B) {
	for _, n := range []int{1000, 100_000} {
		bucket := &bucket{}
		for i := range n {
			bucket.index.Set(fmt.Sprintf("ledger/%d/%019d", i%64, i), entry{})
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				bucket.list("ledger/17/", "", position{}, 1)
			}
		})
	}
}
