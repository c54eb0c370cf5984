// Package conformance is the test suite of the object store contract. Every implementation of
// objstore.Store runs it, including the one in memory, so that what is shown with one of them holds
// for all.
//
// It tests what Sealift relies on. It does not test what only a faulty store does, see the fault
// tests of each implementation.
package conformance

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/gziptest"
	"github.com/sealift/sealift/pkg/objstore"
)

// Run tests a store. Each call of open must return an empty one.
func Run(t *testing.T, open func(t *testing.T) objstore.Store) {
	for name, test := range map[string]func(*testing.T, objstore.Store){
		"put_get_head_list_agree":       roundTrip,
		"bytes_as_stored":               bytesAsStored,
		"put_reads_from_position":       fromPosition,
		"empty_object":                  emptyObject,
		"large_object":                  largeObject,
		"overwrite":                     overwrite,
		"if_absent":                     ifAbsent,
		"if_absent_one_winner":          oneWinner,
		"if_absent_after_delete":        afterDelete,
		"wrong_checksum_stores_nothing": wrongChecksum,
		"unreadable_body":               unreadableBody,
		"missing_object":                missing,
		"delete_is_idempotent":          deleteTwice,
		"keys_of_all_kinds":             keys,
		"keys_with_relative_parts":      relativeKeys,
		"list_order_and_bounds":         listing,
		"list_many":                     listMany,
		"cancelled_context":             cancelled,
		"ranges":                        ranges,
		"prefixed":                      prefixed,
		"probe":                         probe,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

func roundTrip(t *testing.T, s objstore.Store) {
	body := []byte("one\ntwo\n")
	opts := objstore.PutOptions{
		SHA256: sha256.Sum256(body), ContentType: "text/plain",
		Metadata: map[string]string{"first-offset": "17", "topic": "sealift.events"},
	}
	put, err := s.Put(t.Context(), "a/b.txt", bytes.NewReader(body), opts)
	require.NoError(t, err)
	require.Equal(t, "a/b.txt", put.Key)
	require.EqualValues(t, len(body), put.Size)
	require.NotEmpty(t, put.ETag)

	got, info := read(t, s, "a/b.txt")
	require.Equal(t, body, got)
	require.Equal(t, "a/b.txt", info.Key)
	require.EqualValues(t, len(body), info.Size)
	require.Equal(t, put.ETag, info.ETag)
	require.Equal(t, "text/plain", info.ContentType)
	require.Equal(t, opts.Metadata, info.Metadata)
	require.False(t, info.LastModified.IsZero())

	head, err := s.Head(t.Context(), "a/b.txt")
	require.NoError(t, err)
	require.Equal(t, info, head)

	list, err := s.List(t.Context(), "a/", "", 0)
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, "a/b.txt", list[0].Key)
	require.Equal(t, info.Size, list[0].Size)
	require.Equal(t, info.ETag, list[0].ETag)
}

func bytesAsStored(t *testing.T, s objstore.Store) {
	zipped := gziptest.Zip(strings.Repeat("the same line\n", 1000))

	put(t, s, "a.gz", zipped, objstore.PutOptions{ContentType: "text/plain", ContentEncoding: "gzip"})
	got, info := read(t, s, "a.gz")
	require.Equal(t, zipped, got, "never decompressed")
	require.Equal(t, "gzip", info.ContentEncoding)
	require.EqualValues(t, len(zipped), info.Size)
}

func fromPosition(t *testing.T, s objstore.Store) {
	for name, opts := range map[string]objstore.PutOptions{"unknown": {}, "known": {SHA256: sha256.Sum256([]byte("the rest"))}} {
		body := strings.NewReader("header,the rest")
		_, err := body.Seek(int64(len("header,")), io.SeekStart)
		require.NoError(t, err)
		_, err = s.Put(t.Context(), name, body, opts)
		require.NoError(t, err)
		got, _ := read(t, s, name)
		require.Equal(t, "the rest", string(got), name)
	}
}

func emptyObject(t *testing.T, s objstore.Store) {
	put(t, s, "empty", nil, objstore.PutOptions{})
	got, info := read(t, s, "empty")
	require.Empty(t, got)
	require.Zero(t, info.Size)
}

func largeObject(t *testing.T, s objstore.Store) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 5<<20/16+1) // beyond the SDK's threshold for Expect: 100-continue
	put(t, s, "large", body, objstore.PutOptions{SHA256: sha256.Sum256(body)})
	got, _ := read(t, s, "large")
	require.Equal(t, sha256.Sum256(body), sha256.Sum256(got))
}

