package ledger

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNotesRoundTrip(t *testing.T) {
	n := NoteOf(entryAt(7, "0198-a"))
	require.Equal(t, "sealift/1 1 7 0198-a 70", n.String())
	got, ok := ParseNote(n.String())
	require.True(t, ok)
	require.Equal(t, n, got)

	// What others store beside an offset is not taken for a note of ours.
	for _, s := range []string{
		"", "sealift/1", "reset by ops", "sealift/2 1 7 0198-a 70", "sealift/1 1 -7 0198-a 70", "sealift/1 1 7 0198-a -70",
		"sealift/1 1 07 0198-a 70", "sealift/1 1 7x 0198-a 70", "sealift/1 1 7 0198-a 70 ", "sealift/1 1 7  70", "sealift/1 1 99999999999999999999 a 1",
	} {
		_, ok := ParseNote(s)
		require.False(t, ok, s)
	}
}

func FuzzParseNote(f *testing.F) {
	f.Add(NoteOf(entryAt(7, "a")).String())
	f.Add(strings.Repeat(" ", 4))
	f.Fuzz(func(t *testing.T, s string) {
		if n, ok := ParseNote(s); ok {
			require.Equal(t, s, n.String())
		}
	})
}
