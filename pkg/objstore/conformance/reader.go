package conformance

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/objstore"
)

// store is a Reader that can be filled.
type store interface {
	objstore.Store
	objstore.Reader
}

// RunReader tests what Readers do beyond Stores. Each call of open must return an empty store.
func RunReader[S store](t *testing.T, open func(t *testing.T) S) {
	for name, test := range map[string]func(*testing.T, store){
		"folders":                 folders,
		"folders_many":            foldersMany,
		"get_from":                getFrom,
		"get_from_of_one_content": getFromChanged,
		"get_from_past_the_end":   getFromPastTheEnd,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

func folders(t *testing.T, s store) {
	for _, k := range []string{"a/1/x", "a/1/y", "a/10/x", "a/2/deep/down", "a/file", "a-b/c", "a/ü ber/x", "odd/\x01+%/x"} {
		put(t, s, k, []byte("x"), objstore.PutOptions{})
	}
	for prefix, want := range map[string][]string{
		"a/":   {"1", "10", "2", "ü ber"},
		"":     {"a", "a-b", "odd"},
		"odd/": {"\x01+%"},
		"a/2/": {"deep"},
		"a/1/": nil,
		"b/":   nil,
	} {
		got, err := s.Folders(t.Context(), prefix)
		require.NoError(t, err)
		if prefix == "" { // '-' comes before '/'
			require.ElementsMatch(t, want, got)
			continue
		}
		require.Equal(t, want, got, prefix)
	}
}

func foldersMany(t *testing.T, s store) {
	var want []string
	for i := range 1050 {
		want = append(want, fmt.Sprintf("%05d", i))
		put(t, s, fmt.Sprintf("many/%05d/x", i), []byte("x"), objstore.PutOptions{})
	}
	got, err := s.Folders(t.Context(), "many/")
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func getFrom(t *testing.T, s store) {
	body := []byte(strings.Repeat("0123456789", 1000))
	put(t, s, "k", body, objstore.PutOptions{ContentEncoding: "gzip", Metadata: map[string]string{"sha256": "x"}})
	head, err := s.Head(t.Context(), "k")
	require.NoError(t, err)
	for _, from := range []int64{0, 1, 5003, int64(len(body)) - 1} {
		for _, etag := range []string{"", head.ETag} {
			r, info, err := s.GetFrom(t.Context(), "k", etag, from)
			require.NoError(t, err)
			got, err := io.ReadAll(r)
			require.NoError(t, err)
			require.NoError(t, r.Close())
			require.True(t, bytes.Equal(body[from:], got), "from %d", from)
			require.Equal(t, head, info, "of the whole object")
		}
	}
	_, _, err = s.GetFrom(t.Context(), "missing", "", 1)
	require.ErrorIs(t, err, objstore.ErrNotFound)
}

func getFromChanged(t *testing.T, s store) {
	put(t, s, "k", []byte("first"), objstore.PutOptions{})
	head, err := s.Head(t.Context(), "k")
	require.NoError(t, err)
	put(t, s, "k", []byte("other"), objstore.PutOptions{})
	for _, from := range []int64{0, 2} {
		_, _, err = s.GetFrom(t.Context(), "k", head.ETag, from)
		require.ErrorIs(t, err, objstore.ErrChanged)
	}
}

func getFromPastTheEnd(t *testing.T, s store) {
	put(t, s, "k", []byte("12345"), objstore.PutOptions{})
	_, _, err := s.GetFrom(t.Context(), "k", "", 5)
	require.ErrorIs(t, err, objstore.ErrInvalid)
}