func overwrite(t *testing.T, s objstore.Store) {
	put(t, s, "k", []byte("first"), objstore.PutOptions{Metadata: map[string]string{"n": "1"}})
	put(t, s, "k", []byte("second, longer"), objstore.PutOptions{})
	got, info := read(t, s, "k")
	require.Equal(t, "second, longer", string(got))
	require.Empty(t, info.Metadata)
}

func ifAbsent(t *testing.T, s objstore.Store) {
	put(t, s, "k", []byte("first"), objstore.PutOptions{IfAbsent: true})
	for _, body := range []string{"first", "second"} { // also with identical content
		_, err := s.Put(t.Context(), "k", strings.NewReader(body), objstore.PutOptions{IfAbsent: true})
		require.ErrorIs(t, err, objstore.ErrExists)
		e := answer(t, err)
		require.Equal(t, "put", e.Op)
		require.Equal(t, "k", e.Key)
	}
	got, _ := read(t, s, "k")
	require.Equal(t, "first", string(got))
}

func oneWinner(t *testing.T, s objstore.Store) {
	const rounds, writers = 5, 8
	for round := range rounds {
		key := fmt.Sprintf("chain/%d", round)
		errs := make([]error, writers)
		var all sync.WaitGroup
		for i := range writers {
			all.Go(func() {
				body := fmt.Sprintf("writer %d", i)
				for {
					_, errs[i] = s.Put(t.Context(), key, strings.NewReader(body), objstore.PutOptions{IfAbsent: true})
					if !errors.Is(errs[i], objstore.ErrConflict) {
						return
					}
				}
			})
		}
		all.Wait()
		winner := -1
		for i, err := range errs {
			if err == nil {
				require.Equal(t, -1, winner, "two winners")
				winner = i
				continue
			}
			require.ErrorIs(t, err, objstore.ErrExists)
		}
		require.NotEqual(t, -1, winner, "nobody won")
		got, _ := read(t, s, key)
		require.Equal(t, fmt.Sprintf("writer %d", winner), string(got))
	}
}

func afterDelete(t *testing.T, s objstore.Store) {
	put(t, s, "k", []byte("first"), objstore.PutOptions{IfAbsent: true})
	require.NoError(t, s.Delete(t.Context(), "k"))
	put(t, s, "k", []byte("second"), objstore.PutOptions{IfAbsent: true})
	got, _ := read(t, s, "k")
	require.Equal(t, "second", string(got))
}

func wrongChecksum(t *testing.T, s objstore.Store) {
	_, err := s.Put(t.Context(), "k", strings.NewReader("body"), objstore.PutOptions{SHA256: sha256.Sum256([]byte("other"))})
	require.ErrorIs(t, err, objstore.ErrInvalid)
	_, err = s.Head(t.Context(), "k")
	require.ErrorIs(t, err, objstore.ErrNotFound)
}

// unreadableBody checks that a body whose disk fails is reported as the caller's problem, not the
// store's.
func unreadableBody(t *testing.T, s objstore.Store) {
	for name, size := range map[string]int{"small": 100, "large": 1 << 20} {
		for known, sum := range map[string][32]byte{"sum_unknown": {}, "sum_known": sha256.Sum256(make([]byte, size))} {
			body := io.NewSectionReader(rottenDisk(size/2), 0, int64(size))
			_, err := s.Put(t.Context(), "k", body, objstore.PutOptions{SHA256: sum})
			require.ErrorIs(t, err, objstore.ErrBody, "%s, %s", name, known)
			require.ErrorIs(t, err, errDisk)
			require.NotErrorIs(t, err, objstore.ErrInvalid)
			_, err = s.Head(t.Context(), "k")
			require.ErrorIs(t, err, objstore.ErrNotFound)
		}
	}
}

var errDisk = errors.New("input/output error")

// rottenDisk returns that many zeros, and then cannot be read.
type rottenDisk int

// ReadAt implements io.ReaderAt.
func (good rottenDisk) ReadAt(p []byte, off int64) (int, error) {
	n := min(len(p), max(0, int(good)-int(off)))
	clear(p[:n])
	if n < len(p) {
		return n, errDisk
	}
	return n, nil
}

func missing(t *testing.T, s objstore.Store) {
	_, _, err := s.Get(t.Context(), "no/such")
	require.ErrorIs(t, err, objstore.ErrNotFound)
	require.Equal(t, "no/such", answer(t, err).Key)
	_, err = s.Head(t.Context(), "no/such")
	require.ErrorIs(t, err, objstore.ErrNotFound)
	list, err := s.List(t.Context(), "no/", "", 10)
	require.NoError(t, err)
	require.Empty(t, list)
}

