package mirror

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sealift/sealift/pkg/gziptest"
	"github.com/sealift/sealift/pkg/objstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	day1 = int64(1763683200000) // 2025-11-21
	day2 = day1 + dayMillis
	hour = int64(3_600_000)
)

// put stores a file as a copier does.
func put(t *testing.T, s objstore.Store, key, lines string) {
	t.Helper()
	b := gziptest.Zip(lines)
	sum := sha256.Sum256(b)
	putRaw(t, s, key, b, map[string]string{"sha256": hex.EncodeToString(sum[:])})
}

func putRaw(t *testing.T, s objstore.Store, key string, b []byte, metadata map[string]string) {
	t.Helper()
	_, err := s.Put(t.Context(), key, bytes.NewReader(b), objstore.PutOptions{ContentType: "text/plain", ContentEncoding: "gzip", Metadata: metadata})
	require.NoError(t, err)
}

// key returns the key of a source's file n of a day; there is one per hour.
func key(source string, day int64, n int) string {
	return fmt.Sprintf("segment-logs/%s/%d/%s", source, day, name(day, n))
}

func name(day int64, n int) string {
	return fmt.Sprintf("%d.aaaaaaaaaaaa.bbbbbbb.%d.gz", day+int64(n)*hour+7, n)
}

// bucket has two files on each of two days for each of three sources, and other things that may be
// in a bucket.
func bucket(t *testing.T) *flakyStore {
	t.Helper()
	m := &flakyStore{Memory: objstore.NewMemory("acme-logs")}
	for _, source := range []string{"app", "app-2", "web"} {
		for _, day := range []int64{day1, day2} {
			for n := range 2 {
				put(t, m, key(source, day, n), fmt.Sprintf("{\"s\":\"%s\",\"n\":%d}\n", source, n))
			}
		}
	}
	put(t, m, key(trialSource, day2+dayMillis, 0), "{}\n")
	for _, odd := range []string{
		"segment-logs/README", "segment-logs/web/1763683200000/.1.a.gz",
		"segment-logs/web/today/1.a.gz", "segment-logs/web/01763683200000/1.a.gz", "segment-logs/web/1763683200001/1.a.gz",
		"segment-logs/web/-1763683200000/1.a.gz", "segment-logs/web/1763683200000/..gz", "segment-logs/we b/1763683200000/1.a.gz",
		"segment-logs/web/1763683200000/1.a\\..\\b.gz", "segment-logs/web/1763683200000/1.a.gz/1.a.gz", "other/1.gz",
		"segment-logs/web/1763683200000/1.a\n.gz", "segment-logs//1763683200000/1.a.gz",
	} {
		putRaw(t, m, odd, []byte("x\n"), nil)
	}
	m.paths = []string{"segment-logs/../etc/1.gz", "segment-logs/web/1763683200000/../../x.gz"}
	return m
}

// flakyStore is an in-memory bucket whose connections break, and which counts requests.
type flakyStore struct {
	*objstore.Memory
	paths []string // keys that S3 allows but Memory, like some servers, does not; they are listed

	mu    sync.Mutex                        // guards all fields below
	lists int                               // number of list requests
	gets  []string                          // "key from"
	cut   func(key string, n int) int       // after how many bytes the n-th GET of a key, counted from 1, breaks; < 0: never
	body  func(io.ReadCloser) io.ReadCloser // wraps the body
	seen  map[string]int
}

func (s *flakyStore) List(ctx context.Context, prefix, after string, limit int) ([]objstore.Info, error) {
	s.mu.Lock()
	s.lists++
	s.mu.Unlock()
	infos, err := s.Memory.List(ctx, prefix, after, limit)
	if err != nil {
		return nil, err
	}
	for _, key := range s.paths {
		if strings.HasPrefix(key, prefix) && key > after {
			infos = append(infos, objstore.Info{Key: key, Size: 2})
		}
	}
	slices.SortFunc(infos, func(a, b objstore.Info) int { return strings.Compare(a.Key, b.Key) })
	if limit > 0 {
		infos = infos[:min(limit, len(infos))]
	}
	return infos, nil
}

func (s *flakyStore) Folders(ctx context.Context, prefix string) ([]string, error) {
	s.mu.Lock()
	s.lists++
	s.mu.Unlock()
	names, err := s.Memory.Folders(ctx, prefix)
	for _, key := range s.paths {
		rest, below := strings.CutPrefix(key, prefix)
		if name, _, folder := strings.Cut(rest, "/"); below && folder {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int { return strings.Compare(a+"/", b+"/") })
	return slices.Compact(names), err
}

func (s *flakyStore) GetFrom(ctx context.Context, key, etag string, from int64) (io.ReadCloser, objstore.Info, error) {
	r, info, err := s.Memory.GetFrom(ctx, key, etag, from)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gets = append(s.gets, fmt.Sprintf("%s %d", key, from))
	if s.seen == nil {
		s.seen = map[string]int{}
	}
	s.seen[key]++
	if err == nil && s.cut != nil {
		if n := s.cut(key, s.seen[key]); n >= 0 {
			r = &brokenBody{r, n}
		}
	}
	if err == nil && s.body != nil {
		r = s.body(r)
	}
	return r, info, err
}

// brokenBody breaks after that many bytes.
type brokenBody struct {
	io.ReadCloser
	left int
}

func (b *brokenBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, &objstore.Error{Op: "get", Kind: objstore.ErrUnavailable, Err: io.ErrUnexpectedEOF}
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

func place(t *testing.T, uri string) Place {
	t.Helper()
	p, err := ParsePlace(uri)
	require.NoError(t, err)
	return p
}

func collect(t *testing.T, files iter.Seq2[File, error]) (keys []string) {
	t.Helper()
	for f, err := range files {
		require.NoError(t, err)
		keys = append(keys, f.Key)
	}
	return keys
}

func filesIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(dir, path)
			names = append(names, filepath.ToSlash(rel))
		}
		return err
	}))
	return names
}
