package goldentest

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFirstDifference(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ want, got, difference string }{
		{"", "", ""},
		{"a\nb\n", "a\nb\n", ""},
		{"a\nb\n", "a\nc\n", `line 2 is "b", and the test made "c"`},
		{"a\n", "a", `it goes on in line 2: ""`},
		{"a", "a\nb", `it ends before line 2: "b"`},
	} {
		require.Equal(t, c.difference, firstDifference(c.want, c.got), "%q, %q", c.want, c.got)
	}
}