func deleteTwice(t *testing.T, s objstore.Store) {
	put(t, s, "k", []byte("x"), objstore.PutOptions{})
	require.NoError(t, s.Delete(t.Context(), "k"))
	require.NoError(t, s.Delete(t.Context(), "k"))
	_, err := s.Head(t.Context(), "k")
	require.ErrorIs(t, err, objstore.ErrNotFound)
}

func keys(t *testing.T, s objstore.Store) {
	all := []string{
		"plain", "with space", "plus+and&amp;=?#%", "percent%2Fescaped", "ü/日本/😀", "tilde~!*'()", "a/b/c/d/e", "semi;colon,comma:colon@at$", "control/\x01\x1b\t",
		"ledger" + strings.Repeat("/"+strings.Repeat("0", 200), 5), // a segment may have at most 255 bytes in stores that use it as a file name
	}
	for _, k := range all {
		put(t, s, k, []byte(k), objstore.PutOptions{IfAbsent: true})
	}
	for _, k := range all {
		got, _ := read(t, s, k)
		require.Equal(t, k, string(got))
		list, err := s.List(t.Context(), k, "", 1)
		require.NoError(t, err)
		require.Len(t, list, 1, k)
		require.Equal(t, k, list[0].Key)
	}
	slices.Sort(all)
	require.Equal(t, all, names(t, s, "", "", 0))
}

// relativeKeys checks that keys with relative path segments are refused, because some servers
// interpret them.
func relativeKeys(t *testing.T, s objstore.Store) {
	for _, k := range []string{"../x", "a/../x", "./x", "a/./x", "a/..", "a/."} {
		_, err := s.Put(t.Context(), k, strings.NewReader("x"), objstore.PutOptions{IfAbsent: true})
		require.ErrorIs(t, err, objstore.ErrInvalid, k)
		_, _, err = s.Get(t.Context(), k)
		require.ErrorIs(t, err, objstore.ErrInvalid, k)
		_, err = s.Head(t.Context(), k)
		require.ErrorIs(t, err, objstore.ErrInvalid, k)
		require.ErrorIs(t, s.Delete(t.Context(), k), objstore.ErrInvalid, k)
	}
}

func listing(t *testing.T, s objstore.Store) {
	// No key is also the folder of another one: MinIO would hide what is below it.
	for _, k := range []string{"a/1", "a/10", "a/2", "a-", "a.b", "b/1", "a/ü", "B"} {
		put(t, s, k, []byte("x"), objstore.PutOptions{})
	}
	require.Equal(t, []string{"B", "a-", "a.b", "a/1", "a/10", "a/2", "a/ü", "b/1"}, names(t, s, "", "", 0))
	require.Equal(t, []string{"a/1", "a/10", "a/2", "a/ü"}, names(t, s, "a/", "", 0))
	require.Equal(t, []string{"a/1", "a/10"}, names(t, s, "a/", "", 2))
	require.Equal(t, []string{"a/1"}, names(t, s, "a/", "", 1))
	require.Equal(t, []string{"a/10", "a/2", "a/ü"}, names(t, s, "a/", "a/1", 0))
	require.Equal(t, []string{"a/10"}, names(t, s, "a/", "a/1", 1))
	require.Equal(t, []string{"a/2", "a/ü"}, names(t, s, "a/", "a/15", 0), "startAfter need not exist")
	require.Equal(t, []string{"a/1", "a/10", "a/2", "a/ü"}, names(t, s, "a/", "B", 0), "startAfter before the prefix")
	require.Empty(t, names(t, s, "a/", "b", 0), "startAfter past the prefix")
	require.Empty(t, names(t, s, "c", "", 0))
}

func listMany(t *testing.T, s objstore.Store) {
	const n = 1050
	var workers sync.WaitGroup
	for w := range 8 {
		workers.Go(func() {
			for i := w; i < n; i += 8 {
				_, err := s.Put(t.Context(), fmt.Sprintf("many/%05d", i), strings.NewReader("x"), objstore.PutOptions{})
				if err != nil {
					t.Errorf("put %d: %v", i, err)
				}
			}
		})
	}
	workers.Wait()
	first := names(t, s, "many/", "", 0)
	require.Len(t, first, 1000, "a page")
	rest := names(t, s, "many/", first[len(first)-1], 1000)
	require.Len(t, rest, n-1000)
	require.Equal(t, "many/01049", rest[len(rest)-1])
}

func cancelled(t *testing.T, s objstore.Store) {
	put(t, s, "k", []byte("x"), objstore.PutOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Put(ctx, "never", strings.NewReader("x"), objstore.PutOptions{})
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, objstore.ErrUnavailable)
	_, _, err = s.Get(ctx, "k")
	require.ErrorIs(t, err, context.Canceled)
	_, err = s.GetRange(ctx, "k", 0, 1)
	require.ErrorIs(t, err, context.Canceled)
	_, err = s.Head(ctx, "k")
	require.ErrorIs(t, err, context.Canceled)
	_, err = s.List(ctx, "", "", 1)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, s.Delete(ctx, "k"), context.Canceled)
	require.Equal(t, []string{"k"}, names(t, s, "", "", 0))
}

func ranges(t *testing.T, s objstore.Store) {
	body := []byte(strings.Repeat("0123456789", 1000))
	put(t, s, "k", body, objstore.PutOptions{ContentEncoding: "gzip"})
	put(t, s, "empty", nil, objstore.PutOptions{})
	for name, c := range map[string]struct {
		key          string
		from, length int64
		want         []byte
	}{
		"all":                 {"k", 0, 10_000, body},
		"the_first":           {"k", 0, 1, body[:1]},
		"within":              {"k", 5003, 100, body[5003:5103]},
		"the_last":            {"k", 9_999, 1, body[9_999:]},
		"over_the_end":        {"k", 9_990, 100, body[9_990:]},
		"longer_than_all":     {"k", 0, 20_000, body},
		"after_the_end":       {"k", 10_000, 1, nil},
		"far_after_the_end":   {"k", 1 << 40, 1 << 20, nil},
		"of_the_empty_object": {"empty", 0, 1, nil},
	} {
		r, err := s.GetRange(t.Context(), c.key, c.from, c.length)
		require.NoError(t, err, name)
		got, err := io.ReadAll(r)
		require.NoError(t, err, name)
		require.NoError(t, r.Close(), name)
		require.True(t, bytes.Equal(c.want, got), "%s: %d bytes", name, len(got))
	}
	_, err := s.GetRange(t.Context(), "missing", 0, 1)
	require.ErrorIs(t, err, objstore.ErrNotFound)
	require.Equal(t, "missing", answer(t, err).Key)
}

func prefixed(t *testing.T, s objstore.Store) {
	put(t, s, "other", []byte("x"), objstore.PutOptions{})
	put(t, s, "deep/downstairs", []byte("x"), objstore.PutOptions{})
	p := objstore.WithPrefix(s, "deep/down/")
	put(t, p, "k/1", []byte("one"), objstore.PutOptions{})
	put(t, p, "k/2", []byte("two"), objstore.PutOptions{})
	got, info := read(t, p, "k/1")
	require.Equal(t, "one", string(got))
	require.Equal(t, "k/1", info.Key)
	r, err := p.GetRange(t.Context(), "k/1", 1, 5)
	require.NoError(t, err)
	got, err = io.ReadAll(r)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	require.Equal(t, "ne", string(got))
	head, err := p.Head(t.Context(), "k/2")
	require.NoError(t, err)
	require.Equal(t, "k/2", head.Key)
	require.Equal(t, []string{"k/1", "k/2"}, names(t, p, "", "", 0))
	require.Equal(t, []string{"k/2"}, names(t, p, "k/", "k/1", 0))
	require.Equal(t, []string{"deep/down/k/1", "deep/down/k/2", "deep/downstairs", "other"}, names(t, s, "", "", 0))
	require.NoError(t, p.Delete(t.Context(), "k/1"))
	_, _, err = p.Get(t.Context(), "k/1")
	require.ErrorIs(t, err, objstore.ErrNotFound)
	require.Equal(t, "deep/down/k/1", answer(t, err).Key, "errors name the whole key")
	require.Equal(t, s, objstore.WithPrefix(s, ""), "nothing to wrap")
}

func probe(t *testing.T, s objstore.Store) {
	require.NoError(t, objstore.Probe(t.Context(), s))
	require.NoError(t, objstore.Probe(t.Context(), s), "a store that was probed before")
}

func put(t *testing.T, s objstore.Store, key string, body []byte, opts objstore.PutOptions) {
	t.Helper()
	_, err := s.Put(t.Context(), key, bytes.NewReader(body), opts)
	require.NoError(t, err)
}

func read(t *testing.T, s objstore.Store, key string) ([]byte, objstore.Info) {
	t.Helper()
	r, info, err := s.Get(t.Context(), key)
	require.NoError(t, err)
	body, err := io.ReadAll(r)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	return body, info
}

func names(t *testing.T, s objstore.Store, prefix, startAfter string, limit int) []string {
	t.Helper()
	list, err := s.List(t.Context(), prefix, startAfter, limit)
	require.NoError(t, err)
	var out []string
	for _, i := range list {
		out = append(out, i.Key)
	}
	return out
}

func answer(t *testing.T, err error) *objstore.Error {
	t.Helper()
	var e *objstore.Error
	require.ErrorAs(t, err, &e)
	return e
}
